package changestream

import (
	"sync"
	"time"

	"github.com/keytail/keytail/internal/clustertime"
)

// remembered is how many heartbeats' times are kept: an older one than that
// comes back without proving anything. One is in flight at a time, so more than
// a few are out only while the stream is far behind.
const remembered = 64

// nonces remembers which heartbeats have been sent, acknowledged, and come back.
// Numbers count from 1; they mean nothing without the boot id in the document's
// _id. The zero value is ready to use.
type nonces struct {
	mutex sync.Mutex
	// sent has the times of the last heartbeats, heartbeat n at n % remembered.
	sent [remembered]sending
	last int64
	// place is how far in the log the stream is known to have got, in collection
	// scope.
	place clustertime.Time
	// returned is the newest heartbeat that came back.
	returned int64
	// acknowledged is the newest that was acknowledged.
	acknowledged sending
	// waitingSince is when a heartbeat was acknowledged that has not come back,
	// nor any after it. Zero: there is none.
	waitingSince time.Time
}

// sending is a heartbeat: its number, and the time before it was sent.
type sending struct {
	n  int64
	at time.Time
	// place is that of the stream when it was sent. acked is the operationTime of
	// the acknowledgement; zero: there was none that can be compared with a place.
	place, acked clustertime.Time
}

// send numbers a heartbeat that is about to be sent at now.
func (m *nonces) send(now time.Time) int64 {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.last++
	m.sent[m.last%remembered] = sending{n: m.last, at: now, place: m.place}
	return m.last
}

// acknowledge takes note that a majority has heartbeat n, as of operationTime at.
// A time before the place that the stream had when the heartbeat was sent means
// that the server's time has gone back, as after a restore from a backup: then
// the place proves nothing.
func (m *nonces) acknowledge(n int64, at clustertime.Time, now time.Time) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if s := &m.sent[n%remembered]; s.n == n && at >= s.place {
		s.acked = at
	}
	if m.acknowledged.n < n {
		m.acknowledged = m.sent[n%remembered]
	}
	if n > m.returned && m.waitingSince.IsZero() {
		m.waitingSince = now
	}
}

// comeBack is called when heartbeat n arrives in the stream. It returns the time
// before it was sent; false when no such heartbeat is remembered.
func (m *nonces) comeBack(n int64) (time.Time, bool) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if n <= 0 || m.sent[n%remembered].n != n {
		return time.Time{}, false
	}
	m.returned = max(m.returned, n)
	if m.returned >= m.acknowledged.n {
		m.waitingSince = time.Time{}
	} else if n == m.returned {
		// Others are on their way. They were acknowledged before now: the wait for
		// them is understated, which delays a reopening a little.
		m.waitingSince = m.acknowledged.at
	}
	return m.sent[n%remembered].at, true
}

// begin notes the place from which a stream is opened, zero for a new one.
func (m *nonces) begin(place clustertime.Time) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.place = place
}

// reach notes that all up to place has been applied. It returns the newest
// heartbeat that this covers and that has not come back, else zero.
func (m *nonces) reach(place clustertime.Time) int64 {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.place = max(m.place, place)
	for n := m.last; n > m.returned && n > m.last-remembered; n-- {
		if acked := m.sent[n%remembered].acked; acked != 0 && acked <= place {
			return n
		}
	}
	return 0
}

// any reports whether a heartbeat was sent at all.
func (m *nonces) any() bool {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.last > 0
}

// overdue reports whether the stream, open since opened, has kept back an
// acknowledged heartbeat for longer than limit.
func (m *nonces) overdue(opened, now time.Time, limit time.Duration) bool {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	since := m.waitingSince
	if since.IsZero() {
		return false
	}
	if since.Before(opened) {
		since = opened
	}
	return now.Sub(since) > limit
}

// keptBack reports whether a heartbeat that was sent after opened has been
// acknowledged and has not come back.
func (m *nonces) keptBack(opened time.Time) bool {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.acknowledged.n > m.returned && m.acknowledged.at.After(opened)
}
