package service

import (
	"fmt"
	"slices"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytail/keytail/internal/instrument"
)

// registerMetrics registers the metrics that no part registers itself.
func (s *Service) registerMetrics() error {
	subscribers := func() float64 { return float64(s.Events.Subscribers()) }
	all := slices.Concat(
		s.Cache.Collectors(), s.health.collectors(), s.Config.collectors(),
		instrument.Limit("event_subscriptions", subscribers, float64(s.Events.MaxSubscribers())),
	)
	if err := instrument.Register(s.Config.Registerer, all...); err != nil {
		return fmt.Errorf("register metrics: %w", err)
	}
	return nil
}

// collectors are the gauges of the configuration. They have no secret, and no setting
// whose value can be any text, such as a name of a collection.
func (c *Config) collectors() []prometheus.Collector {
	usage := UsageOff
	if c.writesUsage() {
		usage = UsageWrite
	}
	return []prometheus.Collector{
		constant("keytail_build_info", "Always 1; its label is the version.", 1,
			prometheus.Labels{"version": c.Version}),
		constant("keytail_config_info", "Always 1; its labels are settings. usage is off, too, if no field for it is mapped.", 1,
			prometheus.Labels{"preload": string(c.Preload), "stream_scope": string(c.StreamScope), "usage": string(usage)}),
		constant("keytail_max_stale_seconds", "The maximum staleness of answers from the cache (--max-stale).", c.MaxStale.Seconds(), nil),
	}
}

// constant is a gauge that never changes.
func constant(name, help string, value float64, labels prometheus.Labels) prometheus.Collector {
	g := prometheus.NewGauge(prometheus.GaugeOpts{Name: name, Help: help, ConstLabels: labels})
	g.Set(value)
	return g
}
