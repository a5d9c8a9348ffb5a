package decisionlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/forwardauth"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var at = time.Date(2026, 1, 2, 3, 4, 5, 678_900_000, time.UTC)

// record is that of the key in most decisions.
var record = &apikey.Record{KeyID: "k1", UserID: "u<1>", Active: true}

func decided(code apikey.Code) forwardauth.Decision {
	v := apikey.Verdict{Code: code, Source: apikey.SourceCache, AsOf: at.Add(-time.Second), Revision: 0x6923a1c000000003}
	if code >= apikey.Disabled {
		v.Record = record
	}
	return forwardauth.Decision{Operation: forwardauth.OperationForwardAuth, RequestID: "r1", Verdict: v}
}

// logUnderTest is a Log with what it writes.
type logUnderTest struct {
	*Log
	out      *bytes.Buffer
	logs     *observer.ObservedLogs
	registry *prometheus.Registry
}

func newLog(t *testing.T, change func(*Config)) *logUnderTest {
	t.Helper()
	core, logs := observer.New(zap.DebugLevel)
	u := &logUnderTest{out: &bytes.Buffer{}, logs: logs, registry: prometheus.NewRegistry()}
	config := Config{
		Path: Stdout, Stdout: u.out, AcceptRatio: 1, Instance: "host/1", Now: func() time.Time { return at },
		Logger: zap.New(core), Registerer: u.registry,
	}
	if change != nil {
		change(&config)
	}
	var err error
	if u.Log, err = New(config); err != nil {
		t.Fatal(err)
	}
	return u
}

// finish writes everything that waits.
func (u *logUnderTest) finish(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if err := u.Run(ctx); err != nil {
		t.Fatal(err)
	}
}

// lines are those of a text, each of which must be one JSON object.
func lines(t *testing.T, text string) []map[string]any {
	t.Helper()
	var all []map[string]any
	for l := range strings.Lines(text) {
		var object map[string]any
		if err := json.Unmarshal([]byte(l), &object); err != nil || !strings.HasSuffix(l, "\n") {
			t.Fatalf("%v in the line %q", err, l)
		}
		all = append(all, object)
	}
	return all
}

func (u *logUnderTest) dropped(t *testing.T, reason dropReason) float64 {
	t.Helper()
	return testutil.ToFloat64(u.metrics.dropped[reason])
}

// TestLines has every field, and what is absent.
func TestLines(t *testing.T) {
	u := newLog(t, nil)
	valid := decided(apikey.Valid)
	valid.TraceID = "4bf92f3577b34da6a3ce929d0e0e4736"
	forbidden := decided(apikey.Forbidden)
	forbidden.Verdict.Reason = apikey.Reason{Kind: apikey.ReasonIP}
	defective := decided(apikey.Disabled)
	defective.Verdict.Record = &apikey.Record{KeyID: "k2", UserID: "unreliable", Defect: "x"}
	unread := forwardauth.Decision{Operation: forwardauth.OperationExtAuthz, RequestID: "r2", Problem: api.CodeNoSuchPolicy}
	unavailable := forwardauth.Decision{Operation: forwardauth.OperationVerify, RequestID: "r3"}
	for _, d := range []forwardauth.Decision{valid, forbidden, defective, unread, unavailable} {
		u.Record(d)
	}
	u.finish(t)
	const common = `{"time":"2026-01-02T03:04:05.678Z","operation":`
	const data = `"source":"cache","as_of":"2026-01-02T03:04:04.678Z","revision":"6923a1c000000003","instance":"host/1"}`
	want := common + `"forward_auth","request_id":"r1","trace_id":"4bf92f3577b34da6a3ce929d0e0e4736","code":"VALID","key_id":"k1","user_id":"u<1>",` + data + "\n" +
		common + `"forward_auth","request_id":"r1","code":"FORBIDDEN","reason":"ip","key_id":"k1","user_id":"u<1>",` + data + "\n" +
		common + `"forward_auth","request_id":"r1","code":"DISABLED","reason":"","key_id":"k2",` + data + "\n" +
		common + `"ext_authz","request_id":"r2","code":"NO_SUCH_POLICY","instance":"host/1"}` + "\n" +
		common + `"verify","request_id":"r3","code":"UNAVAILABLE","instance":"host/1"}` + "\n"
	want = strings.Replace(want, `"reason":"",`, "", 1)
	if diff := cmp.Diff(want, u.out.String()); diff != "" {
		t.Error(diff)
	}
	if got := testutil.ToFloat64(u.metrics.written); got != 5 {
		t.Errorf("%v lines are counted", got)
	}
}

// TestMaskedFields are masked where they have a value, and no others are.
func TestMaskedFields(t *testing.T) {
	full := decided(apikey.Forbidden)
	full.TraceID, full.Verdict.Reason = "4bf92f3577b34da6a3ce929d0e0e4736", apikey.Reason{Kind: apikey.ReasonIP}
	for _, mask := range append([][]string{nil, Maskable}, [][]string{{"user_id"}, {"request_id", "trace_id"}, {"key_id"}, {"reason"}, {"instance"}}...) {
		u := newLog(t, func(c *Config) { c.Mask = mask })
		u.Record(full)
		u.finish(t)
		got := lines(t, u.out.String())[0]
		for _, name := range slices.Sorted(maps.Keys(got)) {
			if is := got[name] == masked; is != slices.Contains(mask, name) {
				t.Errorf("mask %v: %s is %v", mask, name, got[name])
			}
		}
		if len(got) != 12 {
			t.Errorf("mask %v: %d fields", mask, len(got))
		}
	}
	u := newLog(t, func(c *Config) { c.Mask = Maskable })
	u.Record(forwardauth.Decision{})
	u.finish(t)
	if got := lines(t, u.out.String())[0]; got["user_id"] != nil || got["request_id"] != "" {
		t.Errorf("an absent value looks masked: %v", got)
	}
}

func TestMistakesInTheConfiguration(t *testing.T) {
	for _, ratio := range []float64{-0.1, 1.1, math.NaN(), math.Inf(1)} {
		if err := Check(ratio, nil); err == nil || !strings.Contains(err.Error(), "--decision-log-accepts") {
			t.Errorf("ratio %v: %v", ratio, err)
		}
	}
	err := Check(2, []string{"code", "time"})
	if err == nil || strings.Count(err.Error(), "\n") != 1 || !strings.Contains(err.Error(), "--decision-log-mask") {
		t.Errorf("two mistakes: %v", err)
	}
	for _, path := range []string{t.TempDir(), os.DevNull, filepath.Join(t.TempDir(), "absent", "file")} {
		if _, err := New(Config{Path: path}); err == nil || !strings.Contains(err.Error(), "--decision-log") || !strings.Contains(err.Error(), path) {
			t.Errorf("%s: %v", path, err)
		}
	}
	absent := filepath.Join(t.TempDir(), "absent")
	if err := errors.Join(CheckPath(""), CheckPath(Stdout), CheckPath(absent)); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(absent); err == nil {
		t.Error("the check has created the file")
	}
}

// TestAcceptsAreSampledAndRefusalsAreNot.
func TestAcceptsAreSampledAndRefusalsAreNot(t *testing.T) {
	const each = 4000
	for _, test := range []struct {
		ratio     float64
		low, high int
	}{{0, 0, 0}, {0.25, 700, 1300}, {1, each, each}} {
		u := newLog(t, func(c *Config) { c.AcceptRatio, c.QueueSize = test.ratio, 4*each })
		for range each {
			for _, code := range []apikey.Code{apikey.Valid, apikey.NotFound} {
				if u.Wants(code) {
					u.Record(decided(code))
				}
			}
		}
		u.finish(t)
		counts := map[any]int{}
		for _, l := range lines(t, u.out.String()) {
			counts[l["code"]]++
		}
		if n := counts["VALID"]; n < test.low || n > test.high || counts["NOT_FOUND"] != each {
			t.Errorf("ratio %v: %v", test.ratio, counts)
		}
		if got := u.dropped(t, droppedFull); got != 0 {
			t.Errorf("ratio %v: what is not sampled counts as dropped: %v", test.ratio, got)
		}
	}
}

// TestAFullQueueDropsAndCounts, and accepts give way to refusals.
func TestAFullQueueDropsAndCounts(t *testing.T) {
	u := newLog(t, func(c *Config) { c.QueueSize = 10 })
	for range 20 {
		u.Record(decided(apikey.Valid))
	}
	for range 20 {
		u.Record(decided(apikey.Expired))
	}
	if got := u.dropped(t, droppedFull); got != 15+15 {
		t.Errorf("%v are counted", got)
	}
	u.finish(t)
	counts := map[any]int{}
	for _, l := range lines(t, u.out.String()) {
		counts[l["code"]]++
	}
	if counts["VALID"] != 5 || counts["EXPIRED"] != 5 {
		t.Errorf("%v", counts)
	}
	if all := u.logs.TakeAll(); len(all) != 1 || all[0].ContextMap()["dropped"] != int64(30) || all[0].Level != zap.WarnLevel {
		t.Errorf("the log says: %v", all)
	}
}

// TestDropsAreReportedEachMinute while there are any.
func TestDropsAreReportedEachMinute(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newLog(t, nil)
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- u.Run(ctx) }()
		u.drop(droppedFull, 3)
		time.Sleep(5*reportInterval + time.Second) // synctest moves the time
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
		if all := u.logs.TakeAll(); len(all) != 1 || all[0].ContextMap()["dropped"] != int64(3) {
			t.Errorf("the log says: %v", all)
		}
	})
}
