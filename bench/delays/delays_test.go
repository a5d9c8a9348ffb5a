package delays

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/bench/child"
)

// fakeDaemon answers like a daemon that learns of a revocation late.
type fakeDaemon struct {
	// late is how long after a revocation it still accepts a key.
	late time.Duration
	// staleness is what each answer reports.
	staleness time.Duration
	// missing is how many keys the run has too few.
	missing int
	// down: every answer is UNAVAILABLE.
	down bool

	mutex   sync.Mutex
	revoked map[string]time.Time
}

func (f *fakeDaemon) revoke(key string) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.revoked[key] = time.Now()
}

func (f *fakeDaemon) setDown(down bool) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.down = down
}

func (f *fakeDaemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	ms := f.staleness.Milliseconds()
	if r.URL.Path == api.PathReady {
		none := int64(0)
		_ = json.NewEncoder(w).Encode(api.Readiness{State: liveState, Complete: true, StalenessMS: &none})
		return
	}
	var request api.VerifyRequest
	_ = json.NewDecoder(r.Body).Decode(&request)
	f.mutex.Lock()
	defer f.mutex.Unlock()
	if f.down {
		w.WriteHeader(http.StatusServiceUnavailable)
		return
	}
	code := auth.Valid
	if at, revoked := f.revoked[request.Key]; revoked && time.Since(at) >= f.late {
		code = auth.Disabled
	}
	_ = json.NewEncoder(w).Encode(api.Verdict{Code: string(code), StalenessMS: &ms})
}

// measure makes one fault, an outage, to the fake daemon.
func (f *fakeDaemon) measure(t *testing.T, c *Config) (*Outcome, error) {
	t.Helper()
	f.revoked = map[string]time.Time{}
	server := httptest.NewServer(f)
	t.Cleanup(server.Close)
	address := strings.TrimPrefix(server.URL, "http://")
	c.Daemon = &Daemon{current: &child.Daemon{Public: address, Operations: address}, client: server.Client()}
	c.Rounds, c.Rate, c.Quiet, c.Progress = 1, 50, []string{"quiet"}, t.Logf
	for i := range max(1, c.KeysNeeded(1)-f.missing) {
		c.Keys = append(c.Keys, fmt.Sprint("key ", i))
	}
	c.Revoke = func(_ context.Context, key int) error { f.revoke(c.Keys[key]); return nil }
	c.Faults = []Fault{{Name: "outage", Begin: func(context.Context) (func() error, error) {
		f.setDown(true)
		return func() error { f.setDown(false); return nil }, nil
	}}, {Name: "impossible", How: "no"}, {Name: "refused", Begin: func(context.Context) (func() error, error) {
		return nil, fmt.Errorf("%w: a reason", ErrNotPossible)
	}}}
	return Run(t.Context(), *c)
}

// TestDelaysOfAnHonestDaemon: the delays of a daemon whose delays are known.
func TestDelaysOfAnHonestDaemon(t *testing.T) {
	f := &fakeDaemon{late: 30 * time.Millisecond, staleness: 200 * time.Millisecond}
	o, err := f.measure(t, &Config{MaxStale: time.Minute, For: 200 * time.Millisecond})
	if err != nil || len(o.Failures()) != 0 {
		t.Fatalf("%v, %q", err, o.Failures())
	}
	m := o.Measurements[0]
	if m.Rounds != 1 || m.Revocations == 0 || m.Unavailable == 0 || m.Unanswered != 0 {
		t.Errorf("got %+v", m)
	}
	if got := m.Histograms.max(FirstRefusal); got < f.late {
		t.Errorf("the first refusal was after %v, want at least %v", got, f.late)
	}
	if got := time.Duration(m.Histograms[UnavailableAfterBegin].Min()); got > m.Lasted {
		t.Errorf("the first UNAVAILABLE is %v after the beginning", got)
	}
	// A histogram has three significant digits.
	if got := m.Histograms.max(Staleness).Round(time.Millisecond); got != f.staleness {
		t.Errorf("the staleness is %v, want %v", got, f.staleness)
	}
	if got := o.Measurements[1]; got.Rounds != 0 || got.How != "no" {
		t.Errorf("the fault that is not possible: %+v", got)
	}
	if got := o.Measurements[2]; got.Rounds != 0 || !strings.Contains(got.How, "a reason") {
		t.Errorf("the fault that the server refuses: %+v", got)
	}
	checkLog(t, o)
}

// checkLog writes and reads the histograms.
func checkLog(t *testing.T, o *Outcome) {
	t.Helper()
	var log bytes.Buffer
	if err := o.WriteLog(&log); err != nil {
		t.Fatal(err)
	}
	read := &Outcome{}
	for _, m := range o.Measurements {
		read.Measurements = append(read.Measurements, &Measurement{Fault: m.Fault})
	}
	text := log.String()
	if err := read.ReadLog(&log); err != nil {
		t.Fatal(err)
	}
	for i, m := range o.Measurements {
		got := read.Measurements[i].Histograms
		if len(got) != len(m.Histograms) {
			t.Errorf("%s: read %d distributions, want %d", m.Fault, len(got), len(m.Histograms))
		}
		for name, h := range m.Histograms {
			if got[name] == nil || !got[name].Equals(h) {
				t.Errorf("%s/%s is not what was written", m.Fault, name)
			}
		}
	}
	if err := (&Outcome{}).ReadLog(strings.NewReader(text)); err == nil {
		t.Error("a log of other faults was accepted")
	}
}

// TestLateDaemonIsFound: the run says what a daemon did wrong.
func TestLateDaemonIsFound(t *testing.T) {
	const maxStale = 50 * time.Millisecond
	for want, f := range map[string]*fakeDaemon{
		"of its revocation": {late: 4 * maxStale, staleness: 10 * maxStale},
		"claims to contain": {late: maxStale},
		"a staleness of":    {staleness: 2 * maxStale},
	} {
		o, err := f.measure(t, &Config{MaxStale: maxStale, For: 100 * time.Millisecond})
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(strings.Join(o.Failures(), "\n"), want) {
			t.Errorf("%q is not in %q", want, o.Failures())
		}
	}
}

// TestJudge: the rules for one revoked key, and for one answer about a valid key.
func TestJudge(t *testing.T) {
	const maxStale = time.Second
	at := time.Now()
	after := func(d time.Duration) time.Time { return at.Add(d) }
	refused := answer{code: auth.Disabled, received: after(2 * time.Second)}
	for name, test := range map[string]struct {
		revocation revocation
		want       string
	}{
		"accepted at the limit":   {revocation{acknowledgedAt: at, refused: refused, accepted: answer{sent: after(maxStale)}}, ""},
		"accepted too late":       {revocation{acknowledgedAt: at, refused: refused, accepted: answer{sent: after(maxStale + 1)}}, "more than max_stale"},
		"accepted again":          {revocation{acknowledgedAt: at, refused: answer{code: auth.Disabled, received: after(1)}, accepted: answer{sent: after(2 * maxStale)}}, "more than max_stale"},
		"accepted by a false age": {revocation{acknowledgedAt: at, refused: refused, newest: after(1)}, "claims to contain"},
		"never acknowledged":      {revocation{refused: refused}, "not acknowledged"},
		"never refused":           {revocation{acknowledgedAt: at}, "not refused"},
		"unknown":                 {revocation{acknowledgedAt: at, refused: refused, wrong: auth.NotFound}, "NOT_FOUND"},
	} {
		var m Measurement
		m.judge(&test.revocation, maxStale)
		if got := strings.Join(m.Violations, "\n"); (test.want == "") != (got == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
	for name, test := range map[string]struct {
		answer answer
		want   string
	}{
		"valid":       {answer{code: auth.Valid, hasAge: true, staleness: maxStale}, ""},
		"unavailable": {answer{code: auth.Unavailable}, ""},
		"no answer":   {answer{code: noAnswer}, ""},
		"refused":     {answer{code: auth.NotFound}, "NOT_FOUND"},
		"too old":     {answer{code: auth.Valid, hasAge: true, staleness: maxStale + 2*wireRounding}, "a staleness of"},
	} {
		var m Measurement
		m.judgeQuiet(&test.answer, maxStale)
		if got := strings.Join(m.Violations, "\n"); (test.want == "") != (got == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}

// TestFaultWithoutEffectIsAnError: nothing was measured then.
func TestFaultWithoutEffectIsAnError(t *testing.T) {
	for _, test := range []struct {
		effect Effect
		m      Measurement
		long   bool
		fails  bool
	}{
		{AnyEffect, Measurement{Rounds: 1}, true, false},
		{Outage, Measurement{Rounds: 1}, true, true},
		{Outage, Measurement{Rounds: 1}, false, false},
		{Outage, Measurement{Rounds: 1, Unavailable: 1}, true, false},
		{Loss, Measurement{Rounds: 2, Losses: 1}, false, true},
		{Loss, Measurement{Rounds: 2, Losses: 2}, false, false},
	} {
		if err := test.m.checkEffect(&Fault{Effect: test.effect}, test.long); (err != nil) != test.fails {
			t.Errorf("%+v: got %v", test, err)
		}
	}
}

// TestAFaultThatIsMadeInPartIsEnded: a server that was stopped must not stay so, whatever comes after it.
func TestAFaultThatIsMadeInPartIsEnded(t *testing.T) {
	failed, broken := errors.New("the command failed"), errors.New("it cannot be healed")
	ends := 0
	f := Fault{Begin: func(context.Context) (func() error, error) {
		return func() error { ends++; return broken }, failed
	}}
	_, _, err := (&run{}).cause(t.Context(), &f)
	if ends != 1 || !errors.Is(err, failed) || !errors.Is(err, broken) {
		t.Errorf("it was ended %d times, and the error is %v", ends, err)
	}
}

// TestKeysThatRunOutAreAnError: a run never has fewer revocations than it says.
func TestKeysThatRunOutAreAnError(t *testing.T) {
	f := &fakeDaemon{missing: 1 << 20}
	if _, err := f.measure(t, &Config{MaxStale: time.Second, For: 100 * time.Millisecond}); !errors.Is(err, errKeys) {
		t.Errorf("got %v, want %v", err, errKeys)
	}
}
