package expiry

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"
)

// gauge is a number of keys that may not be known. It is absent then: a zero would
// say that no key is about to expire.
type gauge struct {
	desc *prometheus.Desc
	// count is negative while it is not known.
	count atomic.Int64
}

func newGauge() *gauge {
	g := &gauge{desc: prometheus.NewDesc("keytail_keys_expiring",
		"Active keys that expire within the expiry notice (by default 14 days), counted by the last scan of the collection. Absent unless that scan has read all of it.", nil, nil)}
	g.forget()
	return g
}

func (g *gauge) set(n int) { g.count.Store(int64(n)) }

func (g *gauge) forget() { g.count.Store(-1) }

// Describe implements prometheus.Collector.
func (g *gauge) Describe(to chan<- *prometheus.Desc) { to <- g.desc }

// Collect implements prometheus.Collector.
func (g *gauge) Collect(to chan<- prometheus.Metric) {
	if n := g.count.Load(); n >= 0 {
		to <- prometheus.MustNewConstMetric(g.desc, prometheus.GaugeValue, float64(n))
	}
}
