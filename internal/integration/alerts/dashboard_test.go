package alerts

import (
	"encoding/json"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
)

// variables of the dashboard, as Grafana fills them in.
var variables = strings.NewReplacer("$__rate_interval", "10s", "$job", "keytail", "$instance", ".*")

// checkDashboard requires that each panel has data, in both Prometheus.
func (s *staged) checkDashboard() {
	s.t.Helper()
	for _, w := range s.watchers {
		queries := 0
		for _, p := range panels(s.t) {
			for _, target := range p.Targets {
				queries++
				if w.results(s, variables.Replace(target.Expr)) == 0 && !mayBeEmpty(w, p.Type, target.Expr) {
					s.t.Errorf("%s: the panel %q has no data: %s", w.name, p.Title, target.Expr)
				}
			}
		}
		s.say("  %-8s the %d queries of the dashboard work, and have data", w.name, queries)
	}
}

// mayBeEmpty: what shows failures alone, and what is for native histograms.
func mayBeEmpty(w *watcher, panel, query string) bool {
	return strings.Contains(query, "> 0") || strings.Contains(query, "gomemlimit") || panel == "heatmap" && w.name == "classic"
}

// results is how many series a query has.
func (w *watcher) results(s *staged, query string) int {
	s.t.Helper()
	var body struct {
		Status, Error string
		Data          struct{ Result []any }
	}
	w.get(s, "/api/v1/query?query="+url.QueryEscape(query), &body)
	if body.Status != "success" {
		s.t.Errorf("%s: %s\n%s", w.name, body.Error, query)
	}
	return len(body.Data.Result)
}

// panel is one of the dashboard.
type panel struct {
	Title, Type string
	Targets     []struct{ Expr string }
}

func panels(t *testing.T) []panel {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(root, "deploy/prometheus/dashboards/keytail.json"))
	if err != nil {
		t.Fatal(err)
	}
	var dashboard struct{ Panels []panel }
	if err := json.Unmarshal(content, &dashboard); err != nil {
		t.Fatal(err)
	}
	return dashboard.Panels
}
