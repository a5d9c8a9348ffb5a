// Package tokens knows the caller tokens or admin tokens of a listener: named tokens
// in a file, which is read again when it changes.
//
// The file has lines of name=token; blank lines and lines that begin with # are
// ignored. The name identifies the caller in logs, and the actor in the audit.
// Attributes follow the token: expires=, and for the admin listener role=, user_id=
// and org_id=. There a line may also name a client certificate: name san=… role=….
// Tokens are kept as SHA-256 and compared in constant time; no error and no log line
// contains any part of one.
package tokens

import (
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/errgroup"

	"github.com/keytail/keytail/internal/instrument"
	"github.com/keytail/keytail/internal/reload"
	"github.com/keytail/keytail/internal/rights"
	"github.com/keytail/keytail/internal/secretfile"
)

// Config of a Set.
type Config struct {
	// Path of the file. Required.
	Path string
	// Flag is the name of the setting, for errors: caller-token-file.
	Flag string
	// Listener is the label of the metric: public or admin.
	Listener string
	// Rights requires a role on every line, and allows owners and san=. False: a line
	// with a role is a mistake, so that neither file can be taken for the other.
	Rights bool
	// Certificates: the listener verifies certificates of clients. False: a line with
	// san= is a mistake.
	Certificates bool
	// Logger: nil discards.
	Logger *zap.Logger
	// Registerer takes the metrics. Nil: none are registered.
	Registerer prometheus.Registerer
	// Ticks trigger a check of the file, for tests. Nil: every reload.Interval.
	Ticks <-chan time.Time
	// NoticeTicks trigger a look for tokens that expire, for tests. Nil: every minute.
	NoticeTicks <-chan time.Time
	// Now is the clock of expiries. Nil: time.Now.
	Now func() time.Time
}

// Set has the tokens of the file. It is safe for concurrent use.
type Set struct {
	config  Config
	now     func() time.Time
	files   *reload.Files
	entries atomic.Pointer[[]entry]
	// apart is nil unless Separate was called.
	apart *separation
	// absent, wrong and expired count the refusals.
	absent, wrong, expired prometheus.Counter
}

// New reads the file. The error names every line that is wrong.
func New(config Config) (*Set, error) {
	if config.Logger == nil {
		config.Logger = zap.NewNop()
	}
	s := &Set{config: config, now: config.Now}
	if s.now == nil {
		s.now = time.Now
	}
	var err error
	s.files, err = reload.New(reload.Config{
		Read: func() ([][]byte, error) {
			content, err := secretfile.ReadSecret(config.Path)
			if err != nil {
				return nil, fmt.Errorf("--%s: %w", config.Flag, err)
			}
			return [][]byte{content}, nil
		},
		Use:        func(contents [][]byte) error { return s.use(contents[0]) },
		What:       "the file of --" + config.Flag,
		Setting:    config.Flag,
		Logger:     config.Logger,
		Registerer: config.Registerer,
		Ticks:      config.Ticks,
	})
	if err != nil {
		return nil, err
	}
	return s, s.register()
}

func (s *Set) register() error {
	refused := func(reason string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{
			Name:        "keytail_callers_refused_total",
			Help:        "Requests without a token (absent), or with one that is not known (wrong) or no longer valid (expired), by listener.",
			ConstLabels: prometheus.Labels{"listener": s.config.Listener, "reason": reason},
		})
	}
	s.absent, s.wrong, s.expired = refused("absent"), refused("wrong"), refused("expired")
	return instrument.Register(s.config.Registerer, s.absent, s.wrong, s.expired)
}

// Run follows the file, and logs tokens that expire, until ctx ends, and then returns
// nil.
func (s *Set) Run(ctx context.Context) error {
	var group errgroup.Group
	group.Go(func() error { return s.files.Run(ctx) })
	group.Go(func() error { return s.notice(ctx) })
	return group.Wait()
}

// Files is the file, so that it can be read again before Run does.
func (s *Set) Files() *reload.Files { return s.files }

// Name is the name of a token. False: it is unknown or has expired. "" means that no
// token was sent.
func (s *Set) Name(token string) (name string, known bool) {
	identity, err := s.Token(token)
	return identity.Name, err == nil
}

// Token is whose token this is. "" means that no token was sent. The error is
// rights.ErrAbsent, rights.ErrUnknown, or rights.ErrExpired beside the identity.
// Refusals are counted. It compares all tokens, so that the time reveals nothing about
// them.
func (s *Set) Token(token string) (rights.Identity, error) {
	if token == "" {
		s.absent.Inc()
		return rights.Identity{}, rights.ErrAbsent
	}
	identity, err := s.SignedIn(sha256.Sum256([]byte(token)))
	switch {
	case errors.Is(err, rights.ErrUnknown):
		s.wrong.Inc()
	case errors.Is(err, rights.ErrExpired):
		s.expired.Inc()
	}
	return identity, err
}

// SignedIn is whose token has this SHA-256, for those who must not keep the token itself.
// The error is that of Token, for a hash that no token has. Refusals are not counted:
// whoever asks has had the token.
func (s *Set) SignedIn(hash [sha256.Size]byte) (rights.Identity, error) {
	entries := *s.entries.Load()
	found := -1
	for i := range entries {
		if subtle.ConstantTimeCompare(hash[:], entries[i].hash[:]) == 1 {
			found = i
		}
	}
	switch {
	case found < 0 || entries[found].hash == [sha256.Size]byte{}: // the hash of a line without a token
		return rights.Identity{}, rights.ErrUnknown
	case entries[found].isExpired(s.now()):
		return entries[found].identity, rights.ErrExpired
	}
	return entries[found].identity, nil
}

func (s *Set) use(content []byte) error {
	if s.apart != nil {
		s.apart.mutex.Lock()
		defer s.apart.mutex.Unlock()
	}
	entries, err := s.config.parse(content)
	if err != nil {
		// Each mistake gets the flag and the path.
		var mistakes []error
		for line := range strings.SplitSeq(err.Error(), "\n") {
			mistakes = append(mistakes, fmt.Errorf("--%s: %s%s", s.config.Flag, s.config.Path, line))
		}
		return errors.Join(mistakes...)
	}
	if err := s.checkSeparate(entries); err != nil {
		return err
	}
	s.entries.Store(&entries)
	return nil
}
