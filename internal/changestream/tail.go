package changestream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongoclient"
	"github.com/keytail/keytail/internal/timing"
)

// Defaults of Config, each with its reason.
const (
	// DefaultMaxAwait is how long the server waits before it answers a getMore with nothing. An
	// event ends the wait, so it delays nothing. It is how often the tail gets an answer while the
	// database is quiet.
	DefaultMaxAwait = time.Second
	// DefaultWatchdog gives an answer four seconds after MaxAwait, and leaves time for two resumes
	// within the default max_stale of 15 s.
	DefaultWatchdog = 5 * time.Second
	// minWatchdog is long enough for an answer on a busy machine.
	minWatchdog = time.Second

	// maxWatchdogFactor times the configured limit is the longest that the watchdog waits: beyond
	// 40 s it would wait too long for a dead connection.
	maxWatchdogFactor = 8
	// closeTimeout limits the best-effort killCursors of a stream that was given up.
	closeTimeout = time.Second
	// maxDriverResumes is how often in a row the driver may resume a stream on its own.
	maxDriverResumes = 3
	// minPause and maxPause bound the jittered exponential backoff between two attempts to open:
	// short enough for a brief interruption, slow enough for a fleet.
	minPause = 100 * time.Millisecond
	maxPause = 5 * time.Second
	// retryJitter is the share by which such a pause is longer or shorter.
	retryJitter = backoff.DefaultRandomizationFactor
)

// Sink receives what the stream delivers, from one goroutine and in order. keycache.Cache is one.
type Sink interface {
	// Lose: the history is lost. It returns whether there was a history to lose.
	Lose() bool
	// Open: a new stream delivers every change after floor.
	Open(floor clustertime.Time)
	// Apply applies one change.
	Apply(change *keycache.Change)
	// Fresh: every change acknowledged before f.AsOf has been applied.
	Fresh(f keycache.Freshness)
}

// Collection is what the tail needs of the keys' collection. keystore.Store is one.
type Collection interface {
	// Inspect rejects a collection that is missing or is not an ordinary one: a stream on it would
	// never deliver anything.
	Inspect(ctx context.Context) error
	// Report notes a document that cannot be read as a key.
	Report(document keystore.Document)
}

// TimeoutsFor returns a MaxAwait and a Watchdog for a maximum staleness (zero: the default). A
// stream on a hanging connection is then given up early enough that another one can keep answers
// fresh, twice.
func TimeoutsFor(maxStale time.Duration) (maxAwait, watchdog time.Duration) {
	if maxStale == 0 {
		return DefaultMaxAwait, DefaultWatchdog
	}
	watchdog = min(max(maxStale/MaxStaleParts, minWatchdog), DefaultWatchdog)
	return min(DefaultMaxAwait, watchdog/2), watchdog
}

// Config of a Tail.
type Config struct {
	// Database holds the keys. Required. Its client must have no timeout, which would end an idle
	// stream.
	Database *mongo.Database
	// Scope is what the stream watches. Empty: ScopeDatabase.
	Scope Scope
	// Schema names the collection and its fields. Required.
	Schema keystore.Schema
	// Sink and Collection are required.
	Sink       Sink
	Collection Collection
	// ReadPreference is which members may serve the stream. Whoever does, a heartbeat's round trip
	// proves the freshness (DESIGN.md, "Which member serves the stream"). Nil: the primary.
	ReadPreference *readpref.ReadPref
	// Heartbeater writes the heartbeats that move the freshness when they arrive through the
	// stream. Required; in ScopeDatabase it writes into the same Database. The tail informs it when
	// the stream is open; its Run must be called separately.
	Heartbeater *Heartbeater
	// OnLoss is called with the reason of a loss, after Sink.Lose, by the same goroutine. Nil: it
	// is not called.
	OnLoss func(Reason)
	// MaxAwait is how long the server waits before it answers a request with nothing. Zero:
	// DefaultMaxAwait.
	MaxAwait time.Duration
	// Watchdog is the limit for one request. It must be longer than MaxAwait. Zero:
	// DefaultWatchdog.
	Watchdog time.Duration
	// LastScan returns how long the last complete scan of the collection took, zero if unknown.
	// Catching up may take twice as long, within the next two bounds. Nil: unknown.
	LastScan func() time.Duration
	// MinCatchUp and MaxCatchUp are the bounds for the time that catching up may take, once the
	// cache is older than max_stale although the database acknowledges heartbeats. After that time
	// the history is given up, and all keys are read again. Zero: DefaultMinCatchUp,
	// DefaultMaxCatchUp.
	MinCatchUp, MaxCatchUp time.Duration
	// Now is the clock for the freshness. Nil: time.Now.
	Now func() time.Time
	// Random returns a random number in [0, 1), for pauses. Nil: math/rand/v2's.
	Random func() float64
	// Logger: nil logs nothing.
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
	if c.Random == nil {
		c.Random = rand.Float64
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
}

func (c *Config) validate() error {
	var errs []error
	if c.Database == nil {
		errs = append(errs, errors.New("a database is required"))
	}
	if c.Sink == nil {
		errs = append(errs, errors.New("a sink is required"))
	}
	if c.Collection == nil {
		errs = append(errs, errors.New("a collection is required"))
	}
	if c.Heartbeater == nil {
		errs = append(errs, errors.New("a heartbeater is required"))
	}
	if c.MaxAwait < 0 || c.Watchdog <= c.MaxAwait {
		errs = append(errs, fmt.Errorf("the watchdog (%v) must be longer than the server's wait (%v)", c.Watchdog, c.MaxAwait))
	}
	if c.MinCatchUp < 0 || c.MaxCatchUp < c.MinCatchUp {
		errs = append(errs, fmt.Errorf("the maximum time for catching up (%v) must not be below the minimum (%v)", c.MaxCatchUp, c.MinCatchUp))
	}
	return errors.Join(append(errs, c.validateScope())...)
}

// Tail follows the change stream. Its state belongs to the goroutine in Run.
type Tail struct {
	config      Config
	pipeline    mongo.Pipeline
	interpreter interpreter
	// db has the only read concern that a change stream can have, regardless of the connection
	// string.
	db *mongo.Database
	// placement is on which member the stream is opened.
	placement placement
	logger    *zap.Logger
	metrics   *metrics
	status    atomic.Pointer[Status]
	// diagnosis is what the tail does and fails at, for others.
	diagnosis diagnosis
	// catchUp limits how long the stream may be behind.
	catchUp *catchUp

	// token is that of the last applied change, or of the last empty batch. Nil: there is no
	// history to resume.
	token bson.Raw
	// newest is the newest cluster time seen since the history was last lost. Within a history it
	// never moves back. A loss resets it: after a restore the lost times may belong to an oplog
	// that no longer exists, and do not apply to the next one.
	newest clustertime.Time
	// watchdog is the current limit. It doubles each time the watchdog fires, until the server
	// answers a request.
	watchdog time.Duration
	// fruitless counts the resumes in a row that brought nothing.
	fruitless int
	// firstCursor is set while all events since the history began have come over the cursor with
	// which it began.
	firstCursor bool
	// logged maps a failure's phase, code and name to its last log line.
	logged map[string]failureLog
}

// New makes a tail that does nothing until Run is called.
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

		placement: placement{preference: config.ReadPreference, random: config.Random},

		logger:   config.Logger.Named("changestream"),
		metrics:  m,
		watchdog: config.Watchdog,
		catchUp:  catchUp,
		logged:   map[string]failureLog{},
	}
	t.interpreter = newInterpreter(&t.config.Schema, t.config.heartbeatID())
	t.status.Store(&Status{})
	return t, nil
}

// Run follows the stream until ctx ends, and returns nil when all of it has stopped. It never
// gives up: after a failure it tries again, with a pause.
func (t *Tail) Run(ctx context.Context) error {
	pause := backoff.NewExponentialBackOff()
	pause.InitialInterval = minPause
	pause.MaxInterval = maxPause
	pause.RandomizationFactor = 0 // the jitter is added below
	for {
		if moved := t.follow(ctx); moved {
			pause.Reset()
		}
		if !t.waitToRetry(ctx, timing.JitterBy(t.config.Random, pause.NextBackOff(), retryJitter)) {
			return nil
		}
	}
}

// waitToRetry pauses. It ends early when the history is found to be lost, or when an outage is
// over. It returns false when ctx ended.
func (t *Tail) waitToRetry(ctx context.Context, pause time.Duration) bool {
	until, release := t.config.Heartbeater.tracker.interruptible(ctx)
	defer release()
	until, cancel := context.WithCancelCause(until)
	defer cancel(nil)
	defer t.catchUp.arm(cancel)()
	t.diagnosis.does(Pausing, t.config.Now().Add(pause))
	timing.Sleep(until, pause)
	return ctx.Err() == nil
}

// follow opens the stream, new or where it was, and applies what it delivers until it ends. It
// returns whether the server answered on the open stream, or is known to answer again.
func (t *Tail) follow(ctx context.Context) (moved bool) {
	phase, attempt := phaseOpen, Opening
	if t.token != nil {
		phase, attempt = phaseResume, Resuming
	}
	t.diagnosis.does(attempt, t.config.Now().Add(t.watchdog))
	s, err := t.openTraced(ctx)
	if err != nil {
		if ctx.Err() == nil {
			t.handleOpenError(phase, err)
		}
		return errors.Is(err, errOutageOver)
	}
	defer s.close()
	t.diagnosis.does(Reading, time.Time{})
	t.logger.Info("the change stream is open", zap.Bool("resumed", s.resumed), zap.Stringer("read_preference", s.preference.Mode()))
	for {
		if err := t.step(ctx, s); err != nil {
			if errors.Is(err, errMovesBack) {
				t.logger.Info("the change stream moves back to the members that --read-preference allows")
				return true
			}
			if ctx.Err() == nil {
				// Before the stream is closed, which takes time.
				t.handleFailure(phaseGetMore, t.checkProgress(s, err))
			}
			return s.replies > 0 || errors.Is(err, errOutageOver)
		}
	}
}

// handleOpenError handles a stream that could not be opened. While the server refuses it, nothing
// is caught up, and a new stream would be refused as well.
func (t *Tail) handleOpenError(phase string, err error) {
	if !errors.Is(err, errWatchdog) && !errors.Is(err, errOutageOver) {
		t.catchUp.openRefused()
	}
	t.handleFailure(phase, err)
}
