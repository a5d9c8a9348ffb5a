package lograte

import (
	"testing"
	"time"
)

func TestOneLineInEachInterval(t *testing.T) {
	t.Parallel()
	var l Limiter
	start := time.Date(2026, 11, 30, 8, 0, 0, 0, time.UTC)
	for _, step := range []struct {
		after   time.Duration
		skipped int
		ok      bool
	}{
		{0, 0, true},
		{time.Second, 0, false},
		{Interval - 1, 0, false},
		{Interval, 2, true},
		{Interval + 1, 0, false},
		{5 * Interval, 1, true},
		{9 * Interval, 0, true},
	} {
		if skipped, ok := l.Allow(start.Add(step.after)); skipped != step.skipped || ok != step.ok {
			t.Errorf("after %v: got %d, %v, want %d, %v", step.after, skipped, ok, step.skipped, step.ok)
		}
	}
}
