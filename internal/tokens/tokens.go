// Package tokens knows the caller tokens or admin tokens of a listener: named tokens
// in a file, which is read again when it changes.
//
// The file has lines of name=token; blank lines and lines that begin with # are
// ignored. The name identifies the caller in logs, and the actor in the audit.
// Tokens are kept as SHA-256 and compared in constant time; no error and no log line
// contains any part of one.
package tokens

import (
	"bytes"
	"context"
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"regexp"
	"strings"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/reload"
	"github.com/keytail/keytail/internal/secretfile"
)

// minToken is the shortest token, in bytes. 16 characters of a random token have
// at least 64 bits (in hex), which cannot be guessed over a network; shorter
// ones are passwords made up by people.
const minToken = 16

// maxToken excludes a line that is a mistake (a key file, a whole document).
const maxToken = 512

// validName is unreserved in a URL and harmless in a log.
var validName = regexp.MustCompile(`^[A-Za-z0-9._~-]{1,64}$`)

// Config of a Set.
type Config struct {
	// Path of the file. Required.
	Path string
	// Flag is the name of the setting, for errors: caller-token-file.
	Flag string
	// Listener is the label of the metric: public or admin.
	Listener string
	// Logger: nil discards.
	Logger *zap.Logger
	// Registerer takes the metrics. Nil: none are registered.
	Registerer prometheus.Registerer
	// Ticks trigger a check of the file, for tests. Nil: every reload.Interval.
	Ticks <-chan time.Time
}

// entry is one line of the file.
type entry struct {
	name string
	hash [sha256.Size]byte
}

// Set has the tokens of the file. It is safe for concurrent use.
type Set struct {
	files   *reload.Files
	entries atomic.Pointer[[]entry]
	// flag is Config.Flag.
	flag string
	// apart is nil unless Separate was called.
	apart *separation
	// absent and wrong count the refusals.
	absent, wrong prometheus.Counter
}

// New reads the file. The error names every line that is wrong.
func New(config Config) (*Set, error) {
	s := &Set{flag: config.Flag}
	var err error
	s.files, err = reload.New(reload.Config{
		Read: func() ([][]byte, error) {
			content, err := secretfile.ReadSecret(config.Path)
			if err != nil {
				return nil, fmt.Errorf("--%s: %w", config.Flag, err)
			}
			return [][]byte{content}, nil
		},
		Use:        func(contents [][]byte) error { return s.use(config, contents[0]) },
		What:       "the file of --" + config.Flag,
		Setting:    config.Flag,
		Logger:     config.Logger,
		Registerer: config.Registerer,
		Ticks:      config.Ticks,
	})
	if err != nil {
		return nil, err
	}
	return s, s.register(config)
}

func (s *Set) register(config Config) error {
	refused := func(reason string) prometheus.Counter {
		return prometheus.NewCounter(prometheus.CounterOpts{
			Name:        "keytail_callers_refused_total",
			Help:        "Requests without a token (absent) or with one that is not known (wrong), by listener.",
			ConstLabels: prometheus.Labels{"listener": config.Listener, "reason": reason},
		})
	}
	s.absent, s.wrong = refused("absent"), refused("wrong")
	if config.Registerer == nil {
		return nil
	}
	return errors.Join(config.Registerer.Register(s.absent), config.Registerer.Register(s.wrong))
}

// Run follows the file until ctx ends, and then returns nil.
func (s *Set) Run(ctx context.Context) error { return s.files.Run(ctx) }

// Files is the file, so that it can be read again before Run does.
func (s *Set) Files() *reload.Files { return s.files }

// Name is the name of a token. False: it is unknown. "" means that no token was
// sent. Refusals are counted. It compares all tokens, so that the time reveals
// nothing about them.
func (s *Set) Name(token string) (name string, known bool) {
	if token == "" {
		s.absent.Inc()
		return "", false
	}
	hash := sha256.Sum256([]byte(token))
	for _, e := range *s.entries.Load() {
		if subtle.ConstantTimeCompare(hash[:], e.hash[:]) == 1 {
			name, known = e.name, true
		}
	}
	if !known {
		s.wrong.Inc()
	}
	return name, known
}

func (s *Set) use(config Config, content []byte) error {
	if s.apart != nil {
		s.apart.mutex.Lock()
		defer s.apart.mutex.Unlock()
	}
	entries, err := parse(content)
	if err != nil {
		// Each mistake gets the flag and the path.
		var mistakes []error
		for line := range strings.SplitSeq(err.Error(), "\n") {
			mistakes = append(mistakes, fmt.Errorf("--%s: %s%s", config.Flag, config.Path, line))
		}
		return errors.Join(mistakes...)
	}
	if err := s.checkSeparate(entries); err != nil {
		return err
	}
	s.entries.Store(&entries)
	return nil
}

// parse reads the lines. Its errors follow the file's name, and never quote a
// line, nor the name in it: it may be a token in the wrong place, such as one in
// base64, which ends with '='.
func parse(content []byte) ([]entry, error) {
	var entries []entry
	var mistakes []error
	names, hashes := map[string]int{}, map[[sha256.Size]byte]int{}
	number := 0
	for line := range bytes.Lines(content) {
		number++
		text := strings.TrimSpace(string(line))
		if text == "" || strings.HasPrefix(text, "#") {
			continue
		}
		e, err := parseLine(text)
		if err == nil && names[e.name] != 0 {
			err = fmt.Errorf("its name is already used in line %d", names[e.name])
		}
		if err == nil && hashes[e.hash] != 0 {
			err = fmt.Errorf("it has the same token as line %d", hashes[e.hash])
		}
		if err != nil {
			mistakes = append(mistakes, fmt.Errorf(", line %d: %w", number, err))
			continue
		}
		names[e.name], hashes[e.hash] = number, number
		entries = append(entries, e)
	}
	if len(entries) == 0 && len(mistakes) == 0 {
		mistakes = append(mistakes, errors.New(" has no token: write lines of name=token"))
	}
	return entries, errors.Join(mistakes...)
}

func parseLine(text string) (entry, error) {
	name, token, found := strings.Cut(text, "=")
	switch {
	case !found:
		return entry{}, errors.New("it must have the form name=token")
	case !validName.MatchString(name):
		return entry{}, errors.New("a name must have 1 to 64 letters, digits or the characters . _ ~ -, without spaces around '='")
	case len(token) < minToken || len(token) > maxToken || !isPrintable(token):
		return entry{}, errors.New("the token after name= must have 16 to 512 printable ASCII characters and no spaces, such as the output of: openssl rand -hex 32")
	}
	return entry{name: name, hash: sha256.Sum256([]byte(token))}, nil
}

// printable: what a header can carry, without the space that would end it.
func isPrintable(text string) bool {
	for i := range len(text) {
		if text[i] <= ' ' || text[i] > '~' {
			return false
		}
	}
	return true
}
