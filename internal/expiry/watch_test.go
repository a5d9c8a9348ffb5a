package expiry

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/apikey"
)

var start = time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC)

// rig is a Watch with a notice of ten days, and what it has reported.
type rig struct {
	*Watch
	t        *testing.T
	now      time.Time
	reported []string
	logs     *observer.ObservedLogs
}

func newRig(t *testing.T) *rig {
	t.Helper()
	core, logs := observer.New(zapcore.DebugLevel)
	r := &rig{t: t, now: start, logs: logs}
	var err error
	r.Watch, err = New(Config{
		Notice: 10 * 24 * time.Hour,
		Report: func(id apikey.DocID, at time.Time) {
			r.reported = append(r.reported, fmt.Sprint(string(id), "@", days(at)))
		},
		Logger:     zap.New(core),
		Registerer: prometheus.NewRegistry(),
		Now:        func() time.Time { return r.now },
	})
	if err != nil {
		t.Fatal(err)
	}
	return r
}

// days is a time as days since the start.
func days(at time.Time) float64 { return at.Sub(start).Hours() / 24 }

func in(days float64) time.Time {
	return start.Add(time.Duration(days * 24 * float64(time.Hour)))
}

// pass makes a scan of these keys, and checks what it reports and counts.
func (r *rig) pass(keys map[string]apikey.Record, count int, reports ...string) {
	r.t.Helper()
	r.reported = nil
	r.Begin()
	for id, record := range keys {
		r.See(apikey.DocID(id), &record)
	}
	r.End(true)
	if !slices.Equal(r.reported, reports) {
		r.t.Errorf("day %v: reported %q, want %q", days(r.now), r.reported, reports)
	}
	if got := testutil.ToFloat64(r.gauge); got != float64(count) {
		r.t.Errorf("day %v: counted %v, want %d", days(r.now), got, count)
	}
}

func active(at time.Time) apikey.Record { return apikey.Record{Active: true, ExpiresAt: at} }

func TestOnlyUsableKeysThatExpireSoonCount(t *testing.T) {
	t.Parallel()
	disabled, defective := active(in(1)), active(in(1))
	disabled.Active, defective.Defect = false, "it has none"
	newRig(t).pass(map[string]apikey.Record{
		"last":     active(in(10)),
		"first":    active(in(0.5)),
		"later":    active(in(10.001)),
		"expired":  active(in(0)),
		"never":    active(time.Time{}),
		"disabled": disabled, "defective": defective,
	}, 2, "first@0.5", "last@10")
}

// TestEachKeyIsReportedOnce, and again if its expiry has changed.
func TestEachKeyIsReportedOnce(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	keys := map[string]apikey.Record{"a": active(in(5)), "b": active(in(12)), "c": active(in(50))}
	r.pass(keys, 1, "a@5")
	r.pass(keys, 1)
	r.now = in(3)
	r.pass(keys, 2, "b@12")
	keys["a"] = active(in(4)) // such as a rotation
	r.pass(keys, 2, "a@4")
	keys["a"] = active(in(90))
	r.pass(keys, 1)
	r.now = in(85)
	r.pass(keys, 1, "a@90")
	r.now = in(91)
	r.pass(keys, 0)
	if len(r.Watch.reported) != 0 {
		t.Errorf("it remembers %v", r.Watch.reported)
	}
}

// TestAnIncompleteScanTellsNothing: the gauge is absent, and what the scan has seen is
// neither reported nor taken as reported.
func TestAnIncompleteScanTellsNothing(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	if n := testutil.CollectAndCount(r.gauge); n != 0 {
		t.Error("there is a number before the first scan")
	}
	a := active(in(5))
	r.pass(map[string]apikey.Record{"a": a}, 1, "a@5")
	r.Begin()
	b := active(in(6))
	r.See("b", &b)
	r.reported = nil
	r.End(false)
	if n := testutil.CollectAndCount(r.gauge); n != 0 || r.reported != nil {
		t.Errorf("got %d numbers and the reports %q", n, r.reported)
	}
	r.pass(map[string]apikey.Record{"a": a, "b": b}, 2, "b@6")
}

// TestAFloodIsSpreadOverScans, those that expire first in the first one.
func TestAFloodIsSpreadOverScans(t *testing.T) {
	t.Parallel()
	r := newRig(t)
	const flood = 2*maxReports + maxReports + 5
	keys := map[string]apikey.Record{}
	var want []string
	for i := range flood {
		at := in(1).Add(time.Duration(i) * time.Minute)
		id := fmt.Sprintf("k%04d", i)
		keys[id] = active(at)
		want = append(want, fmt.Sprint(id, "@", days(at)))
	}
	for scan := 0; len(want) > 0; scan++ {
		n := min(maxReports, len(want))
		r.pass(keys, flood, want[:n]...)
		want = want[n:]
		wantLog := 1
		if len(want) == 0 {
			wantLog = 0
		}
		logs := r.logs.TakeAll()
		if len(logs) != wantLog {
			t.Fatalf("scan %d: %d log lines, want %d", scan, len(logs), wantLog)
		}
		if wantLog == 1 && logs[0].ContextMap()["more"] != int64(len(want)) {
			t.Errorf("scan %d: %v are left, want %d", scan, logs[0].ContextMap(), len(want))
		}
	}
	r.pass(keys, flood)
}

func TestWrongConfigsAreRefused(t *testing.T) {
	t.Parallel()
	report := func(apikey.DocID, time.Time) {}
	for _, config := range []Config{{}, {Report: report, Notice: -1}} {
		if _, err := New(config); err == nil || !strings.Contains(err.Error(), "Config.Report is required") {
			t.Errorf("%+v: got %v", config, err)
		}
	}
	w, err := New(Config{Report: report})
	if err != nil || w.config.Notice != DefaultNotice {
		t.Errorf("got %+v, %v", w, err)
	}
}
