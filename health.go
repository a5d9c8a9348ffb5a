package keytail

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/routes"
	"github.com/keytail/keytail/internal/usage"
)

// state is how much of the truth the service has. It is a metric's label.
type state string

const (
	// connecting: the stream has no history yet, or lost it. Keys are read
	// through.
	connecting state = "connecting"
	// preloading: the stream has its history, and the first scan since then is
	// still to end. Keys that are not held yet are read.
	preloading state = "preloading"
	// live: the stream has its history and is young enough.
	live state = "live"
	// stale: the stream has not been heard of for longer than max_stale. Keys are
	// read linearizably.
	stale state = "stale"
	// down: stale, and the last such read failed. Answers are UNAVAILABLE until
	// one succeeds.
	down state = "down"
)

var states = []state{connecting, preloading, live, stale, down}

// healthInterval is how often a change of state is looked for. It delays a log
// line and the first readiness, and no answer.
const healthInterval = 50 * time.Millisecond

// signs are what a state is made of. Each is a look at a room; none is changed.
type signs struct {
	// trusted: the stream has its history. fresh: it is young enough.
	trusted, fresh bool
	// began: there has been a freshness.
	began bool
	// loading: the first scan is still to end.
	loading bool
	// down: linearizable reads fail.
	down bool
}

// state is down or stale first: how old the truth is matters more than how much
// of it is held.
func (s signs) state() state {
	switch {
	case s.down:
		return down
	case s.began && !s.fresh:
		return stale
	case !s.trusted || !s.began:
		return connecting
	case s.loading:
		return preloading
	default:
		return live
	}
}

// lost reports whether the truth may be lost: nothing has been heard of the stream
// for longer than max_stale. A service whose stream was never heard of has none to
// lose until the database fails too.
func (s signs) lost() bool { return !s.fresh && (s.began || s.down) }

// health watches the service from outside.
type health struct {
	cache *keycache.Cache
	tail  *changestream.Tail
	// usage is nil where the use of keys is not written down.
	usage *usage.Recorder
	look  func() signs
	// changed is told of each change of state, and of the first one, from nothing.
	changed func(from, to string)
	// doubt is told at each look whether the truth may be lost.
	doubt  func(lost bool)
	logger *zap.Logger
	now    func() time.Time
	// index says what is wrong with the unique index, empty if nothing is.
	index func() string
	// note is what the promises become here, empty if they hold as written.
	note string

	firstLive chan struct{}
	draining  atomic.Bool
}

// shardedNote is promise 1 on a sharded cluster: cluster times of its shards are
// only loosely coupled, and a heartbeat proves nothing about another shard.
const shardedNote = "sharded cluster: a change is felt within max_stale plus the lag between shards"

func newHealth(s *Service, sharded bool, now func() time.Time) *health {
	h := &health{
		cache:     s.cache,
		tail:      s.tail,
		index:     s.index.Problem,
		usage:     s.usage,
		changed:   s.sink.events.StateChanged,
		doubt:     s.sink.watches.SetStale,
		logger:    s.logger.Named("health"),
		now:       now,
		firstLive: make(chan struct{}),
	}
	if sharded {
		h.note = shardedNote
	}
	h.look = func() signs {
		fresh := s.cache.Freshness()
		_, young := s.cache.Age(fresh, h.now())
		return signs{
			trusted: s.cache.Trusted(),
			began:   fresh != nil,
			fresh:   young,
			loading: s.preload.Loading(),
			down:    s.validator.Down(),
		}
	}
	return h
}

// run logs each change of state until ctx ends.
func (h *health) run(ctx context.Context) error {
	ticker := time.NewTicker(healthInterval)
	defer ticker.Stop()
	var last state
	seenLive := false
	for {
		signs := h.look()
		h.doubt(signs.lost())
		now := signs.state()
		if now != last {
			h.logger.Info("state changed", zap.String("from", string(last)), zap.String("to", string(now)))
			h.changed(string(last), string(now))
			last = now
		}
		if now == live && !seenLive {
			seenLive = true
			close(h.firstLive)
		}
		select {
		case <-ctx.Done():
			return nil
		case <-ticker.C:
		}
	}
}

func (h *health) state() state { return h.look().state() }

func (h *health) wasLive() bool {
	select {
	case <-h.firstLive:
		return true
	default:
		return false
	}
}

// staleness is the age of the truth; false before there was any.
func (h *health) staleness() (time.Duration, bool) {
	fresh := h.cache.Freshness()
	if fresh == nil {
		return 0, false
	}
	return keycache.Elapsed(fresh.AsOf, h.now()), true
}

func (h *health) status() routes.Status {
	stats, tail, now := h.cache.Stats(), h.tail.Status(), h.state()
	up, index := h.wasLive() && !h.draining.Load(), h.index()
	status := routes.Status{
		State:       string(now),
		Ready:       up,
		Strict:      up && now == live && index == "",
		StalenessMS: -1,
		Epoch:       stats.Epoch,
		Complete:    stats.Complete,
		Entries:     stats.Entries,
		LagMS:       -1,
		Note:        h.note,

		IndexMissing: index,
	}
	if age, ok := h.staleness(); ok {
		status.StalenessMS = age.Milliseconds()
	}
	if tail.HasLag {
		status.LagMS = tail.Lag.Milliseconds()
	}
	if tail.LastLoss != nil {
		status.LastLoss = &routes.Loss{At: tail.LastLoss.At, Reason: string(tail.LastLoss.Reason)}
	}
	status.Usage = h.usageStatus()
	return status
}

// usageStatus is nil where the use of keys is not written down.
func (h *health) usageStatus() *routes.Usage {
	if h.usage == nil {
		return nil
	}
	s := h.usage.Status()
	status := &routes.Usage{PendingKeys: s.Pending, BatchSize: s.Batch, FailingMS: -1}
	if !s.FailingSince.IsZero() {
		status.FailingMS = h.now().Sub(s.FailingSince).Milliseconds()
	}
	return status
}

// collectors are the gauges of state and staleness.
func (h *health) collectors() []prometheus.Collector {
	all := []prometheus.Collector{prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "keytail_staleness_seconds",
		Help: "Age of the truth behind answers from memory; -1 before there was any.",
	}, func() float64 {
		age, ok := h.staleness()
		if !ok {
			return -1
		}
		return age.Seconds()
	})}
	for _, s := range states {
		all = append(all, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name:        "keytail_state",
			Help:        "1 for the state that the service is in, 0 for the others.",
			ConstLabels: prometheus.Labels{"state": string(s)},
		}, func() float64 {
			if h.state() == s {
				return 1
			}
			return 0
		}))
	}
	return all
}
