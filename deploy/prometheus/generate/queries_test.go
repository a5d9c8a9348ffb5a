package main

import (
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/common/model"
	"github.com/prometheus/prometheus/model/labels"
	"github.com/prometheus/prometheus/promql/parser"
	"go.yaml.in/yaml/v3"
)

// targetLabels are those that Prometheus adds when it scrapes.
var targetLabels = []string{"job", "instance", "namespace"}

// expression is a query, and where it stands.
type expression struct{ where, text string }

// TestQueriesFitTheMetrics: every metric, label and value in an alert, a rule or the
// dashboard is one of a running daemon, or of the recording rules. An alert on a value
// that does not exist would be silent for ever.
func TestQueriesFitTheMetrics(t *testing.T) {
	t.Parallel()
	metrics := registry(t)
	all := append(rulesOf(t, "rules.yaml", metrics), rulesOf(t, "alerts.yaml", metrics)...)
	all = append(all, dashboardQueries(t)...)
	if len(all) < 60 {
		t.Fatalf("there are only %d expressions", len(all))
	}
	for _, e := range all {
		for _, mistake := range check(e.text, metrics) {
			t.Errorf("%s: %s\n\t%s", e.where, mistake, e.text)
		}
	}
}

// TestWrongQueriesAreFound, so that the test above can fail.
func TestWrongQueriesAreFound(t *testing.T) {
	t.Parallel()
	metrics := series{"keytail_state": {{"state": "live"}, {"state": "down"}}}
	for query, want := range map[string]string{
		`keytail_state{state="down",job="a"}`:                   "",
		`sum by (state) (keytail_state)`:                        "",
		`keytail_stat{state="down"}`:                            "no metric keytail_stat",
		`keytail_state{state="dead"}`:                           "no series",
		`keytail_state{kind="down"}`:                            "no label kind",
		`sum without (kind) (keytail_state)`:                    "no label kind",
		`keytail_state / on (kind) keytail_state{state="live"}`: "no label kind",
		`keytail_state{`:                                        "parse error",
	} {
		got := strings.Join(check(query, metrics), ", ")
		if (want == "") != (got == "") || !strings.Contains(got, want) {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
}

// TestSelectorIsInEveryQuery: who has two environments in one Prometheus sets it.
func TestSelectorIsInEveryQuery(t *testing.T) {
	t.Parallel()
	for _, field := range []string{"prometheusAlerts", "prometheusRules"} {
		file, err := evaluate(field, `selector: 'namespace="auth"', jobSelector: 'namespace="auth"'`)
		if err != nil {
			t.Fatal(err)
		}
		for _, group := range file.Groups {
			for _, rule := range group.Rules {
				tree, err := parser.NewParser(parser.Options{}).ParseExpr(rule.Expr)
				if err != nil {
					t.Fatal(err)
				}
				parser.Inspect(tree, func(node parser.Node, _ []parser.Node) error {
					s, ok := node.(*parser.VectorSelector)
					if ok && !strings.Contains(s.Name, ":") && !strings.Contains(s.String(), `namespace="auth"`) {
						t.Errorf("%s reads %s without the selector", rule.Alert+rule.Record, s)
					}
					return nil
				})
			}
		}
	}
}

// check returns what is wrong with a query.
func check(query string, metrics series) (mistakes []string) {
	tree, err := parser.NewParser(parser.Options{}).ParseExpr(query)
	if err != nil {
		return []string{err.Error()}
	}
	names := map[string]bool{}
	parser.Inspect(tree, func(node parser.Node, _ []parser.Node) error {
		if selector, ok := node.(*parser.VectorSelector); ok {
			names[selector.Name] = true
			mistakes = append(mistakes, checkSelector(selector, metrics)...)
		}
		return nil
	})
	known := func(label string) bool {
		if label == "le" || slices.Contains(targetLabels, label) {
			return true
		}
		for name := range names {
			if metrics.hasLabel(name, label) {
				return true
			}
		}
		return false
	}
	parser.Inspect(tree, func(node parser.Node, _ []parser.Node) error {
		for _, label := range labelsIn(node) {
			if !known(label) {
				mistakes = append(mistakes, "no label "+label)
			}
		}
		return nil
	})
	return mistakes
}

// labelsIn are the labels by which a node groups or matches.
func labelsIn(node parser.Node) []string {
	switch n := node.(type) {
	case *parser.AggregateExpr:
		return n.Grouping
	case *parser.BinaryExpr:
		if n.VectorMatching != nil {
			return append(slices.Clone(n.VectorMatching.MatchingLabels), n.VectorMatching.Include...)
		}
	}
	return nil
}

// checkSelector requires a series that fits.
func checkSelector(s *parser.VectorSelector, metrics series) []string {
	all, known := metrics[s.Name]
	if !known {
		return []string{"no metric " + s.Name}
	}
	var matchers []*labels.Matcher
	for _, m := range s.LabelMatchers {
		if m.Name == model.MetricNameLabel || slices.Contains(targetLabels, m.Name) {
			continue
		}
		if !metrics.hasLabel(s.Name, m.Name) {
			return []string{s.Name + " has no label " + m.Name}
		}
		matchers = append(matchers, m)
	}
	for _, series := range all {
		if !slices.ContainsFunc(matchers, func(m *labels.Matcher) bool { return !m.Matches(series[m.Name]) }) {
			return nil
		}
	}
	return []string{"no series fits " + s.String()}
}

// rulesOf are the expressions of a file of rules. What a rule records is added to the
// metrics.
func rulesOf(t *testing.T, name string, metrics series) (all []expression) {
	t.Helper()
	var file ruleFile
	if err := yaml.Unmarshal(installed(t, name), &file); err != nil {
		t.Fatal(err)
	}
	for _, group := range file.Groups {
		for _, rule := range group.Rules {
			all = append(all, expression{name + ", " + rule.Alert + rule.Record, rule.Expr})
			if rule.Record != "" {
				metrics[rule.Record] = recorded(rule.Record, metrics)
			}
		}
	}
	return all
}

// recorded are the series of a recording rule, by its name: level:metric:operation.
func recorded(name string, metrics series) []map[string]string {
	level, _, _ := strings.Cut(name, ":")
	if level == "instance_code" {
		return []map[string]string{{"code": metrics["keytail_verdicts_total"][0]["code"]}}
	}
	return []map[string]string{{}}
}
