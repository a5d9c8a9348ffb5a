package changestream

import (
	"slices"
	"strconv"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytail/keytail/internal/instrument"
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

// lagBuckets range from a local event or round trip to more than max_stale, in seconds.
var lagBuckets = []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 15, 30}

// The kinds of opens, as labels of a metric.
const (
	openedNew     = "new"
	openedResumed = "resumed"
)

// The types of events, as labels of a metric, beside the operation types of changes.
const (
	// typeHeartbeat is a heartbeat of this instance, of any operation type.
	typeHeartbeat = "heartbeat"
	// typeOther is any operation type that is neither a change nor a loss: a server that delivers
	// more than was requested must not add labels.
	typeOther = "other"
)

var eventTypes = []string{kindInsert, kindUpdate, kindReplace, kindDelete, typeHeartbeat, typeOther}

// The kinds of lags, as labels of a metric.
const (
	lagOfChange    = "change"
	lagOfHeartbeat = "heartbeat"
)

type metrics struct {
	events    *prometheus.CounterVec
	losses    *prometheus.CounterVec
	opens     *prometheus.CounterVec
	failures  *prometheus.CounterVec
	watchdog  prometheus.Counter
	misses    prometheus.Counter
	moved     prometheus.Gauge
	lag       *prometheus.HistogramVec
	roundTrip prometheus.Histogram
}

func newMetrics(registerer prometheus.Registerer, catchUp *catchUp) (*metrics, error) {
	m := &metrics{
		events: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "keytail_stream_events_total", Help: "Applied change events, by operation type; heartbeats of this instance are a type of their own.",
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
		moved: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "keytail_stream_moved", Help: "1 while the primary serves the change stream because another member, which --read-preference allows, was behind or did not answer.",
		}),
		lag: prometheus.NewHistogramVec(instrument.Histogram("keytail_event_lag_seconds",
			"Age of events when applied, by the wall clocks of the server and of this machine. change: how late this instance saw changes of keys, so also revocations. heartbeat: the same for its own heartbeats.",
			lagBuckets), []string{"kind"}),
		roundTrip: prometheus.NewHistogram(instrument.Histogram("keytail_heartbeat_round_trip_seconds",
			"From before a heartbeat was sent to its arrival through the change stream, by this machine's clock.",
			lagBuckets)),
	}
	m.makeSeries()
	all := []prometheus.Collector{m.events, m.losses, m.opens, m.failures, m.watchdog, m.misses, m.moved, m.lag, m.roundTrip}
	return m, instrument.Register(registerer, append(all, catchUpGauges(catchUp)...)...)
}

// makeSeries makes every series: an alert on an increase misses the first one of a series that
// begins at 1.
func (m *metrics) makeSeries() {
	for _, of := range eventTypes {
		m.events.WithLabelValues(of)
	}
	for _, reason := range reasons {
		m.losses.WithLabelValues(string(reason))
	}
	for _, kind := range []string{openedNew, openedResumed} {
		m.opens.WithLabelValues(kind)
	}
	for _, phase := range []string{phaseOpen, phaseResume, phaseGetMore} {
		for code := range errorCodes {
			m.failures.WithLabelValues(phase, strconv.Itoa(code))
		}
		for word := range failureAdvice {
			m.failures.WithLabelValues(phase, word)
		}
	}
	for _, kind := range []string{lagOfChange, lagOfHeartbeat} {
		m.lag.WithLabelValues(kind)
	}
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

// recordEvent counts one event and records its lag.
func (t *Tail) recordEvent(e *event, m *effect) {
	t.metrics.events.WithLabelValues(typeOf(e, m)).Inc()
	if e.wall.IsZero() {
		return
	}
	lag := max(0, t.config.Now().Sub(e.wall))
	switch {
	case m.change != nil:
		t.metrics.lag.WithLabelValues(lagOfChange).Observe(lag.Seconds())
	case m.nonce != 0:
		t.metrics.lag.WithLabelValues(lagOfHeartbeat).Observe(lag.Seconds())
	}
	status := *t.status.Load()
	status.Lag, status.HasLag = lag, true
	t.status.Store(&status)
}

// typeOf is one of eventTypes.
func typeOf(e *event, m *effect) string {
	switch {
	case m.nonce != 0:
		return typeHeartbeat
	case slices.Contains(eventTypes, e.kind):
		return e.kind
	default:
		return typeOther
	}
}
