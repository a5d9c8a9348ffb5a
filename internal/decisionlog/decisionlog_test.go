package decisionlog

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
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
			u.Record(decided(apikey.Valid))
			u.Record(decided(apikey.NotFound))
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
		<-ended
		if all := u.logs.TakeAll(); len(all) != 1 || all[0].ContextMap()["dropped"] != int64(3) {
			t.Errorf("the log says: %v", all)
		}
	})
}

// brokenWriter fails while err is set, after it has written a part.
type brokenWriter struct {
	bytes.Buffer
	err error
}

func (b *brokenWriter) Write(p []byte) (int, error) {
	if b.err != nil {
		n, _ := b.Buffer.Write(p[:len(p)/2])
		return n, b.err
	}
	return b.Buffer.Write(p)
}

// TestAFailedWriteIsCountedAndTearsNoLine: a full disk ends one line early, and the next
// one is complete.
func TestAFailedWriteIsCountedAndTearsNoLine(t *testing.T) {
	out := &brokenWriter{}
	u := newLog(t, func(c *Config) { c.Stdout = out })
	w := &writer{Log: u.Log}
	w.json = encoder(&w.batch)
	write := func() {
		w.add(&entry{at, decided(apikey.Expired)})
		w.flush()
	}
	out.err = errors.New("no space left on device")
	write()
	out.err = nil
	write()
	write()
	if got := u.dropped(t, droppedWriteFailed); got != 1 {
		t.Errorf("%v are counted", got)
	}
	part, rest, _ := strings.Cut(out.String(), "\n")
	if json.Valid([]byte(part)) || len(lines(t, rest)) != 2 {
		t.Errorf("written:\n%s", out)
	}
	w.report()
	var said []string
	for _, entry := range u.logs.TakeAll() {
		said = append(said, entry.Level.String())
	}
	if diff := cmp.Diff([]string{"error", "info", "warn"}, said); diff != "" {
		t.Error(diff)
	}
}

// TestALineThatACrashHasCutShort is ended: the next line is complete.
func TestALineThatACrashHasCutShort(t *testing.T) {
	for before, want := range map[string]string{"": "", "{}\n": "{}\n", `{"time":`: `{"time":` + "\n"} {
		path := filepath.Join(t.TempDir(), "decisions.log")
		if err := os.WriteFile(path, []byte(before), 0o600); err != nil {
			t.Fatal(err)
		}
		u := newLog(t, func(c *Config) { c.Path = path })
		u.Record(decided(apikey.Valid))
		u.finish(t)
		content, err := os.ReadFile(path)
		if rest, ok := strings.CutPrefix(string(content), want); err != nil || !ok || len(lines(t, rest)) != 1 {
			t.Errorf("after %q: %v, %s", before, err, content)
		}
	}
}

// TestReopen follows a rotation: what comes later is in the new file.
func TestReopen(t *testing.T) {
	path := filepath.Join(t.TempDir(), "decisions.log")
	u := newLog(t, func(c *Config) { c.Path = path })
	w := &writer{Log: u.Log}
	w.json = encoder(&w.batch)
	write := func(requestID string) {
		d := decided(apikey.Valid)
		d.RequestID = requestID
		w.add(&entry{at, d})
		w.flush()
	}
	write("before")
	if err := os.Rename(path, path+".1"); err != nil {
		t.Fatal(err)
	}
	write("renamed")
	if !u.Reopen() || !u.Reopen() { // a second request does not wait
		t.Error("there is a file")
	}
	<-u.reopen
	w.reopenFile()
	write("after")

	// A path that cannot be opened: the file that is open stays in use.
	if err := os.Rename(path, path+".2"); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(path, 0o700); err != nil {
		t.Fatal(err)
	}
	w.reopenFile()
	write("kept")
	w.closeFile()

	for name, want := range map[string][]any{path + ".1": {"before", "renamed"}, path + ".2": {"after", "kept"}} {
		content, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		var got []any
		for _, l := range lines(t, string(content)) {
			got = append(got, l["request_id"])
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("%s: %s", filepath.Base(name), diff)
		}
	}
	if info, err := os.Stat(path + ".1"); err != nil || info.Mode().Perm()&0o007 != 0 {
		t.Errorf("%v, %v: other users can read it", info.Mode(), err)
	}
	if all := u.logs.FilterLevelExact(zap.ErrorLevel).All(); len(all) != 1 {
		t.Errorf("the failed one is logged: %v", all)
	}
	if newLog(t, nil).Reopen() {
		t.Error("standard output can be opened again")
	}
}

// TestReopenByRun, by the goroutine that writes.
func TestReopenByRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		u := newLog(t, func(c *Config) { c.Path = filepath.Join(t.TempDir(), "decisions.log") })
		ctx, stop := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- u.Run(ctx) }()
		u.Reopen()
		synctest.Wait()
		if all := u.logs.TakeAll(); len(all) != 1 || all[0].Level != zap.InfoLevel {
			t.Errorf("the log says: %v", all)
		}
		stop()
		<-ended
	})
}

// TestAWriterThatHangsDoesNotStopTheStop: Run returns, and says what is lost.
func TestAWriterThatHangsDoesNotStopTheStop(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		reader, stuck := io.Pipe()
		u := newLog(t, func(c *Config) { c.Stdout = stuck })
		u.Record(decided(apikey.Expired))
		ctx, stop := context.WithCancel(t.Context())
		stop()
		begin := time.Now()
		if err := u.Run(ctx); err != nil || time.Since(begin) != flushTimeout {
			t.Errorf("%v after %v", err, time.Since(begin))
		}
		if all := u.logs.FilterLevelExact(zap.ErrorLevel).All(); len(all) != 1 {
			t.Errorf("the log says: %v", all)
		}
		_ = reader.Close()
		synctest.Wait()
	})
}

// TestEverythingIsWrittenAtTheStop by many goroutines that record while Run writes.
func TestEverythingIsWrittenAtTheStop(t *testing.T) {
	const each = 500
	u := newLog(t, func(c *Config) { c.QueueSize = 8 * 2 * each })
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error)
	go func() { ended <- u.Run(ctx) }()
	var recording sync.WaitGroup
	for range 8 {
		recording.Go(func() {
			for range each {
				u.Record(decided(apikey.Valid))
			}
		})
	}
	recording.Wait()
	stop()
	if err := <-ended; err != nil {
		t.Fatal(err)
	}
	if got := len(lines(t, u.out.String())); got != 8*each {
		t.Errorf("%d lines, want %d", got, 8*each)
	}
}
