package timing

import (
	"context"
	"testing"
	"testing/synctest"
	"time"
)

func TestSleepWaitsForItsTime(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		began := time.Now()
		if !Sleep(t.Context(), time.Minute) || time.Since(began) != time.Minute {
			t.Errorf("Sleep of a minute took %v", time.Since(began))
		}
	})
}

func TestSleepEndsWithItsContext(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		ctx, cancel := context.WithTimeout(t.Context(), time.Second)
		defer cancel()
		began := time.Now()
		if Sleep(ctx, time.Minute) || time.Since(began) != time.Second {
			t.Errorf("Sleep took %v, its context ended after a second", time.Since(began))
		}
		if Sleep(ctx, 0) {
			t.Error("Sleep reports an open context after its end")
		}
	})
}

func TestSleepOnUsesTheGivenClock(t *testing.T) {
	var asked time.Duration
	clock := func(d time.Duration) <-chan time.Time {
		asked = d
		passed := make(chan time.Time, 1)
		passed <- time.Time{}
		return passed
	}
	if !SleepOn(t.Context(), clock, time.Hour) || asked != time.Hour {
		t.Errorf("the sleep on the clock was %v, want an hour", asked)
	}
}

func TestJitterStaysWithinItsFraction(t *testing.T) {
	shortest, longest := time.Hour, time.Duration(0)
	for range 1000 {
		d := Jitter(10*time.Second, 0.1)
		shortest, longest = min(shortest, d), max(longest, d)
	}
	if shortest < 9*time.Second || longest > 11*time.Second {
		t.Errorf("Jitter returned %v to %v, want 9 s to 11 s", shortest, longest)
	}
	if longest-shortest < time.Second {
		t.Errorf("Jitter spreads over only %v", longest-shortest)
	}
	if d := Jitter(0, 0.1); d != 0 {
		t.Errorf("Jitter of zero is %v", d)
	}
}
