package keycache

import (
	"time"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/guard"
)

// Freshness means that every change acknowledged before AsOf has been applied.
type Freshness struct {
	// AsOf is a time of this machine's clock, with its monotonic reading.
	AsOf time.Time
	// Processed is the cluster time up to which all changes have been applied. Zero: unknown.
	Processed clustertime.Time
	// epoch is the epoch in which it was set: cluster times of two epochs are not compared.
	epoch uint64
}

// Fresh moves the freshness up. Several goroutines may call it. Nothing moves back: an AsOf before
// the last one is ignored, and within an epoch Processed only rises. Every change that f covers
// must have been applied before the call. A caller that is not the stream's owner must know that
// from the owner, by a channel, a lock or an atomic.
func (c *Cache) Fresh(f Freshness) {
	c.freshMutex.Lock()
	defer c.freshMutex.Unlock()
	f.epoch = c.epoch.Load()
	if last := c.fresh.Load(); last != nil {
		if f.AsOf.Before(last.AsOf) {
			return
		}
		if f.epoch == last.epoch {
			f.Processed = max(f.Processed, last.Processed)
		}
	}
	c.fresh.Store(&f)
}

// Freshness is the last freshness that was set, nil before the first. To answer by a read of its
// own, a caller loads it before Begin and passes it to AnswerAsOf afterwards.
func (c *Cache) Freshness() *Freshness { return c.fresh.Load() }

// AnswerAsOf makes an Answer, without a Finding, that is as old as fresh. False: fresh is nil or
// older than MaxStale, so there is no answer.
func (c *Cache) AnswerAsOf(fresh *Freshness, now time.Time) (a Answer, ok bool) {
	ok = c.answerAsOf(fresh, now, &a)
	return a, ok
}

func (c *Cache) answerAsOf(fresh *Freshness, now time.Time, a *Answer) bool {
	if fresh == nil {
		return false
	}
	age := Elapsed(fresh.AsOf, now)
	if guard.MaxStale && age > c.config.MaxStale {
		return false
	}
	a.AsOf, a.Now, a.Staleness, a.Revision = fresh.AsOf, now, age, fresh.Processed
	return true
}

// Elapsed is the time between two readings of this machine's clock: the larger of what the
// monotonic and the wall clock show. The monotonic clock stops while a machine is suspended
// (CLOCK_MONOTONIC of clock_gettime(2)), and the wall clock can be set back. So an age may be
// overstated, but is never understated. It is never negative.
func Elapsed(from, to time.Time) time.Duration {
	// If one of them has no monotonic reading, Sub compares the wall clock.
	wall := time.Duration(to.UnixNano() - from.UnixNano())
	return max(to.Sub(from), wall, 0)
}
