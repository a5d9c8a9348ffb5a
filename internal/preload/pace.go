package preload

import "time"

// firstPause follows the first repair.
const firstPause = time.Second

// pace spaces the scans that repair the completeness, whatever has ended it: the
// first one is made at once, and each one that follows soon after doubles the
// pause before the next. What ends the completeness comes from outside, so without
// this anybody who writes to the collection decides how often all of it is read.
type pace struct {
	// longest is the longest pause. A request that comes as long after the last scan
	// starts over.
	longest time.Duration
	// pause is before the next repair. Zero: there is none.
	pause time.Duration
	// ended is when the last scan of any kind did, next when a repair may follow it.
	ended, next time.Time
}

// earliest is when a repair may begin that was asked for at this time.
func (p *pace) earliest(asked time.Time) time.Time {
	if asked.Sub(p.ended) >= p.longest {
		p.pause, p.next = 0, time.Time{}
	}
	return p.next
}

// scanned takes note of a scan that has ended. Only a repair makes the pause longer.
func (p *pace) scanned(now time.Time, repair bool) {
	p.ended = now
	if repair {
		p.pause = min(max(2*p.pause, firstPause), p.longest)
	}
	p.next = now.Add(spread(p.pause))
}

// The first scans of epochs are not paced like repairs: until then nothing is held.
// But each loss asks for one, and whoever can cause losses (docs/security.md) must
// not be able to make every instance read the collection all the time.
const (
	// firstScans within firstScansWindow begin at once: more than elections and
	// restarts of a database cause.
	firstScans       = 10
	firstScansWindow = time.Minute
	// firstScanPause is between those that follow: keys are read on demand meanwhile.
	firstScanPause = 5 * time.Second
)

// firsts remembers when the last first scans of epochs ended, the oldest at next.
type firsts struct {
	ended [firstScans]time.Time
	next  int
}

// earliest is when a first scan may begin that was asked for at this time. Zero: at
// once.
func (f *firsts) earliest(asked time.Time) time.Time {
	if oldest := f.ended[f.next]; oldest.IsZero() || asked.Sub(oldest) >= firstScansWindow {
		return time.Time{}
	}
	newest := f.ended[(f.next+firstScans-1)%firstScans]
	return newest.Add(firstScanPause)
}

func (f *firsts) scanned(now time.Time) {
	f.ended[f.next] = now
	f.next = (f.next + 1) % firstScans
}
