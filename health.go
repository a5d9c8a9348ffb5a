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
)

// state is how much of the truth the service has. It is a metric's label.
type state string

const (
	// connecting: the stream has no history yet, or lost it; keys are read
	// through once there has been a freshness.
	connecting state = "connecting"
	// live: the stream has its history and is young enough.
	live state = "live"
	// stale: the stream has not been heard of for longer than max_stale.
	stale state = "stale"
)

// The states preloading and down come with the complete cache and the
// linearizable reads of the next issue.
var states = []state{connecting, live, stale}

// healthInterval is how often a change of state is looked for. It delays a log
// line and the first readiness, and no answer.
const healthInterval = 50 * time.Millisecond

// health watches the service from outside: it reads the cache and the tail, and
// changes neither.
type health struct {
	cache  *keycache.Cache
	tail   *changestream.Tail
	logger *zap.Logger
	now    func() time.Time

	firstLive chan struct{}
	draining  atomic.Bool
}

func newHealth(cache *keycache.Cache, tail *changestream.Tail, logger *zap.Logger) *health {
	return &health{
		cache:     cache,
		tail:      tail,
		logger:    logger.Named("health"),
		now:       time.Now,
		firstLive: make(chan struct{}),
	}
}

// run logs each change of state until ctx ends.
func (h *health) run(ctx context.Context) error {
	ticker := time.NewTicker(healthInterval)
	defer ticker.Stop()
	var last state
	seenLive := false
	for {
		now := h.state()
		if now != last {
			h.logger.Info("state changed", zap.String("from", string(last)), zap.String("to", string(now)))
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

func (h *health) state() state {
	if !h.cache.Trusted() {
		return connecting
	}
	fresh := h.cache.Freshness()
	if fresh == nil {
		return connecting
	}
	if _, ok := h.cache.Age(fresh, h.now()); !ok {
		return stale
	}
	return live
}

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
	up := h.wasLive() && !h.draining.Load()
	status := routes.Status{
		State:       string(now),
		Ready:       up,
		Strict:      up && now == live,
		StalenessMS: -1,
		Epoch:       stats.Epoch,
		Entries:     stats.Entries,
		LagMS:       -1,
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
