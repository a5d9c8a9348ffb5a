package doctest

import (
	"bytes"
	"context"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"io"
	"maps"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/keytail/keytail/internal/testprogram"
)

var update = flag.Bool("update", false, "write the tables in docs/metrics.md anew")

const (
	metricsPage  = root + "/docs/metrics.md"
	metricsBegin = "<!-- metrics:begin -->\n"
	metricsEnd   = "<!-- metrics:end -->"
)

// metric is what is known of one metric.
type metric struct {
	name, kind, meaning string
	labels              []string
}

// TestMetricsPage compares the tables of docs/metrics.md with the metrics of a
// running daemon; with -update it writes them. Every metric needs a row in
// metricSections that describes what to do about it.
func TestMetricsPage(t *testing.T) {
	metrics, exposition := scrape(t)
	for _, name := range sourceMetrics(t) {
		if metrics[name] == nil {
			t.Errorf("%s is in the source, and a new daemon has no series of it: make all of them in a constructor", name)
		}
	}
	t.Run("promtool", func(t *testing.T) { checkWithPromtool(t, exposition) })
	table := metricsMarkdown(t, metrics)
	content, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
	checkNumberOfSeries(t, content, exposition)
	head, rest, found := strings.Cut(string(content), metricsBegin)
	have, tail, closed := strings.Cut(rest, metricsEnd)
	if !found || !closed {
		t.Fatalf("%s lacks the markers %q and %q", metricsPage, metricsBegin, metricsEnd)
	}
	if have == table || t.Failed() {
		return
	}
	if !*update {
		t.Fatalf("the tables in %s differ from the daemon's metrics; write them anew with\n\n\tgo test ./internal/doctest -run Metrics -update", metricsPage)
	}
	if err := os.WriteFile(metricsPage, []byte(head+metricsBegin+table+metricsEnd+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}

// seriesOnPage is the number on the page of the series of an instance with all listeners.
var seriesOnPage = regexp.MustCompile(`with the admin listener has about ([\d,]+) series`)

// checkNumberOfSeries allows a tenth: each new route changes it a little.
func checkNumberOfSeries(t *testing.T, page, exposition []byte) {
	t.Helper()
	m := seriesOnPage.FindSubmatch(page)
	if m == nil {
		t.Fatalf("%s does not say how many series there are", metricsPage)
	}
	said, err := strconv.Atoi(strings.ReplaceAll(string(m[1]), ",", ""))
	if err != nil {
		t.Fatal(err)
	}
	if got := bytes.Count(exposition, []byte("\nkeytail_")); got*10 < said*9 || got*10 > said*11 {
		t.Errorf("%s says %d series, and a daemon has %d", metricsPage, said, got)
	}
}

// metricsMarkdown fails the test for a metric without a row, and for a row without
// a metric.
func metricsMarkdown(t *testing.T, metrics map[string]*metric) string {
	t.Helper()
	var b strings.Builder
	described := map[string]bool{}
	for _, s := range metricSections {
		fmt.Fprintf(&b, "\n## %s\n\n| metric | type | labels | meaning | what to do |\n|---|---|---|---|---|\n", s.title)
		for _, row := range s.rows {
			m := metrics[row.name]
			if m == nil {
				t.Errorf("no daemon has the metric %s: remove its row from metricSections", row.name)
				continue
			}
			described[row.name] = true
			labels := ""
			if len(m.labels) > 0 {
				labels = "`" + strings.Join(m.labels, "`, `") + "`"
			}
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s | %s |\n", m.name, m.kind, labels, strings.ReplaceAll(m.meaning, "|", `\|`), row.action)
		}
	}
	for name := range metrics {
		if !described[name] {
			t.Errorf("%s has no row in metricSections (metrics_table_test.go): describe what to do about it", name)
		}
	}
	return b.String() + "\n"
}

var (
	helpLine   = regexp.MustCompile(`^# HELP (keytail_\w+) (.*)$`)
	typeLine   = regexp.MustCompile(`^# TYPE (keytail_\w+) (\w+)$`)
	sampleLine = regexp.MustCompile(`^(keytail_\w+)\{([^}]*)\}`)
	labelName  = regexp.MustCompile(`(\w+)="`)
	suffix     = regexp.MustCompile(`_(bucket|sum|count)$`)
)

// scrape starts a daemon with every listener that has metrics, and reads /metrics.
func scrape(t *testing.T) (all map[string]*metric, exposition []byte) {
	t.Helper()
	binaries := t.TempDir()
	build(t, binaries)
	s := &session{t: t, page: "a daemon", dir: t.TempDir(), binaries: binaries}
	defer s.stop()
	for name, role := range map[string]string{"admins": " role=viewer", "callers": ""} {
		if err := os.WriteFile(filepath.Join(s.dir, name), []byte(name+"=0123456789abcdef-"+name+role+"\n"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	s.start(&block{lines: []string{"keytail serve --dev --admin-token-file admins --caller-token-file callers --decision-log decisions.log"}})
	request, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, s.addresses.Replace("http://127.0.0.1:9090")+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	if exposition, err = io.ReadAll(response.Body); err != nil {
		t.Fatal(err)
	}
	all = map[string]*metric{}
	for line := range strings.Lines(string(exposition)) {
		read(all, strings.TrimSuffix(line, "\n"))
	}
	return all, exposition
}

// read takes one line of Prometheus' text format in.
func read(all map[string]*metric, line string) {
	if m := helpLine.FindStringSubmatch(line); m != nil {
		all[m[1]] = &metric{name: m[1], meaning: m[2]}
	} else if m := typeLine.FindStringSubmatch(line); m != nil {
		all[m[1]].kind = m[2]
	} else if m := sampleLine.FindStringSubmatch(line); m != nil {
		known := all[m[1]]
		if known == nil {
			known = all[suffix.ReplaceAllString(m[1], "")]
		}
		for _, label := range labelName.FindAllStringSubmatch(m[2], -1) {
			if label[1] != "le" && !slices.Contains(known.labels, label[1]) {
				known.labels = append(known.labels, label[1])
			}
		}
		slices.Sort(known.labels)
	}
}

// sourceMetrics are the names of all metrics in the source.
func sourceMetrics(t *testing.T) []string {
	t.Helper()
	tree, names := mustLoadTree(t), map[string]bool{}
	for _, name := range tree.files(".go") {
		if strings.HasSuffix(name, "_test.go") || !strings.Contains(tree.text[name], "client_golang/prometheus") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, tree.text[name], 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(node ast.Node) bool {
			if metric := metricIn(node); strings.HasPrefix(metric, "keytail_") {
				names[metric] = true
			}
			return true
		})
	}
	if len(names) < 40 {
		t.Fatalf("only %d metrics were found in the source", len(names))
	}
	return slices.Sorted(maps.Keys(names))
}

// metricIn is the name of the metric that a node describes: a field Name, or the first
// argument of a call whose second one is a text for people. "": it describes none.
func metricIn(node ast.Node) string {
	switch n := node.(type) {
	case *ast.KeyValueExpr:
		if key, ok := n.Key.(*ast.Ident); ok && key.Name == "Name" {
			return literal(n.Value)
		}
	case *ast.CallExpr:
		if len(n.Args) > 1 && strings.Contains(literal(n.Args[1]), " ") {
			return literal(n.Args[0])
		}
	}
	return ""
}

func literal(e ast.Expr) string {
	if l, ok := e.(*ast.BasicLit); ok {
		if text, err := strconv.Unquote(l.Value); err == nil {
			return text
		}
	}
	return ""
}

// checkWithPromtool compares names, types and help texts with Prometheus' conventions.
func checkWithPromtool(t *testing.T, exposition []byte) {
	path, err := testprogram.Find(testprogram.Program{
		Name: "promtool", Variable: "KEYTAIL_TEST_PROMTOOL", Places: []string{testprogram.InVenv("promtool"), "promtool"},
		Install: "promtool is part of Debian's package prometheus, which also starts a server: .ci/run takes it out of the package",
	})
	testprogram.SkipIfMissing(t, "promtool", err)
	command := exec.CommandContext(t.Context(), path, "check", "metrics")
	command.Stdin = bytes.NewReader(exposition)
	// It also writes what it finds wrong with a name, and then ends with 3.
	if output, err := command.CombinedOutput(); err != nil || len(output) > 0 {
		t.Errorf("promtool check metrics: %v\n%s", err, output)
	}
}
