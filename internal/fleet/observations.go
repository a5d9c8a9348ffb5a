package fleet

import "time"

// observations is what this instance has seen of the list so far: for each
// document the heartbeat that it has, and when that heartbeat was first seen.
// It belongs to Run's goroutine.
//
// Times are compared by their monotonic readings (time.Time.Sub), which do not
// change if the wall clock is set. The monotonic clock of a machine that is
// suspended stops, so the difference of two readings is never more than
// the time that has really passed: an instance is dropped late, never early.
// (An age must be overestimated, not underestimated: keycache.Elapsed takes the
// larger of two clocks, and would be wrong here.)
type observations struct {
	seen map[string]observation
}

// observation is a heartbeat, and when it was first seen. interval is how much
// later than the heartbeat before it; zero if there was none.
type observation struct {
	version  string
	since    time.Time
	interval time.Duration
}

// update records a read of the list that ended at now, and sets since in each
// heartbeat. It forgets documents that are no longer on the list.
func (m *observations) update(all []heartbeat, now time.Time) {
	seen := make(map[string]observation, len(all))
	for i := range all {
		h := &all[i]
		last, known := m.seen[h.key]
		switch {
		case !known:
			last = observation{version: h.version, since: now}
		case last.version != h.version:
			last = observation{version: h.version, since: now, interval: now.Sub(last.since)}
		}
		seen[h.key], h.since = last, last.since
	}
	m.seen = seen
}
