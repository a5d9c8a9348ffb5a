package usage

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytail/keytail/internal/instrument"
)

// metrics count what happened to the uses. Children of the vectors are resolved
// once.
type metrics struct {
	written   prometheus.Counter
	unmatched prometheus.Counter
	refused   prometheus.Counter
	failures  prometheus.Counter
	full      prometheus.Counter
	unknown   prometheus.Counter
	unwilling prometheus.Counter
	duration  prometheus.Histogram
}

func newMetrics(registerer prometheus.Registerer, u *Recorder) (*metrics, error) {
	keys := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keytail_usage_keys_total",
		Help: "Keys whose use was written (once a flush), by result: written, unmatched (the document was deleted, or its last_used is not a date), refused (by the document).",
	}, []string{"result"})
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keytail_usage_dropped_total",
		Help: "Uses of keys that were not written: full (too many keys wait). If usage_count is mapped, also uses that are missing from it: unknown (the outcome of the write is unknown), refused (by the document).",
	}, []string{"reason"})
	m := &metrics{
		written:   keys.WithLabelValues("written"),
		unmatched: keys.WithLabelValues("unmatched"),
		refused:   keys.WithLabelValues("refused"),
		full:      dropped.WithLabelValues("full"),
		unknown:   dropped.WithLabelValues("unknown"),
		unwilling: dropped.WithLabelValues("refused"),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keytail_usage_flush_failures_total", Help: "Flushes that failed before everything was written. The next flush writes the rest.",
		}),
		duration: prometheus.NewHistogram(instrument.Histogram("keytail_usage_flush_seconds", "How long flushes took.",
			prometheus.ExponentialBuckets(0.001, 4, 8))),
	}
	waiting := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "keytail_usage_pending_keys", Help: "Keys whose use is not written yet.",
	}, func() float64 { return float64(u.pending()) })
	size := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "keytail_usage_batch_size", Help: "Keys in one command. It is halved when a command times out, and grows again.",
	}, func() float64 { return float64(u.batch.size.Load()) })
	failing := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "keytail_usage_failing_seconds", Help: "How long flushes have been failing; 0 if the last one did not fail.",
	}, func() float64 { return u.failingFor().Seconds() })
	return m, instrument.Register(registerer, keys, dropped, m.failures, m.duration, waiting, size, failing)
}
