package testkit

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
)

// lateMetrics are those whose series is absent while its value is not known.
var lateMetrics = map[string]bool{"keytail_keys_expiring": true}

// ExpectNoNewSeries fails t if the registry has a series at the end of the test that
// it does not have now: an alert on a rise does not see the first count of such a
// series. Call it before the daemon runs.
func ExpectNoNewSeries(t *testing.T, registry *prometheus.Registry) {
	t.Helper()
	before := series(t, registry)
	if len(before) < 100 {
		t.Fatalf("the registry of a new daemon has only %d series", len(before))
	}
	t.Cleanup(func() {
		for name := range series(t, registry) {
			if !before[name] {
				t.Errorf("the series %s was not there from the start: make it in a constructor", name)
			}
		}
	})
}

// series are the names of all series, with their labels.
func series(t *testing.T, registry *prometheus.Registry) map[string]bool {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]bool{}
	for _, family := range families {
		if lateMetrics[family.GetName()] {
			continue
		}
		for _, m := range family.GetMetric() {
			labels := make([]string, 0, len(m.GetLabel()))
			for _, label := range m.GetLabel() {
				labels = append(labels, label.GetName()+"="+label.GetValue())
			}
			all[family.GetName()+"{"+strings.Join(labels, ",")+"}"] = true
		}
	}
	return all
}
