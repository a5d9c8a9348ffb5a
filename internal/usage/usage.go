package usage

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/timing"
)

// Defaults of Config, each with its reason.
const (
	// DefaultInterval is that between two flushes in a fleet of at most a hundred. It is often enough for the question "when was this key last
	// used", which people ask in days.
	DefaultInterval = 10 * time.Second
	// DefaultMaxPending keys take about 15 MB.
	DefaultMaxPending = 100_000
)

// Config configures a Recorder. Keys, IDValue, and one of the two fields are
// required.
type Config struct {
	// Keys is the collection of the keys.
	Keys *mongo.Collection
	// LastUsed and UsageCount are the names of the fields: a date and a number.
	// Empty: the documents have no such field.
	LastUsed   string
	UsageCount string
	// IDValue returns the _id for the id that is passed to Record:
	// Schema.IDValue of package keystore.
	IDValue func(apikey.DocID) (bson.RawValue, error)
	// Interval is the time between two flushes, with a jitter of a half. Zero:
	// FlushInterval of Instances.
	Interval time.Duration
	// KeyInterval is the time between two writes of one key, with a jitter of a
	// half: a flush leaves out a key that was written more recently. Zero: the
	// function KeyInterval of Instances.
	KeyInterval time.Duration
	// Instances returns how many instances there are, this one included. Nil: one.
	Instances func() int
	// MaxPending is how many keys are remembered before a flush is made early, of
	// all keys that wait, and all others are forgotten. Memory holds at most twice
	// as many: those of a flush in progress, and those that are recorded meanwhile.
	// Zero: DefaultMaxPending.
	MaxPending int
	// Now is the clock of KeyInterval, with its monotonic reading. Nil: time.Now.
	Now func() time.Time
	// After is the timer between flushes. Nil: time.After.
	After func(time.Duration) <-chan time.Time
	// Logger: nil logs nothing.
	Logger *zap.Logger
	// Registerer registers the metrics. Nil: none.
	Registerer prometheus.Registerer
}

func (c *Config) setDefaults() {
	if c.Instances == nil {
		c.Instances = func() int { return 1 }
	}
	if c.MaxPending == 0 {
		c.MaxPending = DefaultMaxPending
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
	if c.Keys == nil || c.IDValue == nil {
		errs = append(errs, errors.New("the collection and the IDValue function are required"))
	}
	if c.LastUsed == "" && c.UsageCount == "" {
		errs = append(errs, errors.New("one of the fields LastUsed and UsageCount is required"))
	}
	if c.Interval < 0 {
		errs = append(errs, fmt.Errorf("the interval is %v, it must be positive", c.Interval))
	}
	if c.KeyInterval < 0 {
		errs = append(errs, fmt.Errorf("the interval between two writes of a key is %v, it must be positive", c.KeyInterval))
	}
	if c.MaxPending < 0 {
		errs = append(errs, fmt.Errorf("the maximum number of pending keys is %d, it must be positive", c.MaxPending))
	}
	return errors.Join(errs...)
}

// Recorder records uses of keys and writes them in the background. Its methods
// are safe for concurrent use.
type Recorder struct {
	config Config
	keys   *mongo.Collection
	// writer is keys. A test may replace it.
	writer bulkWriter
	seed   maphash.Seed
	// began is when the clock of KeyInterval is zero.
	began  time.Time
	shards [shardCount]shard
	// entries counts the entries of all shards, waiting those of them that have
	// something to write. They change when a key is added, written or removed, not
	// with each use.
	entries atomic.Int64
	waiting atomic.Int64
	// taken is how many keys a flush in progress still has to write.
	taken atomic.Int64
	// dropped counts the uses that found no place since that was last logged.
	dropped atomic.Int64
	// batch is how many keys go into one command.
	batch batch
	// failing is when the first of the current series of failed flushes failed.
	// Nil: the last flush did not fail.
	failing atomic.Pointer[time.Time]
	// full has a token when an early flush is requested.
	full    chan struct{}
	metrics *metrics
	logger  *zap.Logger

	// flushing is locked during a flush, and guards the fields below.
	flushing sync.Mutex
	// reminded is when a failure was last logged, dropLogged when dropped was.
	reminded, dropLogged time.Time
	// refused are documents that were logged because they cannot take the
	// update.
	refused map[apikey.DocID]struct{}
	// unmatched means that it was logged that there are uses without a
	// document.
	unmatched bool
}

// New makes a Recorder. It starts no goroutine and does not use the database:
// Prepare does.
func New(config Config) (*Recorder, error) {
	config.setDefaults()
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("usage: %w", err)
	}
	u := &Recorder{
		config: config,
		// The acknowledgement of one node is enough: see "What is not
		// guaranteed" in the package doc.
		keys:    config.Keys.Clone(options.Collection().SetWriteConcern(writeconcern.W1())),
		seed:    maphash.MakeSeed(),
		began:   config.Now(),
		full:    make(chan struct{}, 1),
		logger:  config.Logger.Named("usage"),
		refused: map[apikey.DocID]struct{}{},
	}
	for i := range u.shards {
		u.shards[i].uses = map[apikey.DocID]*use{}
	}
	u.writer = u.keys
	u.batch.init()
	var err error
	if u.metrics, err = newMetrics(config.Registerer, u); err != nil {
		return nil, fmt.Errorf("usage: %w", err)
	}
	return u, nil
}

// Run flushes what is due at each interval, everything when many keys wait, and
// everything once more when ctx ends. It returns nil when everything has stopped, a few seconds after the
// end of ctx at the latest. Uses that could not be written by then are lost,
// which is logged.
func (u *Recorder) Run(ctx context.Context) error {
	early := u.full
	for {
		select {
		case <-ctx.Done():
			u.stop(ctx)
			return nil
		case <-u.config.After(timing.Jitter(u.config.flushInterval(), Jitter)):
		case <-early:
		}
		early = u.full
		if u.flush(ctx, batchTimeout, false) != nil {
			// The uses that were merged back may be enough for another early
			// flush: a database that fails is tried at the interval only.
			early = nil
		}
	}
}

// stop writes as much as possible in its time. What timed out is tried again in
// smaller commands, which may still write last_used.
func (u *Recorder) stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	err := u.flush(ctx, stopBatchTimeout, true)
	for isTooSlow(err) && ctx.Err() == nil {
		err = u.flush(ctx, stopBatchTimeout, true)
	}
	if err != nil {
		u.logger.Warn("the last uses of keys before the shutdown could not be written and are lost",
			zap.Int64("keys", u.waiting.Load()), zap.Duration("failing_for", u.failingFor()), zap.Error(err))
	}
}
