package keycache

import (
	"time"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/guard"
)

// Freshness says that every change acknowledged before AsOf has been applied.
type Freshness struct {
	// AsOf is a time of this machine's clock, with its monotonic reading.
	AsOf time.Time
	// Processed is the cluster time up to which all changes have been applied.
	// Zero: not known.
	Processed clustertime.Time
	// epoch in which it was set: cluster times of two epochs are not compared.
	epoch uint64
}

// Fresh moves the freshness up. It may be called from several goroutines, and
// nothing moves back: an AsOf before the last is ignored, and within an epoch
// Processed only rises. Every change that f covers has been applied before the
// call: a caller that is not the stream's owner has to know that from the owner,
// by a channel, a lock or an atomic.
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

// Freshness is the last one that was set, nil before the first. To answer by a
// read of its own a caller loads it before Begin, and passes it to Age after.
func (c *Cache) Freshness() *Freshness { return c.fresh.Load() }

// Age makes the frame of an answer that is as old as fresh, and reports whether
// it is young enough to be given.
func (c *Cache) AnswerAsOf(fresh *Freshness, now time.Time) (Answer, bool) {
	if fresh == nil {
		return Answer{}, false
	}
	age := Elapsed(fresh.AsOf, now)
	if guard.MaxStale && age > c.config.MaxStale {
		return Answer{}, false
	}
	return Answer{AsOf: fresh.AsOf, Now: now, Staleness: age, Revision: fresh.Processed}, true
}

// Elapsed is the time between two readings of this machine's clock: the larger
// of what its monotonic and its wall part say. The monotonic clock stands still
// while a machine is suspended (CLOCK_MONOTONIC of clock_gettime(2)), the wall
// clock can be set back; an age may be overstated, never understated. Not
// negative.
func Elapsed(from, to time.Time) time.Duration {
	monotonic := to.Sub(from)
	wall := to.Round(0).Sub(from.Round(0))
	return max(monotonic, wall, 0)
}
