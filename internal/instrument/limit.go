package instrument

import "github.com/prometheus/client_golang/prometheus"

// Limit returns the gauges of one limit: how much of it is in use, and the maximum.
// what is the value of the label limit; name a new one in the help text, too.
func Limit(what string, used func() float64, maximum float64) []prometheus.Collector {
	labels := prometheus.Labels{"limit": what}
	most := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "keytail_limit_maximum", ConstLabels: labels,
		Help: "The maximum of each limit (keytail_limit_used).",
	})
	most.Set(maximum)
	return []prometheus.Collector{most, prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "keytail_limit_used", ConstLabels: labels,
		Help: "How much of each limit is in use: reads (of the database), unreached_reads (those among them for a revision that the cluster may not have reached), waits (for a revision), event_subscriptions.",
	}, used)}
}
