package resume

import (
	"slices"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// classKill are requests of the driver, and of the tail, to close a cursor.
const classKill = "killCursors $cmd.aggregate"

// failureCounters count failures with each of their series; of other counters those series do whose
// label is in failureLabels.
var (
	failureCounters = []string{
		"keytail_stream_failures_total", "keytail_stream_watchdog_total", "keytail_stream_freshness_misses_total", "keytail_unavailable_total",
	}
	failureLabels = []string{"failed", "error", "refused"}
)

// failuresCounted is the sum of the counters of failures.
func failuresCounted(t *testing.T, registry *prometheus.Registry) float64 {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		all := slices.Contains(failureCounters, family.GetName())
		for _, m := range family.GetMetric() {
			counts := all
			for _, label := range m.GetLabel() {
				counts = counts || slices.Contains(failureLabels, label.GetValue())
			}
			if counts {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}
