package doctest

import (
	"bufio"
	"context"
	"flag"
	"fmt"
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"
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
	metrics := scrape(t)
	for name, m := range vectors(t) {
		if _, ok := metrics[name]; !ok {
			metrics[name] = m
		}
	}
	names := slices.Sorted(maps.Keys(metrics))
	if len(names) < 30 {
		t.Fatalf("the daemon has only the metrics %v", names)
	}
	table := metricsMarkdown(t, metrics)
	content, err := os.ReadFile(metricsPage)
	if err != nil {
		t.Fatal(err)
	}
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
func scrape(t *testing.T) map[string]*metric {
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
	s.start(&block{lines: []string{"keytail serve --dev --admin-token-file admins --caller-token-file callers"}})
	request, err := http.NewRequestWithContext(context.WithoutCancel(t.Context()), http.MethodGet, s.addresses.Replace("http://127.0.0.1:9090")+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	all := map[string]*metric{}
	for lines := bufio.NewScanner(response.Body); lines.Scan(); {
		read(all, lines.Text())
	}
	return all
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

// vectors finds the metrics with labels in the source. Such a metric is missing in
// /metrics until it has a value.
func vectors(t *testing.T) map[string]*metric {
	t.Helper()
	tree, all := mustLoadTree(t), map[string]*metric{}
	for _, name := range tree.files(".go") {
		if strings.HasSuffix(name, "_test.go") || !strings.Contains(tree.text[name], "Vec(prometheus.") {
			continue
		}
		file, err := parser.ParseFile(token.NewFileSet(), name, tree.text[name], 0)
		if err != nil {
			t.Fatal(err)
		}
		ast.Inspect(file, func(node ast.Node) bool {
			if call, ok := node.(*ast.CallExpr); ok {
				if m := vector(call); m != nil && strings.HasPrefix(m.name, "keytail_") {
					all[m.name] = m
				}
			}
			return true
		})
	}
	if len(all) < 10 {
		t.Fatalf("only %d metrics with labels were found", len(all))
	}
	return all
}

// vector reads prometheus.NewXVec(prometheus.XOpts{…}, []string{…}); nil if the call
// is another one.
func vector(call *ast.CallExpr) *metric {
	selector, ok := call.Fun.(*ast.SelectorExpr)
	if !ok || len(call.Args) != 2 {
		return nil
	}
	kind, ok := strings.CutSuffix(strings.TrimPrefix(selector.Sel.Name, "New"), "Vec")
	options, isOptions := call.Args[0].(*ast.CompositeLit)
	labels, isLabels := call.Args[1].(*ast.CompositeLit)
	if !ok || !isOptions || !isLabels {
		return nil
	}
	m := &metric{kind: strings.ToLower(kind)}
	for _, element := range options.Elts {
		field, ok := element.(*ast.KeyValueExpr)
		if !ok {
			continue
		}
		switch fmt.Sprint(field.Key) {
		case "Name":
			m.name = literal(field.Value)
		case "Help":
			m.meaning = literal(field.Value)
		}
	}
	for _, label := range labels.Elts {
		m.labels = append(m.labels, literal(label))
	}
	slices.Sort(m.labels)
	return m
}

func literal(e ast.Expr) string {
	if l, ok := e.(*ast.BasicLit); ok {
		if text, err := strconv.Unquote(l.Value); err == nil {
			return text
		}
	}
	return ""
}
