package main

import (
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"testing"

	dto "github.com/prometheus/client_model/go"
	"github.com/prometheus/common/expfmt"
	"github.com/prometheus/common/model"

	"github.com/keytail/keytail/internal/testprogram"
)

// series are the label sets of each metric of a daemon, by the names that a selector may
// use: a histogram has those of its classic form, and its own in the native form.
type series map[string][]map[string]string

var opsAddress = regexp.MustCompile(`serving.*"ops_addr": ?"([^"]+)"`)

// registry starts a daemon with every listener and file that has metrics, and reads
// /metrics.
func registry(t *testing.T) series {
	t.Helper()
	dir := t.TempDir()
	program := filepath.Join(dir, "keytail")
	if out, err := exec.CommandContext(t.Context(), "go", "build", "-C", repository, "-o", program, "./cmd/server").CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if err := os.WriteFile(filepath.Join(dir, "callers"), []byte("web=0123456789abcdef-web\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	process, err := testprogram.Start(program, []string{
		"serve", "--dev", "--addr", "127.0.0.1:0", "--ops-addr", "127.0.0.1:0", "--admin-addr", "127.0.0.1:0", "--grpc-addr", "127.0.0.1:0",
		"--caller-token-file", "callers", "--decision-log", "decisions.log",
	}, dir)
	if err != nil {
		t.Fatal(err)
	}
	defer process.Kill()
	address, err := process.AwaitLog(t.Context(), opsAddress)
	if err != nil {
		t.Fatalf("%v\n%s", err, process.LogTail())
	}
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	parser := expfmt.NewTextParser(model.LegacyValidation)
	families, err := parser.TextToMetricFamilies(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return seriesOf(families)
}

func seriesOf(families map[string]*dto.MetricFamily) series {
	all := series{"up": {{}}}
	for name, family := range families {
		for _, metric := range family.GetMetric() {
			labels := map[string]string{}
			for _, pair := range metric.GetLabel() {
				labels[pair.GetName()] = pair.GetValue()
			}
			all[name] = append(all[name], labels)
			if family.GetType() == dto.MetricType_HISTOGRAM {
				for _, suffix := range []string{"_bucket", "_count", "_sum"} {
					all[name+suffix] = append(all[name+suffix], labels)
				}
			}
		}
	}
	return all
}

// hasLabel reports whether a metric has a label.
func (s series) hasLabel(metric, label string) bool {
	return slices.ContainsFunc(s[metric], func(labels map[string]string) bool { _, has := labels[label]; return has })
}

// installed is the content of a file that is installed.
func installed(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(filepath.Join("..", name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}
