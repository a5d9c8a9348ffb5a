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
)

const (
	// Margin is what another instance's clock may be slower by than this one's
	// during its max_stale, and then some (doc.go).
	Margin = 5 * time.Second
	// DefaultMaxWaits is how many may wait at once: each holds a connection and a
	// few KiB, none of them a place in the pool of database connections.
	DefaultMaxWaits = 1024

	// readTimeout bounds one look at the list, which is a short read on the
	// primary. It leaves room for a second one in the default wait of 5 s.
	readTimeout = 2 * time.Second
	// firstPause and longestPause are between two looks at the list. The news of an
	// instance are at most one heartbeat interval (1 s) old, so the pause grows
	// slowly: by an eighth each time, to a third of a second after two intervals.
	firstPause   = 100 * time.Millisecond
	longestPause = time.Second
	// leastPause is kept when callers come all the time: 50 looks a second at most.
	leastPause = 20 * time.Millisecond
	// DefaultPace is between two looks that nobody has asked for. It is how much
	// later than need be a dead instance is dropped.
	DefaultPace = 5 * time.Second
	// paceOfOne is what each instance adds to the pace once that is more than
	// DefaultPace: N instances then read 33 N short documents a second together,
	// which is little beside the N heartbeats a second that they write. A thousand
	// look every 30 s: 33 reads of 1,000 documents, some 2.5 MB a second.
	paceOfOne = 30 * time.Millisecond
	// paceJitter is the share of the pace by which the looks of instances that were
	// started at once drift apart.
	paceJitter = 0.1
	// beatPause is between two heartbeats that failed, and rebeat how long one
	// that was acknowledged may take to come back before another one is sent.
	beatPause = 100 * time.Millisecond
	rebeat    = time.Second
)

// What keeps a wait from being one.
var (
	// ErrBusy says that too many are waiting already.
	ErrBusy = errors.New("too many are waiting for a revision already")
	// ErrUnavailable says that the database did not say who is in the fleet.
	ErrUnavailable = errors.New("the database does not say which instances there are")
)

// Scope is whom a wait is for.
type Scope int

// The scopes.
const (
	// ScopeInstance is this instance.
	ScopeInstance Scope = iota
	// ScopeFleet is every live instance that follows the same keys.
	ScopeFleet
)

// Heartbeater writes a heartbeat. A changestream.Heartbeater is one.
type Heartbeater interface {
	// Beat sends a heartbeat now and returns the cluster time of its
	// acknowledgement. What was acknowledged to anybody before the call is at or
	// before that time.
	Beat(ctx context.Context) (clustertime.Time, error)
}

// Instance is what one instance last said of itself.
type Instance struct {
	// ID is <name>/<boot id>.
	ID string
	// Version of keytail.
	Version string
	// Revision is up to where it has processed all changes. Zero: it has not said.
	Revision clustertime.Time
	// Staleness is the age of its truth when it sent its heartbeat. Negative: it
	// has not said.
	Staleness time.Duration
	// LastSeen is when the heartbeat was written, by the server's clock; now, by
	// this machine's, in the outcome of a wait for Self. It is for people: nothing
	// is concluded from it, since each member of a replica set has its own clock.
	LastSeen time.Time
}

// SyncResult of a wait.
type SyncResult struct {
	// Synced: everybody who was waited for has got there.
	Synced bool
	// Instances are those that were waited for, sorted by id.
	Instances []Instance
	// Missing are the ids of those that have not got there, sorted. Empty when
	// Synced.
	Missing []string
	// Took is how long the wait took.
	Took time.Duration
}

// Config of a Fleet. Everything up to Fresh is required.
type Config struct {
	// Heartbeats holds the documents, of a client that has no timeout of its own.
	// It must be the client that Pulse writes with: it tells the server about the
	// cluster time of the heartbeat, which the server would else refuse to wait for.
	Heartbeats *mongo.Collection
	// Namespace is "<database>.<collection>" of the keys. Instances with another
	// one are of another fleet.
	Namespace string
	// Self is the _id of this instance's own heartbeats.
	Self string
	// Pulse sends them.
	Pulse Heartbeater
	// Fresh is the freshness of this instance: every change that was acknowledged
	// to anybody before asOf has a cluster time of processed or less, and has been
	// applied, up to and including processed. Both are zero before that is known.
	// asOf has its monotonic reading. After each change somebody calls Moved.
	Fresh func() (asOf time.Time, processed clustertime.Time)
	// Pace is the time between two looks at the list that nobody has asked for. It
	// is longer in a large fleet. Zero: DefaultPace.
	Pace time.Duration
	// MaxWaits is how many may wait at once. Zero: DefaultMaxWaits.
	MaxWaits int
	// Now is this machine's clock, with its monotonic reading. Nil: time.Now.
	Now func() time.Time
	// Logger: nil is silent.
	Logger *zap.Logger
	// Registerer takes the metrics. Nil: none.
	Registerer prometheus.Registerer
}

func (c *Config) setDefaults() {
	if c.MaxWaits == 0 {
		c.MaxWaits = DefaultMaxWaits
	}
	if c.Pace == 0 {
		c.Pace = DefaultPace
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
		errs = append(errs, errors.New("the collection of the heartbeats is needed"))
	}
	if c.Namespace == "" || c.Self == "" {
		errs = append(errs, errors.New("the keys' namespace and the id of this instance are needed"))
	}
	if c.Pulse == nil || c.Fresh == nil {
		errs = append(errs, errors.New("a pulse and the freshness are needed"))
	}
	if c.MaxWaits < 0 {
		errs = append(errs, fmt.Errorf("the number of waits cannot be %d", c.MaxWaits))
	}
	if c.Pace < 0 {
		errs = append(errs, fmt.Errorf("the time between two looks at the list cannot be %v", c.Pace))
	}
	return errors.Join(errs...)
}

// Fleet is safe for concurrent use.
type Fleet struct {
	config Config
	// read looks at the list once. A test may put another one here.
	read func(ctx context.Context, after clustertime.Time, brief bool) ([]heartbeat, error)
	// memory and reads belong to Run's goroutine.
	memory memory
	reads  *reads
	// waits is how many are under way.
	waits atomic.Int64
	// moved tells waits that this instance has got further.
	moved signal
	// poll is the one look at the list that all waits share.
	poll poll
	// open ends with Close, and all waits with it.
	open  context.Context
	close context.CancelFunc
}

// New makes a fleet that looks at nothing yet.
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
	f.moved.init()
	return f, nil
}

// processed is up to where this instance has processed all changes.
func (f *Fleet) processed() clustertime.Time {
	_, processed := f.config.Fresh()
	return processed
}

// Moved is to be called after each change of Fresh, by whoever made it. It
// does not wait, and costs one atomic load when nobody waits for a revision.
func (f *Fleet) Moved() {
	if f.waits.Load() > 0 {
		f.moved.raise()
	}
}

// Close ends all waits that are under way, as if their time were up, and those
// that will be. It is for the beginning of a shutdown: a wait may be longer than
// what is left.
func (f *Fleet) Close() { f.close() }

// signal wakes up all who wait.
type signal struct {
	mutex sync.Mutex
	// next is closed at the next raise.
	next chan struct{}
}

func (s *signal) init() { s.next = make(chan struct{}) }

// wait returns what will be closed. It is to be called before the look at that
// which the signal is about.
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
