package fleet

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/instrument"
)

const (
	// Margin is by how much another instance's clock may be slower than this
	// one's during its max_stale, with a reserve (doc.go).
	Margin = 5 * time.Second
	// DefaultMaxWaits is how many waits may be in progress at the same time:
	// each takes a connection of a caller and a few KiB, but no connection to
	// the database.
	DefaultMaxWaits = 1024

	// readTimeout is the deadline of one read of the list, which is a short
	// read on the primary. It leaves time for a second one in the default wait
	// of 5 s.
	readTimeout = 2 * time.Second
	// firstPause and longestPause are between two reads of the list. What the
	// list contains about an instance is at most one heartbeat interval (1 s)
	// old, so the pause grows slowly: by an eighth each time, to a third of a
	// second after two intervals.
	firstPause   = 100 * time.Millisecond
	longestPause = time.Second
	// leastPause is the pause when callers keep arriving: at most 50 reads a
	// second.
	leastPause = 20 * time.Millisecond
	// DefaultPollInterval is between two reads that no caller has requested. It
	// is by how much later than possible a dead instance is dropped.
	DefaultPollInterval = 5 * time.Second
	// pollIntervalPerInstance times the number of instances is the interval
	// when that is more than DefaultPollInterval: N instances then read 33 N
	// short documents a second together, which is little beside the N
	// heartbeats a second that they write. A thousand instances read the list
	// every 30 s each: 33 reads of 1,000 documents, about 2.5 MB a second.
	pollIntervalPerInstance = 30 * time.Millisecond
	// pollJitter is the share of the interval by which the reads of instances
	// that were started together drift apart.
	pollJitter = 0.1
	// heartbeatRetryPause follows a heartbeat that failed. heartbeatRepeat is
	// how long the round trip of a heartbeat may take before another one is
	// sent.
	heartbeatRetryPause = 100 * time.Millisecond
	heartbeatRepeat     = time.Second
)

// The errors of a wait.
var (
	// ErrBusy means that too many waits are in progress.
	ErrBusy = errors.New("too many waits for a revision are in progress: try again later")
	// ErrUnavailable means that the database did not return the list of
	// instances.
	ErrUnavailable = errors.New("the list of instances could not be read from the database")
)

// Scope selects which instances a wait is for.
type Scope int

// The scopes.
const (
	// ScopeInstance is this instance.
	ScopeInstance Scope = iota
	// ScopeFleet is every live instance that uses the same keys.
	ScopeFleet
)

// Heartbeater writes heartbeats. A changestream.Heartbeater is one.
type Heartbeater interface {
	// Beat sends a heartbeat now and returns the cluster time of its
	// acknowledgement. Every write that was acknowledged before the call is at
	// or before that time.
	Beat(ctx context.Context) (clustertime.Time, error)
}

// Instance is what one instance last reported.
type Instance struct {
	// ID is <name>/<boot id>.
	ID string
	// Version is the version of keytail.
	Version string
	// Revision is up to where it has processed all changes. Zero: not reported.
	Revision clustertime.Time
	// Staleness is the age of its data when it sent its heartbeat. Negative:
	// not reported.
	Staleness time.Duration
	// LastSeen is when the heartbeat was written, by the server's clock; in the
	// result of a wait for ScopeInstance it is the current time of this
	// machine. It is for people only: no decision depends on it, because each
	// member of a replica set has its own clock.
	LastSeen time.Time
}

// SyncResult is the result of a wait.
type SyncResult struct {
	// Synced means that all instances of the scope have reached the revision.
	Synced bool
	// Instances are the instances of the scope, sorted by id.
	Instances []Instance
	// Missing are the ids of the instances that have not reached the revision,
	// sorted. Empty if Synced.
	Missing []string
	// Took is how long the wait took.
	Took time.Duration
}

// Config configures a Fleet. Every field up to Fresh is required.
type Config struct {
	// Heartbeats is the collection of the heartbeats, of a client without a
	// timeout. It must be the client with which Heartbeater writes: that client
	// informs the server about the cluster time of the heartbeat, which the
	// server would otherwise refuse to wait for.
	Heartbeats *mongo.Collection
	// Namespace is "<database>.<collection>" of the keys. Instances with
	// another namespace belong to another fleet.
	Namespace string
	// Self is the _id of this instance's own heartbeats.
	Self string
	// Heartbeater sends them.
	Heartbeater Heartbeater
	// Fresh returns the freshness of this instance: every change that was
	// acknowledged before asOf has a cluster time of processed or less, and
	// every change up to and including processed has been applied. Both are
	// zero before that is known. asOf has its monotonic reading. NotifyProgress
	// must be called after each change of the freshness.
	Fresh func() (asOf time.Time, processed clustertime.Time)
	// PollInterval is the time between two reads of the list that no caller has
	// requested. It is longer in a large fleet. Zero: DefaultPollInterval.
	PollInterval time.Duration
	// MaxWaits is how many waits may be in progress at the same time. Zero:
	// DefaultMaxWaits.
	MaxWaits int
	// Now is this machine's clock, with its monotonic reading. Nil: time.Now.
	Now func() time.Time
	// Logger: nil logs nothing.
	Logger *zap.Logger
	// Registerer registers the metrics. Nil: none.
	Registerer prometheus.Registerer
}

func (c *Config) setDefaults() {
	if c.MaxWaits == 0 {
		c.MaxWaits = DefaultMaxWaits
	}
	if c.PollInterval == 0 {
		c.PollInterval = DefaultPollInterval
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
	if c.Heartbeats == nil {
		errs = append(errs, errors.New("the collection of the heartbeats is required"))
	}
	if c.Namespace == "" || c.Self == "" {
		errs = append(errs, errors.New("the namespace of the keys and the id of this instance are required"))
	}
	if c.Heartbeater == nil || c.Fresh == nil {
		errs = append(errs, errors.New("a heartbeater and the freshness are required"))
	}
	if c.MaxWaits < 0 {
		errs = append(errs, fmt.Errorf("the maximum number of waits is %d, it must be positive", c.MaxWaits))
	}
	if c.PollInterval < 0 {
		errs = append(errs, fmt.Errorf("the poll interval is %v, it must be positive", c.PollInterval))
	}
	return errors.Join(errs...)
}

// Fleet lists the instances and waits for them. It is safe for concurrent use.
type Fleet struct {
	config Config
	// read reads the list once. A test may replace it.
	read func(ctx context.Context, after clustertime.Time, brief bool) ([]heartbeat, error)
	// observed and reads belong to Run's goroutine.
	observed observations
	reads    *reads
	// size is how many instances the last read has shown to be alive, zero before the first.
	size atomic.Int64
	// waits is how many waits are in progress.
	waits atomic.Int64
	// progressed wakes the waits when this instance has processed more changes.
	progressed signal
	// poll shares the reads of the list among all waits.
	poll poll
	// open ends with Close, and with it all waits.
	open  context.Context
	close context.CancelFunc
}

// New makes a fleet that has not read the list yet.
func New(config Config) (*Fleet, error) {
	config.setDefaults()
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	reads, err := newReads(config.Registerer, config.Logger.Named("fleet"))
	if err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	f := &Fleet{config: config, reads: reads}
	f.open, f.close = context.WithCancel(context.Background())
	f.read = newList(config.Heartbeats, config.Namespace).read
	f.poll.init()
	f.progressed.init()
	waits := func() float64 { return float64(f.waits.Load()) }
	if err := instrument.Register(config.Registerer, instrument.Limit("waits", waits, float64(config.MaxWaits))...); err != nil {
		return nil, fmt.Errorf("fleet: %w", err)
	}
	return f, nil
}

// processed is up to where this instance has processed all changes.
func (f *Fleet) processed() clustertime.Time {
	_, processed := f.config.Fresh()
	return processed
}

// NotifyProgress must be called after each change of Fresh. It does not block,
// and costs one atomic load if no caller waits for a revision.
func (f *Fleet) NotifyProgress() {
	if f.waits.Load() > 0 {
		f.progressed.raise()
	}
}

// Close ends all waits, those in progress and later ones, as if their time had
// run out. Call it at the beginning of a shutdown, because a wait may take
// longer than the time that is left.
func (f *Fleet) Close() { f.close() }

// signal wakes all goroutines that wait for it.
type signal struct {
	mutex sync.Mutex
	// next is closed by the next raise.
	next chan struct{}
}

func (s *signal) init() { s.next = make(chan struct{}) }

// wait returns the channel that the next raise closes. Call it before reading
// the state that the signal is about.
func (s *signal) wait() <-chan struct{} {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.next
}

func (s *signal) raise() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	close(s.next)
	s.next = make(chan struct{})
}
