package changestream

import (
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Loss is one loss of the stream's history.
type Loss struct {
	// At is the time on this machine's clock.
	At     time.Time
	Reason Reason
}

// Status describes the tail for people.
type Status struct {
	// Losses counts them since the start. LastLoss is nil when there was none.
	Losses   uint64
	LastLoss *Loss
	// Lag is the last event's age when it was applied, by the server's wall clock and this
	// machine's, so it is only as good as both. HasLag is false until an event with a wallTime
	// (MongoDB 6.0) was seen.
	Lag    time.Duration
	HasLag bool
}

// Status is the tail's status now. Safe for concurrent use.
func (t *Tail) Status() Status { return *t.status.Load() }

// lagBuckets range from a local event to more than max_stale, in seconds.
var lagBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15, 30}

// The kinds of opens, as labels of a metric.
const (
	openedNew     = "new"
	openedResumed = "resumed"
)

type metrics struct {
	events   *prometheus.CounterVec
	losses   *prometheus.CounterVec
	opens    *prometheus.CounterVec
	failures *prometheus.CounterVec
	watchdog prometheus.Counter
	misses   prometheus.Counter
	lag      prometheus.Histogram
}

func newMetrics(registerer prometheus.Registerer, catchUp *catchUp) (*metrics, error) {
	m := &metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keytail_stream_events_total", Help: "Applied change events, by operation type.",
		}, []string{"type"}),
		losses: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keytail_losses_total", Help: "Times that the stream's history was lost and the whole cache became invalid, by reason.",
		}, []string{"reason"}),
		opens: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keytail_stream_opens_total", Help: "Change streams opened, new or resumed.",
		}, []string{"kind"}),
		failures: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keytail_stream_failures_total", Help: "Failed opens, resumes and getMores of the change stream, by phase and by the server's error code (or a word if it has none).",
		}, []string{"phase", "code"}),
		watchdog: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keytail_stream_watchdog_total", Help: "Requests of the change stream that the watchdog cancelled because no answer came in time.",
		}),
		misses: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keytail_stream_freshness_misses_total", Help: "Streams closed because acknowledged heartbeats did not arrive.",
		}),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name:    "keytail_event_lag_seconds",
			Help:    "Age of events when applied, by the wall clocks of the server and of this machine.",
			Buckets: lagBuckets,
		}),
	}
	// Series with few label values exist from the start: an alert on an increase misses the first
	// one of a series that begins at 1.
	for _, reason := range reasons {
		m.losses.WithLabelValues(string(reason))
	}
	for _, kind := range []string{openedNew, openedResumed} {
		m.opens.WithLabelValues(kind)
	}
	if registerer == nil {
		return m, nil
	}
	all := []prometheus.Collector{m.events, m.losses, m.opens, m.failures, m.watchdog, m.misses, m.lag}
	for _, collector := range append(all, catchUpGauges(catchUp)...) {
		if err := registerer.Register(collector); err != nil {
			return nil, err
		}
	}
	return m, nil
}

// catchUpGauges show how far behind the stream is.
func catchUpGauges(c *catchUp) []prometheus.Collector {
	return []prometheus.Collector{
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "keytail_stream_backlog_seconds",
			Help: "While the stream catches up: the distance from its position in the oplog to the last acknowledged heartbeat, in cluster time; otherwise 0.",
		}, func() float64 { backlog, _ := c.progress(); return backlog.Seconds() }),
		prometheus.NewGaugeFunc(prometheus.GaugeOpts{
			Name: "keytail_stream_catching_up_seconds",
			Help: "How long the stream has been catching up although the database works; 0 if it is not behind.",
		}, func() float64 { _, took := c.progress(); return took.Seconds() }),
	}
}

// recordEvent counts one event and records its lag. Heartbeats are counted separately, for any
// their type.
func (t *Tail) recordEvent(e *event, heartbeat bool) {
	kind := e.kind
	if heartbeat {
		kind = "heartbeat"
	}
	t.metrics.events.WithLabelValues(kind).Inc()
	if e.wall.IsZero() {
		return
	}
	lag := max(0, t.config.Now().Sub(e.wall))
	t.metrics.lag.Observe(lag.Seconds())
	status := *t.status.Load()
	status.Lag, status.HasLag = lag, true
	t.status.Store(&status)
}
