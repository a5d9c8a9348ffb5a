package preload

import (
	"time"

	"github.com/keytail/keytail/internal/timing"
)

// firstPause follows the first repair.
const firstPause = time.Second

// repairPace limits the rate of repairs, which are scans that make the cache
// complete again: the first one is made immediately, and each one that follows
// soon after doubles the pause before the next. The causes for which a cache is
// no longer complete come from outside, so without this limit anyone who writes
// to the collection could decide how often all of it is read.
type repairPace struct {
	// longest is the longest pause. A request that comes this long after the
	// last scan starts over with the shortest pause.
	longest time.Duration
	// pause is the time before the next repair. Zero: none.
	pause time.Duration
	// ended is when the last scan of any kind ended, next when a repair may
	// follow it.
	ended, next time.Time
	// random is Config.Random.
	random func() float64
}

// earliest returns when a repair may begin that was requested at this time.
func (p *repairPace) earliest(requested time.Time) time.Time {
	if requested.Sub(p.ended) >= p.longest {
		p.pause, p.next = 0, time.Time{}
	}
	return p.next
}

// scanned records a scan that has ended. Only a repair makes the pause longer.
func (p *repairPace) scanned(now time.Time, repair bool) {
	p.ended = now
	if repair {
		p.pause = min(max(2*p.pause, firstPause), p.longest)
	}
	p.next = now.Add(timing.JitterBy(p.random, p.pause, jitter))
}

// The first scans of epochs are not paced like repairs, because until the first
// scan the cache is empty. But each loss of the stream's history requests one,
// and someone who can cause losses (docs/security.md) must not be able to make
// every instance read the collection all the time.
const (
	// firstScans within firstScansWindow begin immediately: more than the
	// elections and restarts of a database cause.
	firstScans       = 10
	firstScansWindow = time.Minute
	// firstScanPause is the time between those that follow: meanwhile, keys are
	// read on demand.
	firstScanPause = 5 * time.Second
)

// firstScanPace remembers when the last first scans of epochs ended, the oldest
// at next.
type firstScanPace struct {
	ended [firstScans]time.Time
	next  int
}

// earliest returns when a first scan may begin that was requested at this time.
// Zero: immediately.
func (f *firstScanPace) earliest(requested time.Time) time.Time {
	if oldest := f.ended[f.next]; oldest.IsZero() || requested.Sub(oldest) >= firstScansWindow {
		return time.Time{}
	}
	newest := f.ended[(f.next+firstScans-1)%firstScans]
	return newest.Add(firstScanPause)
}

func (f *firstScanPace) scanned(now time.Time) {
	f.ended[f.next] = now
	f.next = (f.next + 1) % firstScans
}

// optionalShare is the part of the time, as a divisor, that optional scans take
// at most: however often they are requested, nine times the duration of a scan
// passes between two of them.
const optionalShare = 10
