package changestream

import (
	"context"
	"errors"
	"fmt"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongoclient"
)

// Defaults of Config, each with its reason.
const (
	// DefaultMaxAwait is how long the server holds a getMore that has nothing
	// to say. An event ends the wait, so it delays nothing; it is how often the
	// tail looks up while the database is quiet.
	DefaultMaxAwait = time.Second
	// DefaultWatchdog leaves an answer four seconds after MaxAwait, and leaves
	// room for two reopenings within the default max_stale of 15 s.
	DefaultWatchdog = 5 * time.Second
	// minWatchdog is long for an answer on a machine that is busy.
	minWatchdog = time.Second

	// longestWatchdog times the configured one is the most that the watchdog
	// grows to: beyond 40 s a dead connection would be waited for too long.
	maxWatchdogFactor = 8
	// closeTimeout bounds the best-effort killCursors of a stream given up.
	closeTimeout = time.Second
	// mostByDriver is how often in a row the driver may resume a stream by itself.
	maxDriverResumes = 3
	// firstPause and longestPause are the jittered exponential backoff between
	// two attempts to open: short enough for a blip, slow enough for a fleet.
	minPause = 100 * time.Millisecond
	maxPause = 5 * time.Second
)

// Sink is told what the stream says, by one goroutine and in order. A
// keycache.Cache is one.
type Sink interface {
	// Lose: the history is lost. It reports whether there was any to lose.
	Lose() bool
	// Open: a new stream delivers every change after floor.
	Open(floor clustertime.Time)
	// Apply takes in one change.
	Apply(change *keycache.Change)
	// Fresh: every change acknowledged before f.AsOf has been applied.
	Fresh(f keycache.Freshness)
}

// Collection is what the tail asks of the keys' collection. A keystore.Store is
// one.
type Collection interface {
	// Inspect refuses a collection that is missing or is not a plain one: a
	// stream on it would be silent for ever.
	Inspect(ctx context.Context) error
	// Report takes note of a document that cannot be read as a key.
	Report(document keystore.Document)
}

// Waits are a MaxAwait and a Watchdog for a bound of maxStale (zero: the default
// one): a stream on a connection that is stuck is given up in time for another
// one to keep answers young, twice.
func TimeoutsFor(maxStale time.Duration) (maxAwait, watchdog time.Duration) {
	if maxStale == 0 {
		return DefaultMaxAwait, DefaultWatchdog
	}
	watchdog = min(max(maxStale/MaxStaleParts, minWatchdog), DefaultWatchdog)
	return min(DefaultMaxAwait, watchdog/2), watchdog
}

// Config of a Tail.
type Config struct {
	// Database holds the keys. Required. Its client must have no timeout of its
	// own, which would end an idle stream.
	Database *mongo.Database
	// Scope is what the stream watches. Empty: ScopeDatabase.
	Scope Scope
	// Schema names the collection and its fields. Required.
	Schema keystore.Schema
	// Sink and Collection are required.
	Sink       Sink
	Collection Collection
	// Heart writes the heartbeats whose way back through the stream moves the
	// freshness. Required; in ScopeDatabase it writes into the same Database.
	// The tail tells it when the stream is open; somebody else calls its Run.
	Heartbeater *Heartbeater
	// OnLoss is told why history was lost, after Sink.Lose, by the same goroutine.
	// Nil: nobody is.
	OnLoss func(Reason)
	// MaxAwait is how long the server holds a request that has nothing to say.
	// Zero: DefaultMaxAwait.
	MaxAwait time.Duration
	// Watchdog is the deadline of one request. It must be longer than MaxAwait.
	// Zero: DefaultWatchdog.
	Watchdog time.Duration
	// LastScan is how long the last complete scan of the collection took, zero if
	// it is not known. Catching up may take twice as long, within the next two.
	// Nil: it is never known.
	LastScan func() time.Duration
	// LeastCatchUp and MostCatchUp are the least and the most that catching up may
	// take, once the cache is older than max_stale although the database
	// acknowledges heartbeats. Past it the history is given up, and all is read
	// anew. Zero: DefaultLeastCatchUp, DefaultMostCatchUp.
	MinCatchUp, MaxCatchUp time.Duration
	// Now is the clock that freshness is measured on. Nil: time.Now.
	Now func() time.Time
	// Logger: nil is silent.
	Logger *zap.Logger
	// Registerer takes the metrics. Nil: none.
	Registerer prometheus.Registerer
}

func (c *Config) setDefaults() {
	if c.Scope == "" {
		c.Scope = ScopeDatabase
	}
	if c.MaxAwait == 0 {
		c.MaxAwait = DefaultMaxAwait
	}
	if c.Watchdog == 0 {
		c.Watchdog = DefaultWatchdog
	}
	if c.MinCatchUp == 0 {
		c.MinCatchUp = DefaultMinCatchUp
	}
	if c.MaxCatchUp == 0 {
		c.MaxCatchUp = max(DefaultMaxCatchUp, c.MinCatchUp)
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
}

func (c *Config) validate() error {
	var errs []error
	if c.Database == nil {
		errs = append(errs, errors.New("a database is needed"))
	}
	if c.Sink == nil {
		errs = append(errs, errors.New("a sink is needed"))
	}
	if c.Collection == nil {
		errs = append(errs, errors.New("a collection is needed"))
	}
	if c.Heartbeater == nil {
		errs = append(errs, errors.New("a heart is needed"))
	}
	if c.MaxAwait < 0 || c.Watchdog <= c.MaxAwait {
		errs = append(errs, fmt.Errorf("the watchdog (%v) must be longer than the wait at the server (%v)", c.Watchdog, c.MaxAwait))
	}
	if c.MinCatchUp < 0 || c.MaxCatchUp < c.MinCatchUp {
		errs = append(errs, fmt.Errorf("the most that catching up may take (%v) must not be below the least (%v)", c.MaxCatchUp, c.MinCatchUp))
	}
	return errors.Join(append(errs, c.validateScope())...)
}

// Tail follows the change stream. Its state belongs to the goroutine in Run.
type Tail struct {
	config   Config
	pipeline mongo.Pipeline
	// db reads from the primary, whatever the client does: a stream that is opened
	// again is then on the new one. Its read concern is the only one that a change
	// stream can have, whatever the connection string says.
	db      *mongo.Database
	logger  *zap.Logger
	metrics *metrics
	status  atomic.Pointer[Status]
	// catchUp bounds how long the stream may be behind.
	catchUp *catchUp

	// token is that of the last change applied, or of the last empty batch.
	// Nil: there is no history to resume.
	token bson.Raw
	// newest is the newest cluster time seen since the history was last lost. It
	// never moves back: one that is lost may be of a log that is no more, as after
	// a restore, and says nothing of the next.
	newest clustertime.Time
	// watchdog doubles each time it fires, until the token has moved.
	watchdog time.Duration
	// fruitless counts the reopenings in a row that brought nothing.
	fruitless int
	// firstCursor is set while all events since the history began have come over the
	// cursor that it began with.
	firstCursor bool
	// logged maps a failure's phase, code and name to its last log line.
	logged map[string]failureLog
}

// New makes a tail that has not begun.
func New(config Config) (*Tail, error) {
	config.setDefaults()
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("change stream: %w", err)
	}
	catchUp := newCatchUp(&config)
	config.Heartbeater.acknowledged = catchUp.acknowledged
	m, err := newMetrics(config.Registerer, catchUp)
	if err != nil {
		return nil, fmt.Errorf("change stream: %w", err)
	}
	t := &Tail{
		config:   config,
		pipeline: config.pipeline(),
		db:       mongoclient.Database(config.Database.Client(), config.Database.Name()),
		logger:   config.Logger.Named("changestream"),
		metrics:  m,
		watchdog: config.Watchdog,
		catchUp:  catchUp,
		logged:   map[string]failureLog{},
	}
	t.status.Store(&Status{})
	return t, nil
}

// Run follows the stream until ctx ends, and returns nil when all of it has
// stopped. It never gives up: what fails is tried again, with a pause.
func (t *Tail) Run(ctx context.Context) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = minPause
	pause.MaxInterval = maxPause
	for {
		if moved := t.follow(ctx); moved {
			pause.Reset()
		}
		if !t.waitToRetry(ctx, pause.NextBackOff()) {
			return nil
		}
	}
}

// rest pauses, but not for longer than the history is known to be there, nor than
// an outage. It reports false when ctx ended.
func (t *Tail) waitToRetry(ctx context.Context, pause time.Duration) bool {
	until, release := t.config.Heartbeater.tracker.interruptible(ctx)
	defer release()
	until, cancel := context.WithCancelCause(until)
	defer cancel(nil)
	defer t.catchUp.arm(cancel)()
	wait(until, pause)
	return ctx.Err() == nil
}

// wait reports false when ctx ended first.
func wait(ctx context.Context, pause time.Duration) bool {
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return true
	}
}

// follow opens the stream, new or where it was, and applies what it delivers
// until it ends. It reports whether the server answered on the open stream, or is
// known to answer again.
func (t *Tail) follow(ctx context.Context) (moved bool) {
	phase := phaseOpen
	if t.token != nil {
		phase = phaseResume
	}
	s, err := t.open(ctx)
	if err != nil {
		if ctx.Err() == nil {
			t.handleOpenError(phase, err)
		}
		return errors.Is(err, errOutageOver)
	}
	defer s.close()
	t.logger.Info("change stream is open", zap.Bool("resumed", s.resumed))
	for {
		if err := t.step(ctx, s); err != nil {
			if ctx.Err() == nil {
				// Before the stream is closed, which takes time.
				t.handleFailure(phaseGetMore, t.checkProgress(s, err))
			}
			return s.replies > 0 || errors.Is(err, errOutageOver)
		}
	}
}

// notOpened takes note of a stream that could not be opened. While the server
// refuses it nothing is caught up, and a new stream would be refused as well.
func (t *Tail) handleOpenError(phase string, err error) {
	if !errors.Is(err, errWatchdog) && !errors.Is(err, errOutageOver) {
		t.catchUp.openRefused()
	}
	t.handleFailure(phase, err)
}
