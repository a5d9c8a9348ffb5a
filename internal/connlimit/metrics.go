package connlimit

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytail/keytail/internal/instrument"
)

type metrics struct{ evicted, delayed, busy prometheus.Counter }

// register makes the metrics, and registers them if there is a registerer.
func (l *Listener) register() error {
	labels := prometheus.Labels{"listener": l.config.Name}
	l.metrics.evicted = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "keytail_connections_evicted_total", ConstLabels: labels,
		Help: "Idle connections that were closed because the listener had as many as it may have, by listener.",
	})
	l.metrics.delayed = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "keytail_connections_delayed_total", ConstLabels: labels,
		Help: "Connections that waited because the listener had as many as it may have, all of them with a request in progress, by listener.",
	})
	l.metrics.busy = prometheus.NewCounter(prometheus.CounterOpts{
		Name: "keytail_requests_over_limit_total", ConstLabels: labels,
		Help: "Requests that were refused because the listener had as many in progress as it may have connections, by listener.",
	})
	open := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "keytail_connections", ConstLabels: labels, Help: "Open connections, by listener.",
	}, func() float64 {
		l.mutex.Lock()
		defer l.mutex.Unlock()
		return float64(l.open)
	})
	limit := prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "keytail_connections_limit", ConstLabels: labels, Help: "How many connections a listener may have at a time, by listener.",
	}, func() float64 { return float64(l.config.Limit) })
	return instrument.Register(l.config.Registerer, l.metrics.evicted, l.metrics.delayed, l.metrics.busy, open, limit)
}
