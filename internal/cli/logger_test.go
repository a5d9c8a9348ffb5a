package cli

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/config"
)

func newTestLogging(t *testing.T, level string) (*logging, *buffer) {
	t.Helper()
	stderr := newBuffer()
	l, err := newLogger(&config.Config{LogLevel: level, LogFormat: "json"}, stderr)
	if err != nil {
		t.Fatal(err)
	}
	return l, stderr
}

// TestLinesOfTheSameKindAreLimited, the others are not, and what is left out is counted.
func TestLinesOfTheSameKindAreLimited(t *testing.T) {
	l, stderr := newTestLogging(t, "debug")
	const many = 5000
	named := l.Named("public").With(zap.Int("field", 1))
	for range many {
		named.Warn("a client has done something", zap.String("of", "this line"))
		named.Debug("request answered")
	}
	l.Error("another one")
	counts := map[string]int{}
	for line := range strings.Lines(stderr.String()) {
		var fields struct{ Msg, Of string }
		if err := json.Unmarshal([]byte(line), &fields); err != nil {
			t.Fatal(err)
		}
		counts[fields.Msg]++
		if fields.Msg == "a client has done something" && (fields.Of != "this line" || !strings.Contains(line, `"field":1`)) {
			t.Errorf("fields are missing: %s", line)
		}
	}
	logged := counts["a client has done something"]
	// One second may end, and another begin, in the loop; a slow machine needs a few.
	if logged < sampleFirst || logged > many/10 {
		t.Errorf("%d of %d lines are logged", logged, many)
	}
	if counts["request answered"] != many || counts["another one"] != 1 {
		t.Errorf("others are limited, too: %v", counts)
	}
	if got := testutil.ToFloat64(l.dropped); got != float64(many-logged) {
		t.Errorf("%v are counted, %d were left out", got, many-logged)
	}
	l.report()
	if line := stderr.waitFor(t, "lines were left out"); !strings.Contains(line, `"lines":`) {
		t.Error(line)
	}
	before := stderr.String()
	if l.report(); stderr.String() != before {
		t.Error("it is reported twice")
	}
}

// TestTheDaemonGetsTheLevelAndTheCounter that its log has.
func TestTheDaemonGetsTheLevelAndTheCounter(t *testing.T) {
	f := newFake()
	r, _, _ := startServe(t, f.deps(), "--drain-delay=0", "--log-level=info")
	f.cfg.LogLevel.SetLevel(zap.DebugLevel)
	f.cfg.Logger.Debug("now it is seen")
	r.stderr.waitFor(t, "now it is seen")
	families, err := f.cfg.Registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	found := false
	for _, family := range families {
		found = found || family.GetName() == "keytail_log_lines_dropped_total"
	}
	if !found {
		t.Error("the metric is missing")
	}
	r.signal(t)
	if code := r.wait(t); code != exitOK {
		t.Errorf("exit code %d", code)
	}
}
