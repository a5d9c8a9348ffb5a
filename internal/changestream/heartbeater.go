package changestream

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"os"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/mongoclient"
	"github.com/keytail/keytail/internal/timing"
)

// HeartbeatCollection holds one small document of each instance, in the database of the keys
// unless HeartbeaterConfig.State is another one.
const HeartbeatCollection = "keytail_heartbeats"

// The heartbeater's times, each with its reason.
const (
	// DefaultHeartbeatInterval gives a reported staleness of little more than a second, for one
	// tiny write a second. It is longer in a fleet of more than 200 (HeartbeatInterval).
	DefaultHeartbeatInterval = time.Second
	// MinHeartbeatInterval keeps a mistake in the unit from becoming a load.
	MinHeartbeatInterval = 10 * time.Millisecond
	// MaxStaleParts divides max_stale. A heartbeat is given up after one part, and a heartbeat
	// that has not arrived for one part means that the stream is opened again. So two attempts can
	// fail before answers from the cache stop. The interval may not be longer than a part either.
	MaxStaleParts = 3

	// minBeatGap is the minimum time between two heartbeats that callers request: however often
	// Beat is called, it causes at most a hundred writes a second.
	minBeatGap = 10 * time.Millisecond
	// stopTimeout limits each of the two things done at a stop: waiting for the heartbeat in
	// flight, and then deleting the document.
	stopTimeout = 2 * time.Second
	// maxInstanceName is far above any host name (253 bytes, RFC 1035).
	maxInstanceName = 256
)

// ErrHeartbeatStopped means that no heartbeat will be sent any more.
var ErrHeartbeatStopped = errors.New("the heartbeat has stopped")

// HeartbeaterConfig is the configuration of a Heartbeater.
type HeartbeaterConfig struct {
	// Database holds the keys. Required. It belongs to the client that the tail uses.
	Database *mongo.Database
	// State holds the heartbeats. A database other than that of the keys is for ScopeCollection
	// only. Nil: Database.
	State *mongo.Database
	// Collection holds the keys: instances that follow the same collection are a fleet. Required.
	Collection string
	// InstanceName is the readable part of the document's _id. Empty: the host's name.
	InstanceName string
	// Interval is the time between two heartbeats. Zero: HeartbeatInterval of Instances and
	// MaxStale.
	Interval time.Duration
	// Instances returns how many instances are in the fleet, this one included. It may be out of
	// date: the interval depends on it, and no proof. Nil: one.
	Instances func() int
	// MaxStale is the maximum staleness of answers from the cache. Zero: keycache.DefaultMaxStale.
	MaxStale time.Duration
	// Version is shown to the fleet. Empty: "unknown".
	Version string
	// Now is the clock for the freshness. Nil: time.Now.
	Now func() time.Time
	// Logger: nil logs nothing.
	Logger *zap.Logger
	// Registerer takes the metrics. Nil: none.
	Registerer prometheus.Registerer
}

func (c *HeartbeaterConfig) setDefaults() {
	if c.State == nil {
		c.State = c.Database
	}
	if c.InstanceName == "" {
		c.InstanceName = hostName()
	}
	if c.MaxStale == 0 {
		c.MaxStale = keycache.DefaultMaxStale
	}
	if c.Version == "" {
		c.Version = "unknown"
	}
	if c.Now == nil {
		c.Now = time.Now
	}
	if c.Logger == nil {
		c.Logger = zap.NewNop()
	}
}

// hostName is for people. The boot id beside it distinguishes instances.
func hostName() string {
	if name, err := os.Hostname(); err == nil && name != "" {
		return name
	}
	return "unknown"
}

func (c *HeartbeaterConfig) validate() error {
	var errs []error
	if c.Database == nil {
		errs = append(errs, errors.New("a database is required"))
	}
	switch {
	case c.Collection == "":
		errs = append(errs, errors.New("the keys' collection is required"))
	case c.Collection == HeartbeatCollection && c.isSameDatabase():
		errs = append(errs, fmt.Errorf("keys cannot be stored in %s: instances write their heartbeats there", HeartbeatCollection))
	}
	if c.State != nil && slices.Contains(serverDatabases, c.State.Name()) {
		errs = append(errs, fmt.Errorf("heartbeats cannot be stored in the database %q, which is reserved for the server: choose another one (--state-database)", c.State.Name()))
	}
	if len(c.InstanceName) > maxInstanceName {
		errs = append(errs, fmt.Errorf("the instance's name may have at most %d bytes, this one has %d", maxInstanceName, len(c.InstanceName)))
	}
	if most, is := c.MaxStale/MaxStaleParts, cmp.Or(c.Interval, HeartbeatInterval(1, c.MaxStale)); is < MinHeartbeatInterval || is > most {
		errs = append(errs, fmt.Errorf("the heartbeat interval must be between %v and a third of max_stale (%v), not %v", MinHeartbeatInterval, most, is))
	}
	return errors.Join(errs...)
}

// serverDatabases are reserved for the server.
var serverDatabases = []string{"admin", "config", "local"}

func (c *HeartbeaterConfig) isSameDatabase() bool {
	return c.State == nil || c.Database == nil || c.State.Name() == c.Database.Name()
}

// Heartbeater writes this instance's heartbeats into the database. Their arrival through the
// change stream moves the freshness (DESIGN.md beside this file). The methods are safe for
// concurrent use.
type Heartbeater struct {
	config HeartbeaterConfig
	beats  *mongo.Collection
	// id is <name>/<boot id>: an instance that is restarted is another one.
	id      string
	logger  *zap.Logger
	results *prometheus.CounterVec
	tracker heartbeatTracker
	// diagnosis has why heartbeats are not acknowledged.
	diagnosis diagnosis
	// lastFreshness is the freshness of the last heartbeat that arrived.
	lastFreshness atomic.Pointer[keycache.Freshness]
	// acknowledged is called with each acknowledgement. The tail sets it before Run; nil: there is
	// no tail.
	acknowledged func(at clustertime.Time)

	// ready is closed at the first open of the stream, stopped when no heartbeat will be sent any
	// more.
	ready   chan struct{}
	isReady sync.Once
	stopped chan struct{}
	// wanted holds a value when a heartbeat is wanted now.
	wanted chan struct{}

	mutex sync.Mutex
	// next is the heartbeat that has not been sent yet.
	next *pendingHeartbeat

	// The rest belongs to Run's goroutine.

	// lastResult is the result of the last heartbeat; empty before the first.
	lastResult string
	// loggedAt is when it was last logged.
	loggedAt time.Time
}

// pendingHeartbeat is one heartbeat and the callers that wait for it. at and err are written
// before done is closed.
type pendingHeartbeat struct {
	done chan struct{}
	at   clustertime.Time
	err  error
}

func newPendingHeartbeat() *pendingHeartbeat { return &pendingHeartbeat{done: make(chan struct{})} }

// NewHeartbeater makes a Heartbeater that sends nothing until Run is called.
func NewHeartbeater(config HeartbeaterConfig) (*Heartbeater, error) {
	config.setDefaults()
	if err := config.validate(); err != nil {
		return nil, fmt.Errorf("heartbeat: %w", err)
	}
	h := &Heartbeater{
		config: config,
		beats:  mongoclient.Database(config.State.Client(), config.State.Name()).Collection(HeartbeatCollection),
		id:     config.InstanceName + "/" + rand.Text(),
		logger: config.Logger.Named("heartbeat"),
		results: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keytail_heartbeats_total", Help: "Heartbeats sent, by result: acknowledged by a majority in time, failed, or refused because the document did not hold the previous heartbeat.",
		}, []string{"result"}),
		ready:   make(chan struct{}),
		stopped: make(chan struct{}),
		wanted:  make(chan struct{}, 1),
		next:    newPendingHeartbeat(),
	}
	for _, result := range []string{resultAcknowledged, resultFailed, resultRefused} {
		h.results.WithLabelValues(result)
	}
	if config.Registerer != nil {
		if err := config.Registerer.Register(h.results); err != nil {
			return nil, fmt.Errorf("heartbeat: %w", err)
		}
	}
	return h, nil
}

// ID is the _id of this instance's heartbeats: <name>/<boot id>.
func (h *Heartbeater) ID() string { return h.id }

// Heartbeats is the collection that holds the heartbeats of this instance and of the others.
func (h *Heartbeater) Heartbeats() *mongo.Collection { return h.beats }

// Run sends heartbeats, one at a time, from the first open of the stream until ctx ends. Then it
// deletes the document, so that no caller waits for an instance that no longer runs, and returns
// nil. If a heartbeat fails, the next one follows after the interval. Run can be called once.
func (h *Heartbeater) Run(ctx context.Context) error {
	defer h.deleteDocument(ctx)
	defer close(h.stopped)
	select {
	case <-ctx.Done():
		return nil
	case <-h.ready:
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	last := time.Time{}
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		case <-h.wanted:
			if !timing.Sleep(ctx, minBeatGap-time.Since(last)) {
				return nil
			}
		}
		last = time.Now()
		h.sendHeartbeat(ctx)
		timer.Reset(h.pause() - time.Since(last))
	}
}

// Beat sends a heartbeat now and returns the operationTime of its acknowledgement: a current
// cluster time of this database. Callers share heartbeats, but the one that answers a call was
// always *sent* after the call began; one that was already in flight does not count. So every
// change that was acknowledged to anyone before the call has a cluster time below that of the
// heartbeat, and has been applied when the heartbeat arrives.
//
// The operationTime may be later than the heartbeat's own cluster time, because of other writes in
// between. An error means that this heartbeat is not known to have been written;
// ErrHeartbeatStopped means that none will be. Before the first open of the stream Beat waits for
// it, until ctx ends.
func (h *Heartbeater) Beat(ctx context.Context) (clustertime.Time, error) {
	h.mutex.Lock()
	f := h.next
	h.mutex.Unlock()
	h.requestNow()
	select {
	case <-f.done:
		return f.at, f.err
	case <-ctx.Done():
		return 0, context.Cause(ctx)
	case <-h.stopped:
		return 0, ErrHeartbeatStopped
	}
}

// requestNow requests a heartbeat now.
func (h *Heartbeater) requestNow() {
	select {
	case h.wanted <- struct{}{}:
	default: // one is already requested
	}
}

// takeWaiting takes the callers of the next heartbeat: a call of Beat from now on gets the one
// after it. It drains wanted first: those that requested it are among the callers taken. In the
// other order a call in between would wait for the interval.
func (h *Heartbeater) takeWaiting() *pendingHeartbeat {
	select {
	case <-h.wanted:
	default:
	}
	h.mutex.Lock()
	defer h.mutex.Unlock()
	f := h.next
	h.next = newPendingHeartbeat()
	return f
}

// opened is called by the tail at each open of the stream. A heartbeat follows immediately: it is
// the first one, or shortens the time without freshness.
func (h *Heartbeater) opened() {
	h.requestNow()
	h.isReady.Do(func() { close(h.ready) })
}
