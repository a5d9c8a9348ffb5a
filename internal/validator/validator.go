package validator

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"golang.org/x/sync/semaphore"
	"golang.org/x/sync/singleflight"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
)

// Defaults of Config, each with its reason.
const (
	// DefaultReadTimeout is long for a read by a unique index, and short for a
	// caller that could ask another instance.
	DefaultReadTimeout = 2 * time.Second
	// DefaultMaxReads is the driver's default pool size (100) less four, which
	// are left for the stream, the start checks and the refresh.
	DefaultMaxReads = 96

	// unreachedShare divides MaxReads: an eighth may be reads of kindUnreached, each
	// of which can last until its deadline. That is few enough for others not to
	// notice, and enough for those who have just written while heartbeats fail.
	unreachedShare = 8
)

// Store reads the keys' collection on the primary, under the fill rule (majority,
// not older than the given cluster time) where it is not said otherwise. A
// keystore.Store is one.
type Store interface {
	FindByHash(ctx context.Context, h apikey.Hash, after clustertime.Time) (keystore.Document, bool, error)
	// FindByIDs finds those that there are, each under the fill rule.
	FindByIDs(ctx context.Context, ids []apikey.DocID, after clustertime.Time) ([]keystore.Document, error)
	// FindLinearizable finds what contains every write that was acknowledged
	// before it was called, or blocks until the deadline.
	FindLinearizable(ctx context.Context, h apikey.Hash) (keystore.Document, bool, error)
	// Inspect fails when the collection is missing or is not a plain one.
	Inspect(ctx context.Context) error
}

// UsageRecorder takes note of the use of keys. A usage.Usage is one.
type UsageRecorder interface {
	// Touch is on the way of every request: it does no I/O and waits for nobody. The
	// id may be part of a larger block of memory, so who keeps it clones it.
	Touch(id apikey.DocID, at time.Time)
}

// Config of a Validator.
type Config struct {
	// Cache and Store are required.
	Cache *keycache.Cache
	Store Store
	// Prefix is that of the keys that keytail made itself, whose checksum is
	// held against them. Empty: apikey.DefaultPrefix.
	Prefix string
	// HashAfter begins the text of every key of the collection and is not part of
	// what was hashed; a text without it is MALFORMED. Empty: the whole text was.
	HashAfter string
	// Pulse tells a min_revision that is ahead of the cluster from one that only
	// this instance has not got to. Nil: it is not told, and such a request is
	// UNAVAILABLE, or answered when memory is stale.
	Pulse Heartbeater
	// Toucher is told of each VALID answer. Nil: nobody is.
	Toucher UsageRecorder
	// ReadTimeout is the deadline of one read of either kind, and of a heartbeat
	// that a request has to wait for. Zero: DefaultReadTimeout.
	ReadTimeout time.Duration
	// MaxReads is how many reads may be under way at once, linearizable ones
	// among them; past it a miss is UNAVAILABLE at once, rather than one more in
	// a queue without end. Zero: DefaultMaxReads.
	MaxReads int64
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
	// After is how RunRefresh waits. Nil: time.After.
	After func(time.Duration) <-chan time.Time
	// Logger: nil is silent.
	Logger *zap.Logger
	// Registerer takes the metrics. Nil: none.
	Registerer prometheus.Registerer
}

func (c *Config) setDefaults() {
	if c.Prefix == "" {
		c.Prefix = apikey.DefaultPrefix
	}
	if c.ReadTimeout == 0 {
		c.ReadTimeout = DefaultReadTimeout
	}
	if c.MaxReads == 0 {
		c.MaxReads = DefaultMaxReads
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.After == nil {
		c.After = time.After
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
}

func (c *Config) validate() error {
	var errs []error
	if c.Cache == nil || c.Store == nil {
		errs = append(errs, errors.New("a cache and a store are needed"))
	}
	if err := apikey.ValidPrefix(c.Prefix); err != nil {
		errs = append(errs, err)
	}
	if err := apikey.ValidHashAfter(c.HashAfter); err != nil {
		errs = append(errs, err)
	}
	if c.ReadTimeout < 0 {
		errs = append(errs, fmt.Errorf("the read timeout is %v, it must be positive", c.ReadTimeout))
	}
	if c.MaxReads < 0 {
		errs = append(errs, fmt.Errorf("the number of reads at once is %d, it must be positive", c.MaxReads))
	}
	return errors.Join(errs...)
}

// Validator answers for keys. It is safe for concurrent use.
type Validator struct {
	config Config
	// fills share reads that are stored, whose results are vouched for; the
	// groups share reads and heartbeats that began late enough by themselves.
	fills        singleflight.Group
	alone        *group[question, seen]
	linearizable *group[apikey.Hash, seen]
	beats        *group[struct{}, clustertime.Time]
	// reads counts those under way, of any kind. unreached counts those among them
	// that are of kindUnreached.
	reads, unreached *semaphore.Weighted
	// acknowledged is the time of the newest heartbeat that somebody has waited for,
	// beatFailed whether the last one failed. The flights of beats write them.
	acknowledged atomic.Uint64
	beatFailed   atomic.Bool
	// breaker stands before linearizable reads.
	breaker breaker
	metrics *metrics
	logger  *zap.Logger
}

// New makes a validator. It starts nothing.
func New(config Config) (*Validator, error) {
	config.setDefaults()
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("validator: %w", err)
	}
	m, err := newMetrics(config.Registerer)
	if err != nil {
		return nil, fmt.Errorf("validator: %w", err)
	}
	v := &Validator{
		config:    config,
		reads:     semaphore.NewWeighted(config.MaxReads),
		unreached: semaphore.NewWeighted(max(1, config.MaxReads/unreachedShare)),
		metrics:   m,
		logger:    config.Logger.Named("validator"),
	}
	v.alone = newGroup(v.runAlone)
	v.linearizable = newGroup(v.runLinearizable)
	v.beats = newGroup(v.runBeat)
	return v, nil
}

// Validate answers whether the request may go ahead with the key of this text.
// An empty text is Missing. It returns as soon as ctx ends, with Unavailable.
func (v *Validator) Validate(ctx context.Context, text string, request *apikey.Request) apikey.Verdict {
	verdict := v.validate(ctx, text, request)
	if verdict.Problem == apikey.NoProblem {
		// A caller's mistake is no outage of ours.
		v.metrics.count(verdict)
	}
	return verdict
}

// Refuse is a verdict that needs no look at the key, as for two keys in one
// request.
func (v *Validator) Refuse(code apikey.Code) apikey.Verdict {
	verdict := apikey.Verdict{Code: code}
	v.metrics.count(verdict)
	return verdict
}

func (v *Validator) validate(ctx context.Context, text string, request *apikey.Request) apikey.Verdict {
	hash, err := apikey.ParseAfter(v.config.Prefix, v.config.HashAfter, text)
	if errors.Is(err, apikey.ErrMissing) {
		return apikey.Verdict{Code: apikey.Missing}
	}
	if err != nil {
		return apikey.Verdict{Code: apikey.Malformed}
	}
	needed := clustertime.Time(request.MinRevision)
	if answer, ok := v.config.Cache.Get(hash); ok && answer.Revision >= needed {
		return v.decide(&answer, apikey.SourceCache, request)
	}
	answer, source, err := v.read(ctx, hash, needed)
	if errors.Is(err, errAhead) {
		v.metrics.ahead.Inc()
		return apikey.Verdict{Code: apikey.Unavailable, Problem: apikey.RevisionAhead}
	}
	if err != nil {
		v.metrics.unavailable(err)
		return apikey.Verdict{Code: apikey.Unavailable}
	}
	return v.decide(&answer, source, request)
}

// decide makes the verdict of an answer, and has a use of the key noted. Expiry
// is held against the time at which the answer was given.
func (v *Validator) decide(answer *keycache.Answer, source apikey.Source, request *apikey.Request) apikey.Verdict {
	verdict := apikey.Verdict{
		Code:      apikey.NotFound,
		Source:    source,
		AsOf:      answer.AsOf,
		Staleness: answer.Staleness,
		Revision:  uint64(answer.Revision),
	}
	if answer.Found {
		verdict.Record = answer.Record
		verdict.Code = apikey.Decide(answer.Record, request, answer.Now)
	}
	if verdict.Code == apikey.Valid && v.config.Toucher != nil {
		v.config.Toucher.Touch(answer.ID, answer.Now)
	}
	return verdict
}
