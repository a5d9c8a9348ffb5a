package usage

import (
	"context"
	"errors"
	"fmt"
	"hash/maphash"
	"math/rand/v2"
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
)

// Defaults of Config, each with its reason.
const (
	// DefaultInterval is often enough for "when was this key last used", which
	// people ask in days.
	DefaultInterval = 10 * time.Second
	// DefaultMost keys are some 15 MB.
	DefaultMost = 100_000
)

const (
	// jitter is the share of the interval by which flushes of a fleet that was
	// started at once drift apart.
	jitter = 0.1
)

// Config of a Usage. Keys, IDValue, and one of the two fields are required.
type Config struct {
	// Keys is the collection of the keys.
	Keys *mongo.Collection
	// LastUsed and UsageCount are the names of the fields: a date and a number.
	// Empty: the documents have no such field.
	LastUsed   string
	UsageCount string
	// IDValue is the _id behind the name that Touch is given: Schema.IDValue of
	// package keystore.
	IDValue func(apikey.DocID) (bson.RawValue, error)
	// Interval is the time between two flushes. Zero: DefaultInterval.
	Interval time.Duration
	// Most is how many keys wait for the next flush before it is made early. Twice
	// as many are held at most: those of a flush under way, and those that come
	// meanwhile. Zero: DefaultMost.
	Most int
	// After tells when a time has passed. Nil: time.After.
	After func(time.Duration) <-chan time.Time
	// Logger: nil is silent.
	Logger *zap.Logger
	// Registerer takes the metrics. Nil: none.
	Registerer prometheus.Registerer
}

func (c *Config) setDefaults() {
	if c.Interval == 0 {
		c.Interval = DefaultInterval
	}
	if c.Most == 0 {
		c.Most = DefaultMost
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
		errs = append(errs, errors.New("a collection, and a way to its _ids, are needed"))
	}
	if c.LastUsed == "" && c.UsageCount == "" {
		errs = append(errs, errors.New("there is no field to keep up to date"))
	}
	if c.Interval < 0 {
		errs = append(errs, fmt.Errorf("the interval is %v, it must be positive", c.Interval))
	}
	if c.Most < 0 {
		errs = append(errs, fmt.Errorf("at most %d keys may wait, it must be a positive number", c.Most))
	}
	return errors.Join(errs...)
}

// Recorder notes uses of keys and writes them behind. Its methods are safe for
// concurrent use.
type Recorder struct {
	config Config
	keys   *mongo.Collection
	// writer is keys. A test may put another one here.
	writer bulkWriter
	seed   maphash.Seed
	shards [shardCount]shard
	// held counts the entries of all shards, waiting those that have something to
	// be written. They move when a key comes or goes, not with each use of it.
	held    atomic.Int64
	waiting atomic.Int64
	// taken is how many keys a flush under way has still to write.
	taken atomic.Int64
	// dropped are uses that had no place, since it was last logged.
	dropped atomic.Int64
	// batch is how many keys go into one command.
	batch batch
	// failing is when the first of the flushes failed that have failed in a row. Nil:
	// the last one did not fail.
	failing atomic.Pointer[time.Time]
	// full has a token when a flush is wanted early.
	full    chan struct{}
	metrics *metrics
	logger  *zap.Logger

	// flushing is held during a flush, and guards what follows.
	flushing sync.Mutex
	// reminded is when a failure was last logged, saidFull when dropped was.
	reminded, saidFull time.Time
	// refused are documents that were logged because they do not take the update.
	refused map[apikey.DocID]struct{}
	// unmatched: it was logged that there are such documents.
	unmatched bool
}

// New makes a Usage. It starts nothing, and does not ask the database: Prepare
// does.
func New(config Config) (*Recorder, error) {
	config.setDefaults()
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("usage: %w", err)
	}
	u := &Recorder{
		config: config,
		// One node's word is enough: see the package's non-promises.
		keys:    config.Keys.Clone(options.Collection().SetWriteConcern(writeconcern.W1())),
		seed:    maphash.MakeSeed(),
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

// Run flushes at each interval, early when many keys wait, and once more when ctx
// ends. It returns nil when all has stopped, a few seconds after the end of ctx at
// the latest. What could not be written by then is lost, and the log says so.
func (u *Recorder) Run(ctx context.Context) error {
	early := u.full
	for {
		select {
		case <-ctx.Done():
			u.stop(ctx)
			return nil
		case <-u.config.After(u.pause()):
		case <-early:
		}
		early = u.full
		if u.Flush(ctx) != nil {
			// What is merged back may be enough for the next early flush: a
			// database that fails is tried at the interval.
			early = nil
		}
	}
}

// pause is the interval with its jitter.
func (u *Recorder) pause() time.Duration {
	return time.Duration(float64(u.config.Interval) * (1 - jitter + 2*jitter*rand.Float64()))
}

// stop writes what it can in its time. What timed out is tried again in smaller
// commands, which may still write last_used.
func (u *Recorder) stop(ctx context.Context) {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), stopTimeout)
	defer cancel()
	err := u.flush(ctx, stopBatchTimeout)
	for tooSlow(err) && ctx.Err() == nil {
		err = u.flush(ctx, stopBatchTimeout)
	}
	if err != nil {
		u.logger.Warn("the last uses of keys could not be written, and are lost",
			zap.Int64("keys", u.waiting.Load()), zap.Duration("failing_for", u.failingFor()), zap.Error(err))
	}
}
