package service

import (
	"errors"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/validator"
)

// statesUnderTest is a stateLog whose time a test moves.
type statesUnderTest struct {
	stateLog
	at   time.Time
	logs *observer.ObservedLogs
}

func newStatesUnderTest() *statesUnderTest {
	core, logs := observer.New(zap.DebugLevel)
	s := &statesUnderTest{at: time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC), logs: logs}
	s.stateLog = stateLog{logger: zap.New(core), now: func() time.Time { return s.at }, cause: func(state State) cause {
		return cause{what: "cause of " + string(state), err: errors.New("no primary"), since: s.at, advice: "look", next: "again"}
	}}
	return s
}

// spend lets time pass in a state, which is looked at each second.
func (s *statesUnderTest) spend(state State, d time.Duration) {
	for end := s.at.Add(d); s.at.Before(end); s.at = s.at.Add(time.Second) {
		s.see(state)
	}
}

// one takes the only line since the last call.
func (s *statesUnderTest) one(t *testing.T) (level zapcore.Level, message string, fields map[string]any) {
	t.Helper()
	lines := s.logs.TakeAll()
	if len(lines) != 1 {
		t.Fatalf("%d log lines, want 1: %v", len(lines), lines)
	}
	return lines[0].Level, lines[0].Message, lines[0].ContextMap()
}

// TestAnOutageInTheLog is read at three in the morning: its begin with the cause, a reminder for
// each minute, and its length.
func TestAnOutageInTheLog(t *testing.T) {
	s := newStatesUnderTest()
	s.spend(Live, 10*time.Minute)
	if level, message, _ := s.one(t); level != zap.InfoLevel || message != "state changed" {
		t.Errorf("live: %v %s", level, message)
	}

	s.spend(Stale, 30*time.Second)
	level, message, fields := s.one(t)
	if level != zap.WarnLevel || message != "state changed" || fields["from"] != "live" || fields["to"] != "stale" {
		t.Errorf("stale: %v %s %v", level, message, fields)
	}
	for name, want := range map[string]any{"cause": "cause of stale", "error": "no primary", "advice": "look", "next": "again"} {
		if fields[name] != want {
			t.Errorf("stale: %s is %v, want %v", name, fields[name], want)
		}
	}
	if fields["failing_since"] == nil || fields["effect"] == nil {
		t.Errorf("stale: %v", fields)
	}

	s.spend(Down, 3*time.Minute)
	lines := s.logs.TakeAll()
	if len(lines) != 3 {
		t.Fatalf("3 minutes down have %d lines: %v", len(lines), lines)
	}
	for i, line := range lines {
		if line.Level != zap.ErrorLevel || line.ContextMap()["cause"] != "cause of down" {
			t.Errorf("down, line %d: %v %v", i, line.Level, line.ContextMap())
		}
	}
	if last := lines[2].ContextMap(); lines[2].Message != "keytail is still not live" || last["for"] != 2*time.Minute || last["outage"] != 150*time.Second {
		t.Errorf("the reminder: %s %v", lines[2].Message, last)
	}

	s.spend(Live, 10*time.Minute)
	level, _, fields = s.one(t)
	if level != zap.InfoLevel || fields["outage"] != 210*time.Second || fields["down_for"] != 3*time.Minute {
		t.Errorf("recovery: %v %v", level, fields)
	}

	s.spend(Stale, time.Second)
	s.logs.TakeAll()
	s.at = s.at.Add(400 * time.Nanosecond) // nobody reads these
	s.spend(Live, time.Second)
	if _, _, fields := s.one(t); fields["outage"] != time.Second || fields["down_for"] != time.Duration(0) {
		t.Errorf("the next outage begins anew: %v", fields)
	}
}

// TestALossDoesNotEndAnOutage: the stream has not been fresh yet.
func TestALossDoesNotEndAnOutage(t *testing.T) {
	s := newStatesUnderTest()
	s.spend(Live, time.Second)
	s.spend(Stale, 5*time.Second)
	s.logs.TakeAll()
	s.spend(Connecting, 5*time.Second)
	if _, _, fields := s.one(t); fields["outage"] != nil {
		t.Errorf("connecting: %v", fields)
	}
	s.spend(Preloading, 5*time.Second)
	if _, _, fields := s.one(t); fields["outage"] != 10*time.Second {
		t.Errorf("preloading: %v", fields)
	}
}

// TestAServiceThatIsNeverLive says so each minute, too.
func TestAServiceThatIsNeverLive(t *testing.T) {
	s := newStatesUnderTest()
	s.spend(Connecting, 2*time.Minute+time.Second)
	lines := s.logs.TakeAll()
	if len(lines) != 3 || lines[0].Level != zap.InfoLevel || lines[2].Level != zap.WarnLevel {
		t.Errorf("connecting: %v", lines)
	}
	s.spend(Preloading, 2*time.Minute)
	if lines = s.logs.TakeAll(); len(lines) != 2 || lines[1].Level != zap.InfoLevel || lines[1].ContextMap()["outage"] != nil {
		t.Errorf("preloading: %v", lines)
	}
}

// TestStatesThatAlternate do not fill the log.
func TestStatesThatAlternate(t *testing.T) {
	s := newStatesUnderTest()
	s.spend(Live, time.Second)
	s.logs.TakeAll()
	for range 15 {
		s.spend(Stale, time.Second)
		s.spend(Down, time.Second)
	}
	lines := s.logs.TakeAll()
	// live to stale once; each of the two others at 1, 11 and 21 s.
	if len(lines) != 7 {
		t.Fatalf("%d lines: %v", len(lines), lines)
	}
	if more := lines[len(lines)-1].ContextMap()["not_logged"]; more != int64(4) {
		t.Errorf("the last line has not counted what was left out: %v", lines[len(lines)-1].ContextMap())
	}
	s.spend(Live, time.Second)
	if _, _, fields := s.one(t); fields["outage"] != 30*time.Second || fields["down_for"] != 15*time.Second {
		t.Errorf("recovery: %v", fields)
	}
}

func TestCauses(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	since, broken := now.Add(-time.Minute), errors.New("broken")
	failed := &changestream.Failure{Since: since, At: now, Err: broken, Advice: "mend"}
	resuming := changestream.Diagnosis{Activity: changestream.Resuming, Until: now.Add(2 * time.Second), Failure: failed}
	for name, test := range map[string]struct {
		parts parts
		what  string
		next  string
	}{
		"before the start":     {parts{state: Connecting}, causeOpening, "not been started"},
		"opening":              {parts{state: Connecting, stream: changestream.Diagnosis{Activity: changestream.Opening, Until: now.Add(time.Second)}}, causeOpening, "being opened; if that takes another 1s, keytail tries again"},
		"the stream fails":     {parts{state: Stale, stream: resuming}, causeStream, "being resumed; if that takes another 2s, keytail tries again"},
		"pausing":              {parts{state: Stale, stream: changestream.Diagnosis{Activity: changestream.Pausing, Until: now.Add(1234 * time.Millisecond), Failure: failed}}, causeStream, "opened again in 1.2s"},
		"overdue":              {parts{state: Stale, stream: changestream.Diagnosis{Activity: changestream.Opening, Until: since}}, causeOpening, "takes another 0s"},
		"no write":             {parts{state: Stale, heartbeat: failed, stream: resuming}, causeHeartbeats, "a heartbeat every 1s; the change stream is being resumed"},
		"nothing arrives":      {parts{state: Stale, stream: changestream.Diagnosis{Activity: changestream.Reading}}, causeSilence, "waits for a heartbeat"},
		"neither":              {parts{state: Down, heartbeat: failed, read: &validator.ReadFailure{Since: since, At: now, Err: broken}}, causeHeartbeats, "with the next request; a heartbeat every 1s"},
		"no read":              {parts{state: Down, read: &validator.ReadFailure{Since: since, At: now, Err: broken}}, causeReads, "with the next request; the change stream"},
		"reads fail no longer": {parts{state: Stale, heartbeat: failed, read: &validator.ReadFailure{Since: since, At: now, Err: broken}}, causeHeartbeats, "a heartbeat"},
		"scanning":             {parts{state: Preloading, stream: changestream.Diagnosis{Activity: changestream.Reading}}, causeScan, "scan"},
	} {
		test.parts.now, test.parts.interval = now, time.Second
		c := test.parts.cause()
		if c.what != test.what || !strings.Contains(c.next, test.next) {
			t.Errorf("%s: %q, next %q", name, c.what, c.next)
		}
		if (test.parts.state == Down) != errors.Is(c.readErr, broken) {
			t.Errorf("%s: the error of reads is %v", name, c.readErr)
		}
		failing := c.what == causeStream || c.what == causeHeartbeats || c.what == causeReads
		if (failing && c.what != causeReads) != errors.Is(c.err, broken) || failing == c.since.IsZero() || failing != (c.advice != "") {
			t.Errorf("%s: %+v", name, c)
		}
	}
}
