package fleet

import "time"

// memory is what this instance has seen of the list so far: for each document the
// heartbeat that it holds, and when that was seen for the first time. It belongs
// to Run's goroutine.
//
// Times are compared by their monotonic readings (time.Time.Sub), which a wall
// clock that is set has no part in. The monotonic clock of a machine that is
// suspended stands still, so the time between two of its readings is never more
// than what has really passed: an instance is dropped late, never early. (An age
// has to be overstated, not understated: keycache.Elapsed takes the larger of two
// clocks, and would be wrong here.)
type memory struct {
	seen map[string]sighting
}

// sighting is a heartbeat, and when it was seen for the first time.
type sighting struct {
	version string
	since   time.Time
}

// see takes in a look at the list that ended at now, and sets since in each
// heartbeat. What is not on the list any more is forgotten.
func (m *memory) see(all []heartbeat, now time.Time) {
	seen := make(map[string]sighting, len(all))
	for i := range all {
		h := &all[i]
		last, known := m.seen[h.key]
		if !known || last.version != h.version {
			last = sighting{h.version, now}
		}
		seen[h.key], h.since = last, last.since
	}
	m.seen = seen
}
