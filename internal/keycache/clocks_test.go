package keycache

import (
	"testing"
	"time"
	"unsafe"

	"github.com/keytail/keytail/internal/apikey"
)

// moved is a reading of both clocks some time after base: one duration later on the
// monotonic clock, another on the wall clock. Package time has no function for that,
// so the monotonic reading (the second word of a Time) is written directly. The test
// below would fail if it were stored elsewhere.
func moved(base time.Time, monotonic, wall time.Duration) time.Time {
	t := base.Add(wall)
	(*[2]int64)(unsafe.Pointer(&t))[1] += int64(monotonic - wall)
	return t
}

func TestMovedMovesEachClockSeparately(t *testing.T) {
	base := time.Now()
	got := moved(base, 3*time.Second, -time.Hour)
	if d := got.Sub(base); d != 3*time.Second {
		t.Errorf("the monotonic clock moved by %v", d)
	}
	if d := got.Round(0).Sub(base.Round(0)); d != -time.Hour {
		t.Errorf("the wall clock moved by %v", d)
	}
}

// clockCache is a cache that was fresh at base.
func clockCache(t *testing.T, base time.Time) *Cache {
	t.Helper()
	c, err := New(Config{SizeMiB: 8, MaxStale: 15 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	c.Fresh(Freshness{AsOf: base, Processed: 7})
	return c
}

// age returns how old the data are, and whether an answer may be given.
func age(c *Cache, now time.Time) (time.Duration, bool) {
	answer, ok := c.AnswerAsOf(c.Freshness(), now)
	return answer.Staleness, ok
}

func TestClockSetBackChangesNothingButExpiry(t *testing.T) {
	base := time.Now()
	c := clockCache(t, base)
	if got, ok := age(c, moved(base, 10*time.Second, 10*time.Second-time.Hour)); !ok || got != 10*time.Second {
		t.Errorf("10 s later: age %v, %v", got, ok)
	}
	if _, ok := age(c, moved(base, 16*time.Second, 16*time.Second-time.Hour)); ok {
		t.Error("16 s later the answer is still given")
	}
	// The freshness still moves: the next heartbeat's time is later by the monotonic clock.
	next := moved(base, 20*time.Second, 20*time.Second-time.Hour)
	c.Fresh(Freshness{AsOf: next, Processed: 8})
	if got, ok := age(c, moved(base, 21*time.Second, 21*time.Second-time.Hour)); !ok || got != time.Second || c.Freshness().Processed != 8 {
		t.Errorf("a second after the next heartbeat: age %v, %v", got, ok)
	}
	// A time from the database has no monotonic part: the wall clock decides.
	record := apikey.Record{UserID: "u", Active: true, ExpiresAt: base.Round(0).Add(-time.Minute)}
	if got := apikey.Decide(&record, &apikey.Request{}, base); got != apikey.Expired {
		t.Errorf("a minute past its expiry the key is %v", got)
	}
	if got := apikey.Decide(&record, &apikey.Request{}, moved(base, 0, -time.Hour)); got != apikey.Valid {
		t.Errorf("by a clock an hour earlier the key is %v", got)
	}
}

func TestClockSetForwardCostsOneHeartbeat(t *testing.T) {
	base := time.Now()
	c := clockCache(t, base)
	if got, ok := age(c, moved(base, time.Second, time.Hour)); ok {
		t.Errorf("an answer of age %v is given", got)
	}
	c.Fresh(Freshness{AsOf: moved(base, 2*time.Second, time.Hour+time.Second), Processed: 8})
	if got, ok := age(c, moved(base, 3*time.Second, time.Hour+2*time.Second)); !ok || got != time.Second {
		t.Errorf("after the next heartbeat: age %v, %v", got, ok)
	}
}

func TestSuspendIsAnAge(t *testing.T) {
	base := time.Now()
	c := clockCache(t, base)
	if got := Elapsed(base, moved(base, time.Millisecond, 8*time.Hour)); got != 8*time.Hour {
		t.Errorf("after a night of suspend the age is %v", got)
	}
	if _, ok := age(c, moved(base, time.Millisecond, 8*time.Hour)); ok {
		t.Error("data from before the suspend are used after it")
	}
}
