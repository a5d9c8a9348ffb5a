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
