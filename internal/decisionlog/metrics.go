package decisionlog

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytail/keytail/internal/instrument"
)

// dropReason is why a decision was not written.
type dropReason uint8

const (
	droppedFull dropReason = iota
	droppedWriteFailed
)

type metrics struct {
	written prometheus.Counter
	dropped [2]prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer, waiting func() float64) (*metrics, error) {
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keytail_decision_log_dropped_total",
		Help: "Decisions that are missing in the decision log, by reason: queue_full (they came faster than they could be written), write_failed.",
	}, []string{"reason"})
	m := &metrics{
		written: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keytail_decision_log_lines_total", Help: "Lines written to the decision log.",
		}),
		dropped: [2]prometheus.Counter{
			droppedFull: dropped.WithLabelValues("queue_full"), droppedWriteFailed: dropped.WithLabelValues("write_failed"),
		},
	}
	queue := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "keytail_decision_log_queue_length", Help: "Decisions that wait to be written to the decision log.",
	}, waiting)
	return m, instrument.Register(registerer, m.written, dropped, queue)
}
