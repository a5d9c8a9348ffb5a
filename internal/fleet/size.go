package fleet

import "time"

const (
	// sizeWindow is how long an instance whose heartbeat does not change counts towards the size. Where
	// heartbeats are rarer, it counts for one and a half of its intervals.
	sizeWindow = time.Minute
	// maxSize limits the size, because whoever may write heartbeats decides how many documents there are.
	// No replica set has connections for more instances (docs/scale.md).
	maxSize = 5000
)

// Size is about how many instances use the collection, with this one: those whose heartbeat has
// changed within the last minute. At least 1, at most 5,000. Use it to spread load, and for nothing
// that must be right.
func (f *Fleet) Size() int { return min(max(1, int(f.size.Load())), maxSize) }

// countRecent counts the documents whose heartbeat changed recently.
func (m *observations) countRecent(now time.Time) int {
	n := 0
	for _, seen := range m.seen {
		if now.Sub(seen.since) <= max(sizeWindow, min(seen.interval*3/2, longestMaxStale)) {
			n++
		}
	}
	return n
}
