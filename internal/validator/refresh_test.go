package validator

import (
	"context"
	"errors"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/lograte"
)

// TestAFailedRefreshIsWarnedOfOnceAMinute: a failed refresh is not silent, a flood of them does not
// fill the log, and the end of the process is not a failure.
func TestAFailedRefreshIsWarnedOfOnceAMinute(t *testing.T) {
	core, logs := observer.New(zap.WarnLevel)
	r := live(t, func(c *Config) { c.Logger = zap.New(core) })
	r.store.err = errors.New("no primary")
	ids := []apikey.DocID{"d1", "d2"}
	stopped, stop := context.WithCancel(t.Context())
	stop()
	r.refresh(stopped, ids)
	if n := logs.Len(); n != 0 {
		t.Fatalf("%d lines at the end of the process, want none", n)
	}
	for range 3 {
		r.refresh(t.Context(), ids)
	}
	if n := logs.Len(); n != 1 {
		t.Fatalf("%d lines after three failures, want 1", n)
	}
	r.clock.advance(lograte.Interval + time.Second)
	r.refresh(t.Context(), ids)
	lines := logs.All()
	if len(lines) != 2 {
		t.Fatalf("%d lines a minute later, want 2", len(lines))
	}
	fields := lines[1].ContextMap()
	if fields["keys"] != int64(2) || fields["times_since_last_line"] != int64(3) {
		t.Errorf("got %v, want 2 keys and 3 times", fields)
	}
}
