package telemetry

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytail/keytail/internal/instrument"
)

// The reasons why a span is not exported, as labels of a metric.
const (
	droppedFull   = "queue_full"
	droppedFailed = "export_failed"
)

type metrics struct {
	exported prometheus.Counter
	dropped  map[string]prometheus.Counter
}

func newMetrics(registerer prometheus.Registerer) (*metrics, error) {
	dropped := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "keytail_trace_spans_dropped_total",
		Help: "Spans that were not exported: because too many waited (queue_full), or because the collector did not take them (export_failed).",
	}, []string{"reason"})
	m := &metrics{
		exported: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "keytail_trace_spans_exported_total", Help: "Spans that the collector has taken.",
		}),
		dropped: map[string]prometheus.Counter{},
	}
	for _, reason := range []string{droppedFull, droppedFailed} {
		m.dropped[reason] = dropped.WithLabelValues(reason)
	}
	return m, instrument.Register(registerer, m.exported, dropped)
}
