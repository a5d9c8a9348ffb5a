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
	"github.com/keytail/keytail/internal/instrument"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/lograte"
)

// Defaults of Config, each with its reason.
const (
	// DefaultReadTimeout is long for a read by a unique index, and short for a
	// caller that could use another instance.
	DefaultReadTimeout = 2 * time.Second
	// DefaultMaxReads is the driver's default pool size (100) less eight, which are
	// left for everything else that uses the pool (mongoclient counts them).
	DefaultMaxReads = 92

	// unreachedShare divides MaxReads: an eighth may be reads of kindUnreached,
	// each of which can last until its deadline. That is few enough that other
	// callers do not notice, and enough for clients that have just written
	// while heartbeats fail.
	unreachedShare = 8
)

// Store reads the collection of the keys on the primary, by the rule for fills
// (majority, not older than the given cluster time) unless stated otherwise. A
// keystore.Store is one.
type Store interface {
	FindByHash(ctx context.Context, h apikey.Hash, after clustertime.Time) (keystore.Document, bool, error)
	// FindByIDs returns the documents that exist, each by the rule for fills.
	FindByIDs(ctx context.Context, ids []apikey.DocID, after clustertime.Time) ([]keystore.Document, error)
	// FindLinearizable returns a result that contains every write that was
	// acknowledged before the call, or blocks until the deadline.
	FindLinearizable(ctx context.Context, h apikey.Hash) (keystore.Document, bool, error)
	// Inspect fails if the collection is missing or is not a plain one.
	Inspect(ctx context.Context) error
}

// UsageRecorder records the use of keys. A usage.Recorder is one.
type UsageRecorder interface {
	// Record is called in every request with a valid key: it does no I/O and
	// does not wait. The id may be part of a larger block of memory, so an
	// implementation that keeps it clones it.
	Record(id apikey.DocID, at time.Time)
}

// Config configures a Validator.
type Config struct {
	// Cache and Store are required.
	Cache *keycache.Cache
	Store Store
	// Prefix is the prefix of the keys that keytail generates; the checksum of
	// keys with it is verified. Empty: apikey.DefaultPrefix.
	Prefix string
	// RequireBinding makes every request one that must name its organisation and
	// its project: without them, a key that is bound is FORBIDDEN.
	RequireBinding bool
	// Hasher hashes the texts of the collection's keys. Zero: SHA-256 of the whole
	// text.
	Hasher apikey.Hasher
	// Heartbeater makes it possible to distinguish a min_revision that is ahead
	// of the cluster from one that only this instance has not reached. Nil:
	// they are not distinguished, and a request with such a revision is
	// UNAVAILABLE, or is answered by a linearizable read when the cache is
	// stale.
	Heartbeater Heartbeater
	// Usage records each VALID answer. Nil: uses are not recorded.
	Usage UsageRecorder
	// ReadTimeout is the deadline of one read of any kind, and of a heartbeat
	// that a request has to wait for. Zero: DefaultReadTimeout.
	ReadTimeout time.Duration
	// MaxReads is how many reads may be in progress at the same time, including
	// linearizable ones; beyond it a cache miss is UNAVAILABLE immediately,
	// instead of one more in a queue without end. Zero: DefaultMaxReads.
	MaxReads int64
	// Now is the clock. Nil: time.Now.
	Now func() time.Time
	// After is the timer of RunRefresh. Nil: time.After.
	After func(time.Duration) <-chan time.Time
	// Logger: nil logs nothing.
	Logger *zap.Logger
	// Registerer registers the metrics. Nil: none.
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

// maxUnreached is how many reads of kindUnreached may be in progress.
func (c *Config) maxUnreached() int64 { return max(1, c.MaxReads/unreachedShare) }

func (c *Config) validate() error {
	var errs []error
	if c.Cache == nil || c.Store == nil {
		errs = append(errs, errors.New("a cache and a store are required"))
	}
	if err := apikey.ValidPrefix(c.Prefix); err != nil {
		errs = append(errs, err)
	}
	if c.ReadTimeout < 0 {
		errs = append(errs, fmt.Errorf("the read timeout is %v, it must be positive", c.ReadTimeout))
	}
	if c.MaxReads < 0 {
		errs = append(errs, fmt.Errorf("the maximum number of concurrent reads is %d, it must be positive", c.MaxReads))
	}
	return errors.Join(errs...)
}

// Validator answers whether keys are valid. It is safe for concurrent use.
type Validator struct {
	config Config
	// fills shares reads that are stored, whose results are revalidated for
	// each caller; the groups share reads and heartbeats, and give a caller
	// only a result that began late enough.
	fills        singleflight.Group
	alone        *group[readKey, readResult]
	linearizable *group[apikey.Hash, readResult]
	beats        *group[struct{}, clustertime.Time]
	// reads limits the reads in progress, of any kind. unreached limits those
	// among them that are of kindUnreached.
	reads, unreached *semaphore.Weighted
	// reading and readingUnreached are how many of them are in progress.
	reading, readingUnreached atomic.Int64
	// acknowledged is the time of the newest heartbeat that a request has
	// waited for, beatFailed whether the last one failed. The flights of beats
	// write them.
	acknowledged atomic.Uint64
	beatFailed   atomic.Bool
	// breaker guards linearizable reads. failure is why the last one failed.
	breaker breaker
	failure atomic.Pointer[ReadFailure]
	metrics *metrics
	logger  *zap.Logger
	// refreshLines limits the log lines about failed refreshes.
	refreshLines lograte.Limiter
}

// New makes a validator. It starts no goroutine.
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
		unreached: semaphore.NewWeighted(config.maxUnreached()),
		metrics:   m,
		logger:    config.Logger.Named("validator"),
	}
	v.alone = newGroup(v.runAlone, v.joined(kindDirect))
	v.linearizable = newGroup(v.runLinearizable, v.joined(kindLinearizable))
	v.beats = newGroup(v.runBeat, nil)
	if err := instrument.Register(config.Registerer, v.limits()...); err != nil {
		return nil, fmt.Errorf("validator: %w", err)
	}
	return v, nil
}

// Validate returns whether the request may go ahead with the key of this text.
// An empty text is Missing. It returns as soon as ctx ends, with Unavailable.
func (v *Validator) Validate(ctx context.Context, text string, request *apikey.Request) (verdict apikey.Verdict) {
	part := v.validate(ctx, text, request, &verdict)
	if verdict.Problem == apikey.NoProblem {
		// A caller's mistake is not counted as an outage.
		v.metrics.count(&verdict, part)
	}
	describe(ctx, &verdict)
	return verdict
}

// Refuse returns a verdict that does not depend on a key, as for two keys in
// one request.
func (v *Validator) Refuse(code apikey.Code) apikey.Verdict {
	verdict := apikey.Verdict{Code: code}
	v.metrics.count(&verdict, 0)
	return verdict
}

// validate makes the zero verdict that of Validate, without a copy. It returns a part of the key's
// hash, which is zero for a text that is no key.
func (v *Validator) validate(ctx context.Context, text string, request *apikey.Request, verdict *apikey.Verdict) (part uint8) {
	hash, err := v.config.Hasher.Parse(v.config.Prefix, text)
	switch {
	case err == nil:
	case errors.Is(err, apikey.ErrMissing):
		verdict.Code = apikey.Missing
		return 0
	default:
		verdict.Code = apikey.Malformed
		return 0
	}
	var answer keycache.Answer
	source, err := v.find(ctx, hash, clustertime.Time(request.MinRevision), &answer)
	switch {
	case err == nil:
	case errors.Is(err, errRevisionAhead):
		v.metrics.ahead.Inc()
		verdict.Problem = apikey.RevisionAhead
		return hash[0]
	default:
		v.metrics.unavailable(err)
		return hash[0]
	}
	v.decide(verdict, &answer, source, request)
	if verdict.Code == apikey.Valid && v.config.Usage != nil {
		v.config.Usage.Record(answer.ID, answer.Now)
	}
	return hash[0]
}

// find answers from the cache or, on a miss, from the database. The answer
// contains every change up to needed.
func (v *Validator) find(ctx context.Context, hash apikey.Hash, needed clustertime.Time, answer *keycache.Answer) (source apikey.Source, err error) {
	var ok bool
	if *answer, ok = v.config.Cache.Get(hash); ok && answer.Revision >= needed {
		return apikey.SourceCache, nil
	}
	*answer, source, err = v.read(ctx, hash, needed)
	return source, err
}

// decide makes the zero verdict that of an answer. The expiry is compared with the
// time at which the answer was given.
func (v *Validator) decide(verdict *apikey.Verdict, answer *keycache.Answer, source apikey.Source, request *apikey.Request) {
	verdict.Code, verdict.Source = apikey.NotFound, source
	verdict.AsOf, verdict.Staleness, verdict.Revision = answer.AsOf, answer.Staleness, uint64(answer.Revision)
	if answer.Found {
		required := v.Required(request)
		verdict.Record = answer.Record
		verdict.Code = apikey.Decide(answer.Record, required, answer.Now)
		verdict.Reason = apikey.ReasonFor(verdict.Code, answer.Record, required)
	}
}

// Required returns the request that is decided in place of request: the same,
// with what the configuration requires of all of them. The caller must not modify it: it may be
// request itself.
func (v *Validator) Required(request *apikey.Request) *apikey.Request {
	if !v.config.RequireBinding {
		return request
	}
	required := *request
	required.RequireOrg, required.RequireProject = true, true
	return &required
}
