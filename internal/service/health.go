package service

import (
	"context"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/preload"
	"github.com/keytail/keytail/internal/usage"
)

// healthInterval is how often the state is checked for a change. It delays a log
// line and the first readiness, and no answer.
const healthInterval = 50 * time.Millisecond

// health derives the state of the service from its parts.
type health struct {
	cache *keycache.Cache
	tail  *changestream.Tail
	// scan is how far a scan is that is running.
	scan func() (preload.Progress, bool)
	// usage returns nil if the use of keys is not written.
	usage func() *usage.Recorder
	signs func() signs
	// changed is called at each change of state, and at the first one with an empty
	// from.
	changed func(from, to string)
	// doubt is called at each check with whether changes may have been missed.
	doubt func(lost bool)
	// cause is why the service is not live, by the state that it is in.
	cause  func(State) cause
	logger *zap.Logger
	now    func() time.Time
	// index is what is wrong with the unique index, empty if nothing is.
	index func() string
	// sharded reports whether the deployment is a sharded cluster.
	sharded func() bool

	firstLive chan struct{}
	draining  atomic.Bool
	// period is nil before run.
	period atomic.Pointer[period]
}

// shardedNote is guarantee 1 on a sharded cluster: the cluster times of its shards
// are only loosely coupled, and a heartbeat proves nothing about another shard.
const shardedNote = "sharded cluster: a change takes effect within max_stale plus the lag between shards"

func newHealth(s *Service, now func() time.Time) *health {
	h := &health{
		cache:     s.Cache,
		tail:      s.Tail,
		index:     s.index.Problem,
		scan:      s.loader.Progress,
		usage:     func() *usage.Recorder { return s.Usage },
		changed:   s.Events.StateChanged,
		doubt:     s.Watches.SetStale,
		logger:    s.Config.Logger.Named("health"),
		now:       now,
		sharded:   s.Store.Sharded,
		firstLive: make(chan struct{}),
	}
	h.signs = func() signs {
		last := s.Cache.Freshness()
		_, fresh := s.Cache.AnswerAsOf(last, h.now())
		return signs{
			trusted: s.Cache.Trusted(),
			began:   last != nil,
			fresh:   fresh,
			loading: s.loader.Loading(),
			down:    s.Validator.Down(),
		}
	}
	h.cause = func(state State) cause {
		p := parts{
			state: state, stream: s.Tail.Diagnosis(), heartbeat: s.Heartbeater.Failure(), read: s.Validator.ReadFailure(),
			interval: s.Heartbeater.Interval(), now: h.now(),
		}
		return p.cause()
	}
	return h
}

// run logs the states until ctx ends.
func (h *health) run(ctx context.Context) error {
	ticker := time.NewTicker(healthInterval)
	defer ticker.Stop()
	log := &stateLog{logger: h.logger, now: h.now, cause: h.cause}
	seenLive := false
	for {
		signs := h.signs()
		h.doubt(signs.isLost())
		now := signs.state()
		if from, changed := log.see(now); changed {
			h.period.Store(log.period())
			h.changed(string(from), string(now))
		}
		if now == Live && !seenLive {
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

func (h *health) state() State { return h.signs().state() }

func (h *health) wasLive() bool {
	select {
	case <-h.firstLive:
		return true
	default:
		return false
	}
}

// staleness is that of answers from the cache; false before the first round trip.
func (h *health) staleness() (time.Duration, bool) {
	fresh := h.cache.Freshness()
	if fresh == nil {
		return 0, false
	}
	return keycache.Elapsed(fresh.AsOf, h.now()), true
}

func (h *health) status() Status {
	stats, tail, now := h.cache.Stats(), h.tail.Status(), h.state()
	up, index := h.wasLive() && !h.draining.Load(), h.index()
	status := Status{
		State:     now,
		Ready:     up,
		Strict:    up && now == Live && index == "",
		Staleness: -1,
		Lag:       -1,
		Epoch:     stats.Epoch,
		Complete:  stats.Complete,
		Entries:   stats.Entries,
		Note:      h.note(),

		IndexMissing: index,
		Scan:         h.scanStatus(),
		Usage:        h.usageStatus(),
	}
	if staleness, ok := h.staleness(); ok {
		status.Staleness = staleness
	}
	if tail.HasLag {
		status.Lag = tail.Lag
	}
	if tail.LastLoss != nil {
		status.LastLoss = &Loss{At: tail.LastLoss.At, Reason: string(tail.LastLoss.Reason)}
	}
	return status
}

func (h *health) note() string {
	if h.sharded() {
		return shardedNote
	}
	return ""
}

// scanShownAfter hides the scans of small collections, which nobody waits for.
const scanShownAfter = time.Second

func (h *health) scanStatus() *preload.Progress {
	progress, running := h.scan()
	if !running || h.now().Sub(progress.Since) < scanShownAfter {
		return nil
	}
	return &progress
}

// usageStatus is nil if the use of keys is not written.
func (h *health) usageStatus() *UsageStatus {
	recorder := h.usage()
	if recorder == nil {
		return nil
	}
	s := recorder.Status()
	status := &UsageStatus{PendingKeys: s.Pending, BatchSize: s.Batch, Failing: -1}
	if !s.FailingSince.IsZero() {
		status.Failing = h.now().Sub(s.FailingSince)
	}
	return status
}

// collectors are the gauges of state and staleness.
func (h *health) collectors() []prometheus.Collector {
	all := []prometheus.Collector{prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "keytail_staleness_seconds",
		Help: "Staleness of answers from the cache; -1 before the first round trip of a heartbeat.",
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
