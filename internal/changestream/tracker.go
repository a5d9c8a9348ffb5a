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

// trackedHeartbeats is how many heartbeats are remembered. An older one proves nothing when it
// arrives. Only one is in flight at a time, so more than a few are outstanding only while the
// stream is far behind.
const trackedHeartbeats = 64

// heartbeatTracker remembers which heartbeats have been sent, acknowledged, and received. A nonce
// is random, so no one can write one that has not been sent yet. The order of sending is a
// sequence number, which proves nothing. The zero value is ready to use.
type heartbeatTracker struct {
	mutex sync.Mutex
	// sent has the last heartbeats, the one with sequence number s at s % trackedHeartbeats. last
	// is the newest sequence number.
	sent [trackedHeartbeats]sentHeartbeat
	last int64
	// position is how far in the oplog the stream is known to be, in collection scope.
	position clustertime.Time
	// covered is the position up to which everything has been applied, in collection scope. sentBefore is the
	// sequence number of the last heartbeat that was sent before the stream's cursor was known to be open. While no
	// later one is acknowledged, positions prove nothing; provesSince is when the first was.
	covered     clustertime.Time
	sentBefore  int64
	provesSince time.Time
	// newestDelivered is the sequence number of the newest heartbeat that was received.
	newestDelivered int64
	// acknowledged is the newest that was acknowledged.
	acknowledged sentHeartbeat
	// waitingSince is since when there is an acknowledged heartbeat that has not been received,
	// nor any after it. Zero: none.
	waitingSince time.Time
	// chain decides which heartbeats the document may hold (chain.go).
	chain chain
	// rewound is set when it holds another one, until the loss is declared.
	rewound bool
	// interrupt ends what the tail is waiting for. Nil: it is not waiting.
	interrupt context.CancelCauseFunc
}

// sentHeartbeat is a heartbeat: its nonce, its sequence number, and the time before it was sent.
type sentHeartbeat struct {
	nonce, seq int64
	at         time.Time
	// position is that of the stream when the heartbeat was sent. acknowledgedTime is the
	// operationTime of the acknowledgement; zero: there was none that can be compared with a
	// position.
	position, acknowledgedTime clustertime.Time
	// anchor is that of the chain when it was sent.
	anchor int64
	// delivered is set when it has been received: each heartbeat counts once.
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

// send records a heartbeat that is about to be sent at now.
func (m *heartbeatTracker) send(now time.Time) heartbeatWrite {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.last++
	s := sentHeartbeat{nonce: newNonce(m.last), seq: m.last, at: now, position: m.position}
	b := m.addToChain(&s)
	m.sent[s.seq%trackedHeartbeats] = s
	return b
}

// lookup is nil for a nonce that is not remembered.
func (m *heartbeatTracker) lookup(nonce int64) *sentHeartbeat {
	for i := range m.sent {
		if s := &m.sent[i]; s.seq != 0 && s.nonce == nonce {
			return s
		}
	}
	return nil
}

// acknowledge notes that a majority has this heartbeat, as of operationTime at. A time before the
// stream's position at the time of sending means that the server's time has gone back, as after a
// restore from a backup: then the position proves nothing.
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
	if m.acknowledged.seq <= m.sentBefore && s.seq > m.sentBefore {
		m.provesSince = now
	}
	if m.acknowledged.seq < s.seq {
		m.acknowledged = *s
	}
	if s.seq > m.newestDelivered && m.waitingSince.IsZero() {
		m.waitingSince = now
	}
	m.advanceAnchor(s)
}

// receive is called when this heartbeat arrives in the stream. It returns the time before it was
// sent; false when no such heartbeat is expected. firstCursor reports whether the stream has had one
// cursor since the history began. Without that a heartbeat may belong to another history, and
// receive returns a loss.
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
		// Others are still on their way. They were acknowledged before now; the wait for them is
		// understated, which delays the next resume a little.
		m.waitingSince = m.acknowledged.at
	}
	m.advanceAnchor(s)
	return s.at, true, nil
}

// startAt notes the position from which a stream is opened, zero for a new one.
func (m *heartbeatTracker) startAt(position clustertime.Time) {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.position = position
}

// cursorOpened notes that the stream has another cursor now. It returns the nonce of the newest heartbeat that
// the cursors before have proved and that has not been received, else zero.
func (m *heartbeatTracker) cursorOpened() int64 {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	nonce := m.newestCovered()
	m.sentBefore = m.last
	return nonce
}

// newestCoveredBy notes that everything up to position has been applied. It returns the nonce of
// the newest heartbeat that this covers and that has not been received, else zero.
func (m *heartbeatTracker) newestCoveredBy(position clustertime.Time) int64 {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.position = max(m.position, position)
	m.covered = position
	return m.newestCovered()
}

// newestCovered is newestCoveredBy for the last position. The caller holds the mutex.
func (m *heartbeatTracker) newestCovered() int64 {
	if !m.positionsProve() {
		// The server may have been restored since the last acknowledgement and before the cursor was opened. Then
		// position and heartbeats belong to two histories.
		return 0
	}
	for seq := m.last; seq > m.newestDelivered && seq > m.last-trackedHeartbeats; seq-- {
		if s := &m.sent[seq%trackedHeartbeats]; s.acknowledgedTime != 0 && s.acknowledgedTime <= m.covered {
			return s.nonce
		}
	}
	return 0
}

// positionsProve reports whether a heartbeat that was sent over the stream's cursor is acknowledged. The caller holds
// the mutex.
func (m *heartbeatTracker) positionsProve() bool {
	return m.acknowledged.seq > m.sentBefore || !guard.SameCursor
}

// anySent reports whether a heartbeat was sent at all.
func (m *heartbeatTracker) anySent() bool {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.last > 0
}

// isUncovered is isOverdue in collection scope. The wait begins when the stream's positions began to prove something:
// otherwise a stream would be closed, again and again, where a heartbeat takes longer than half of limit.
func (m *heartbeatTracker) isUncovered(now time.Time, limit time.Duration) bool {
	m.mutex.Lock()
	since, proves := m.provesSince, m.positionsProve()
	m.mutex.Unlock()
	return proves && m.isOverdue(since, now, limit)
}

// isOverdue reports whether the stream, open since opened, has not delivered an acknowledged
// heartbeat for longer than limit.
func (m *heartbeatTracker) isOverdue(opened, now time.Time, limit time.Duration) bool {
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

// hasUndelivered reports whether a heartbeat that was sent after opened has been acknowledged and
// has not been received.
func (m *heartbeatTracker) hasUndelivered(opened time.Time) bool {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	return m.acknowledged.seq > m.newestDelivered && m.acknowledged.at.After(opened)
}
