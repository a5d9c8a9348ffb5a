package changestream

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"sync"
	"time"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/guard"
)

// remembered is how many heartbeats' times are kept: an older one than that
// comes back without proving anything. One is in flight at a time, so more than
// a few are out only while the stream is far behind.
const trackedHeartbeats = 64

// nonces remembers which heartbeats have been sent, acknowledged, and come back.
// A nonce is random, so nobody can write down one that has not been sent yet; the
// order of sending is a sequence number, which proves nothing. The zero value is
// ready to use.
type heartbeatTracker struct {
	mutex sync.Mutex
	// sent has the last heartbeats, the one with sequence number s at s % remembered.
	sent [trackedHeartbeats]sentHeartbeat
	last int64
	// place is how far in the log the stream is known to have got, in collection
	// scope.
	position clustertime.Time
	// returned is the sequence number of the newest heartbeat that came back.
	newestDelivered int64
	// acknowledged is the newest that was acknowledged.
	acknowledged sentHeartbeat
	// waitingSince is when a heartbeat was acknowledged that has not come back,
	// nor any after it. Zero: there is none.
	waitingSince time.Time
	// chain says which heartbeats the document may hold (chain.go).
	chain chain
	// rewound is set when it holds another one, until the loss is declared.
	rewound bool
	// interrupt ends what the tail is waiting for. Nil: it waits for nothing.
	interrupt context.CancelCauseFunc
}

// sending is a heartbeat: its nonce, its sequence number, and the time before it
// was sent.
type sentHeartbeat struct {
	nonce, seq int64
	at         time.Time
	// place is that of the stream when it was sent. acked is the operationTime of
	// the acknowledgement; zero: there was none that can be compared with a place.
	position, acknowledgedTime clustertime.Time
	// anchor is that of the chain when it was sent.
	anchor int64
	// back is set when it has come back: each counts once.
	delivered bool
}

// newNonce draws 63 bits, and never zero: a heartbeat without a nonce reads as zero.
func newNonce(seq int64) int64 {
	if !guard.RandomNonces {
		return seq
	}
	for {
		var b [8]byte
		_, _ = rand.Read(b[:]) // never fails
		if n := int64(binary.LittleEndian.Uint64(b[:]) >> 1); n != 0 {
			return n
		}
	}
}

// send takes note of a heartbeat that is about to be sent at now.
func (m *heartbeatTracker) send(now time.Time) heartbeatWrite {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.last++
	s := sentHeartbeat{nonce: newNonce(m.last), seq: m.last, at: now, position: m.position}
	b := m.addToChain(&s)
	m.sent[s.seq%trackedHeartbeats] = s
	return b
}

// find is nil for a nonce that is not remembered.
func (m *heartbeatTracker) lookup(nonce int64) *sentHeartbeat {
	for i := range m.sent {
		if s := &m.sent[i]; s.seq != 0 && s.nonce == nonce {
			return s
		}
	}
	return nil
}

// acknowledge takes note that a majority has this heartbeat, as of operationTime
// at. A time before the place that the stream had when the heartbeat was sent
// means that the server's time has gone back, as after a restore from a backup:
// then the place proves nothing.
func (m *heartbeatTracker) acknowledge(nonce int64, at clustertime.Time, now time.Time) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	s := m.lookup(nonce)
	if s == nil {
		return
	}
	if at >= s.position {
		s.acknowledgedTime = at
	}
	if m.acknowledged.seq < s.seq {
		m.acknowledged = *s
	}
	if s.seq > m.newestDelivered && m.waitingSince.IsZero() {
		m.waitingSince = now
	}
	m.advanceAnchor(s)
}

// comeBack is called when this heartbeat arrives in the stream. It returns the
// time before it was sent; false when no such heartbeat is expected. firstCursor
// says whether the stream has had one cursor since the history began; without that
// a heartbeat may be one of another history, and comeBack a loss.
func (m *heartbeatTracker) receive(nonce int64, firstCursor bool) (time.Time, bool, error) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	s := m.lookup(nonce)
	if s == nil || s.delivered || m.rewound {
		return time.Time{}, false, nil
	}
	if err := m.verify(s, firstCursor); err != nil {
		return time.Time{}, false, err
	}
	s.delivered = true
	m.newestDelivered = max(m.newestDelivered, s.seq)
	if m.newestDelivered >= m.acknowledged.seq {
		m.waitingSince = time.Time{}
	} else if s.seq == m.newestDelivered {
		// Others are on their way. They were acknowledged before now: the wait for
		// them is understated, which delays a reopening a little.
		m.waitingSince = m.acknowledged.at
	}
	m.advanceAnchor(s)
	return s.at, true, nil
}

// begin notes the place from which a stream is opened, zero for a new one.
func (m *heartbeatTracker) startAt(position clustertime.Time) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.position = position
}

// reach notes that all up to place has been applied. It returns the newest
// heartbeat that this covers and that has not come back, else zero.
func (m *heartbeatTracker) newestCoveredBy(position clustertime.Time) int64 {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.position = max(m.position, position)
	for seq := m.last; seq > m.newestDelivered && seq > m.last-trackedHeartbeats; seq-- {
		if s := &m.sent[seq%trackedHeartbeats]; s.acknowledgedTime != 0 && s.acknowledgedTime <= position {
			return s.nonce
		}
	}
	return 0
}

// any reports whether a heartbeat was sent at all.
func (m *heartbeatTracker) anySent() bool {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.last > 0
}

// overdue reports whether the stream, open since opened, has kept back an
// acknowledged heartbeat for longer than limit.
func (m *heartbeatTracker) overdue(opened, now time.Time, limit time.Duration) bool {
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
func (m *heartbeatTracker) hasUndelivered(opened time.Time) bool {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.acknowledged.seq > m.newestDelivered && m.acknowledged.at.After(opened)
}
