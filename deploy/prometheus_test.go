package deploy

import (
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.yaml.in/yaml/v3"

	"github.com/keytail/keytail/internal/testprogram"
)

const (
	alertsFile = "prometheus/alerts.yaml"
	rulesFile  = "prometheus/rules.yaml"
)

// ruleFile is a file of Prometheus' rules.
type ruleFile struct {
	Groups []struct {
		Rules []alertRule
	}
}

type alertRule struct {
	Alert, Expr string
	For         string
	Labels      map[string]string
	Annotations map[string]string
}

// alerts are the alerts by their names.
func alerts(t *testing.T) map[string]alertRule {
	t.Helper()
	all := map[string]alertRule{}
	for _, rule := range rules(t, alertsFile) {
		all[rule.Alert] = rule
	}
	return all
}

func rules(t *testing.T, file string) (all []alertRule) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var rules ruleFile
	if err := yaml.Unmarshal(content, &rules); err != nil {
		t.Fatal(err)
	}
	for _, group := range rules.Groups {
		all = append(all, group.Rules...)
	}
	return all
}

// promtool runs the promtool of .ci/run.
func promtool(t *testing.T, args ...string) {
	t.Helper()
	path, err := testprogram.Find(testprogram.Program{
		Name: "promtool", Variable: "KEYTAIL_TEST_PROMTOOL", Places: []string{testprogram.InVenv("promtool"), "promtool"},
		Install: "promtool is part of Debian's package prometheus, which also starts a server: .ci/run takes it out of the package",
	})
	testprogram.SkipIfMissing(t, "promtool", err)
	if out, err := exec.CommandContext(t.Context(), path, args...).CombinedOutput(); err != nil {
		t.Errorf("promtool %s: %v\n%s", strings.Join(args, " "), err, out)
	}
}

func TestRulesAreValid(t *testing.T) {
	t.Parallel()
	promtool(t, "check", "rules", alertsFile, rulesFile)
}

// TestEachAlert fires for its condition, and no other one does; and neither fires just
// below the threshold, nor before its time has passed.
func TestEachAlert(t *testing.T) {
	t.Parallel()
	all := alerts(t)
	tests := promtoolTests{Interval: "30s", RuleFiles: []string{absolute(t, alertsFile), absolute(t, rulesFile)}}
	tests.Tests = append(tests.Tests, newTest("healthy", nil, "65m", ""))
	tested := map[string]bool{}
	for _, c := range alertCases {
		rule, found := all[c.alert]
		if !found {
			t.Errorf("there is no alert %s", c.alert)
			continue
		}
		tested[c.alert] = true
		tests.Tests = append(tests.Tests, c.fires(t, rule), newTest(c.alert+", below", c.below, c.at, ""))
	}
	for name := range all {
		if !tested[name] {
			t.Errorf("%s has no case in alertCases", name)
		}
	}
	if !t.Failed() {
		runTests(t, tests)
	}
}

// TestHealthySeriesAreWhatRulesRead: a rule that finds nothing to read would seem healthy.
func TestHealthySeriesAreWhatRulesRead(t *testing.T) {
	t.Parallel()
	healthyNames := strings.Join(slices.Collect(maps.Keys(healthy)), " ")
	for _, rule := range append(rules(t, alertsFile), rules(t, rulesFile)...) {
		for _, name := range regexp.MustCompile(`\b(?:keytail_|process_)\w+`).FindAllString(recordedName.ReplaceAllString(rule.Expr, ""), -1) {
			if !strings.Contains(healthyNames, name) {
				t.Errorf("%s reads %s, which is not in healthy", rule.Alert, name)
			}
		}
	}
}

var recordedName = regexp.MustCompile(`\w+:\w+:\w+`)

// promtoolTests is a file for promtool test rules.
type promtoolTests struct {
	Interval  string         `yaml:"evaluation_interval"`
	RuleFiles []string       `yaml:"rule_files"`
	Tests     []promtoolTest `yaml:"tests"`
}

type promtoolTest struct {
	Name     string      `yaml:"name"`
	Interval string      `yaml:"interval"`
	Input    []inputs    `yaml:"input_series"`
	Queries  []queryTest `yaml:"promql_expr_test"`
	Alerts   []alertTest `yaml:"alert_rule_test,omitempty"`
}

type inputs struct {
	Series string `yaml:"series"`
	Values string `yaml:"values"`
}

type queryTest struct {
	Expr    string   `yaml:"expr"`
	At      string   `yaml:"eval_time"`
	Samples []sample `yaml:"exp_samples"`
}

type sample struct {
	Labels string `yaml:"labels"`
	Value  int    `yaml:"value"`
}

type alertTest struct {
	At       string          `yaml:"eval_time"`
	Name     string          `yaml:"alertname"`
	Expected []expectedAlert `yaml:"exp_alerts"`
}

type expectedAlert struct {
	Labels      map[string]string `yaml:"exp_labels"`
	Annotations map[string]string `yaml:"exp_annotations"`
}

// newTest is a test in which the alerts that have fired until a time are exactly these,
// separated by spaces. changes replace healthy series of instance a, or add to them.
func newTest(name string, changes map[string]string, until, firing string) promtoolTest {
	test := promtoolTest{Name: name, Interval: "30s"}
	series := map[string]string{}
	for s, values := range healthy {
		series[withInstance(s, "a")] = values
		series[withInstance(s, "b")] = values
	}
	for s, values := range changes {
		series[withInstance(s, "a")] = values
	}
	for _, s := range slices.Sorted(maps.Keys(series)) {
		test.Input = append(test.Input, inputs{s, series[s]})
	}
	fired := queryTest{Expr: fmt.Sprintf(`group by (alertname) (max_over_time(ALERTS{alertstate="firing"}[%s]))`, until), At: until, Samples: []sample{}}
	for _, alert := range strings.Fields(firing) {
		fired.Samples = append(fired.Samples, sample{fmt.Sprintf("{alertname=%q}", alert), 1})
	}
	test.Queries = []queryTest{fired}
	return test
}

// withInstance adds the labels of a target, unless the series has them.
func withInstance(series, instance string) string {
	if strings.Contains(series, "instance=") {
		return series
	}
	name, matchers, _ := strings.Cut(strings.TrimSuffix(series, "}"), "{")
	if matchers != "" {
		matchers += ","
	}
	return fmt.Sprintf(`%s{%sjob="keytail",instance=%q}`, name, matchers, instance)
}

// fires is the test that the alert fires, with its labels and annotations, and not too
// early.
func (c *alertCase) fires(t *testing.T, rule alertRule) promtoolTest {
	t.Helper()
	test := newTest(c.alert, c.above, c.at, c.alert+" "+c.also)
	labels := map[string]string{"job": "keytail", "instance": "a", "severity": rule.Labels["severity"]}
	maps.Copy(labels, c.labels)
	maps.DeleteFunc(labels, func(_, value string) bool { return value == "" })
	annotations := maps.Clone(rule.Annotations)
	annotations["description"] = c.description
	expected := []expectedAlert{{labels, annotations}}
	test.Alerts = []alertTest{{At: c.at, Name: c.alert, Expected: expected}}
	if rule.For != "" {
		wait, err := time.ParseDuration(rule.For)
		if err != nil {
			t.Fatal(err)
		}
		test.Alerts = append(test.Alerts, alertTest{At: (wait - 30*time.Second).String(), Name: c.alert, Expected: []expectedAlert{}})
	}
	return test
}

func runTests(t *testing.T, tests promtoolTests) {
	t.Helper()
	text, err := yaml.Marshal(tests)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "tests.yaml")
	if err := os.WriteFile(file, text, 0o600); err != nil {
		t.Fatal(err)
	}
	promtool(t, "test", "rules", file)
}

func absolute(t *testing.T, path string) string {
	t.Helper()
	path, err := filepath.Abs(path)
	if err != nil {
		t.Fatal(err)
	}
	return path
}

// TestChartHasTheRules of the files, changed by no template.
func TestChartHasTheRules(t *testing.T) {
	t.Parallel()
	file := filepath.Join(t.TempDir(), "rule.yaml")
	rendered := render(t, "--set", "prometheusRule.enabled=true,prometheusRule.labels.release=prometheus", "--show-only", "templates/prometheusrule.yaml")
	if err := os.WriteFile(file, []byte(rendered), 0o600); err != nil {
		t.Fatal(err)
	}
	object := find(t, objectsIn(t, file), "PrometheusRule", "keytail")
	if object.Metadata.Labels["release"] != "prometheus" {
		t.Errorf("the labels are %v", object.Metadata.Labels)
	}
	var spec, want struct{ Groups []any }
	convert(t, object.Spec, &spec)
	for _, name := range []string{rulesFile, alertsFile} {
		var file struct{ Groups []any }
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		if err := yaml.Unmarshal(content, &file); err != nil {
			t.Fatal(err)
		}
		want.Groups = append(want.Groups, file.Groups...)
	}
	convert(t, want, &want)
	if diff := cmp.Diff(want, spec); diff != "" {
		t.Errorf("(-files +chart):\n%s", diff)
	}
	if strings.Contains(render(t), "PrometheusRule") {
		t.Error("the chart has the rules without being asked")
	}
}

var runbookSection = regexp.MustCompile(`(?m)^### (Keytail\w+)\n\n((?:.+\n)+)`)

// TestEachAlertIsInTheRunbook, by its link, and nothing else is.
func TestEachAlertIsInTheRunbook(t *testing.T) {
	t.Parallel()
	content, err := os.ReadFile("../docs/runbook.md")
	if err != nil {
		t.Fatal(err)
	}
	metrics, err := os.ReadFile("../docs/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	sections, all := map[string]string{}, alerts(t)
	for _, m := range runbookSection.FindAllStringSubmatch(string(content), -1) {
		sections[m[1]] = m[2]
		if _, found := all[m[1]]; !found {
			t.Errorf("the runbook has %s, which is no alert", m[1])
		}
	}
	for name, rule := range all {
		for _, part := range []string{"- **Meaning**: ", "- **Users see**: ", "- **Look at**: ", "- **Do**: "} {
			if !strings.Contains(sections[name], part) {
				t.Errorf("%s has no %q in the runbook", name, part)
			}
		}
		if want := "https://github.com/keytail/keytail/blob/main/docs/runbook.md#" + strings.ToLower(name); rule.Annotations["runbook_url"] != want {
			t.Errorf("%s has the link %q, want %q", name, rule.Annotations["runbook_url"], want)
		}
		if severity := rule.Labels["severity"]; !slices.Contains([]string{"critical", "warning", "info"}, severity) || rule.Annotations["summary"] == "" {
			t.Errorf("%s has the severity %q and the summary %q", name, severity, rule.Annotations["summary"])
		}
	}
	for _, name := range regexp.MustCompile(`keytail_\w+`).FindAllString(string(content), -1) {
		if name != "keytail_heartbeats" && !strings.Contains(string(metrics), "| `"+name+"` |") {
			t.Errorf("the runbook names the metric %s, which docs/metrics.md does not have", name)
		}
	}
}
