package changestream

import (
	"context"
	"errors"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/guard"
)

// errRewound is why a history is lost when the document does not hold a heartbeat that it must
// hold.
var errRewound = errors.New("this instance's document in " + HeartbeatCollection + " does not hold its last acknowledged heartbeat: the database was restored from a snapshot, or another client has changed or deleted the document; if this happens again without a restore, check who may write the collection (docs/security.md)")

// errUnverified is why a history is lost when a stream was resumed too early.
var errUnverified = errors.New("the stream was interrupted before the first heartbeat arrived, so keytail does not know whether the server still has the same history")

// chain is a sequence of heartbeats. The server wrote each of them only because the document held
// an earlier one of the chain; it wrote the first for any content of the document. DESIGN.md ("A
// restore is a loss") proves that a restored server cannot continue a chain.
type chain struct {
	// start is the sequence number of its first heartbeat. Zero: the next heartbeat begins a
	// chain.
	start int64
	// anchor is the newest heartbeat that the server is known to have written, or the first.
	anchor sentHeartbeat
	// verified is set when a heartbeat of the chain has arrived over the cursor with which the
	// history began. Then the chain belongs to that history.
	verified bool
}

// heartbeatWrite is a heartbeat to send.
type heartbeatWrite struct {
	nonce, seq int64
	// anchor is written beside the nonce. Zero for the first of a chain.
	anchor int64
	// after lists the nonces that the document may hold, beside any nonce whose anchor is the same
	// as this one's. Nil: the document may hold anything, or be missing.
	after []int64
}

// addToChain makes a heartbeat that is about to be sent a part of the chain. The document may hold
// the anchor, or a heartbeat that was sent after the anchor and may have been written. Such a
// heartbeat shows the same anchor or, if it was sent before the anchor was known to be written, is
// on the list.
func (m *heartbeatTracker) addToChain(s *sentHeartbeat) heartbeatWrite {
	if m.chain.start == 0 {
		m.chain.start, m.chain.anchor = s.seq, *s
		return heartbeatWrite{nonce: s.nonce, seq: s.seq}
	}
	if !guard.LossRewound {
		return heartbeatWrite{nonce: s.nonce, seq: s.seq}
	}
	a := m.chain.anchor
	s.anchor = a.nonce
	b := heartbeatWrite{nonce: s.nonce, seq: s.seq, anchor: a.nonce, after: []int64{a.nonce}}
	for i := range m.sent {
		if other := &m.sent[i]; other.seq > a.seq && other.anchor != a.nonce {
			b.after = append(b.after, other.nonce)
		}
	}
	return b
}

// filter matches the document if it holds a predecessor of this heartbeat, and nothing that was
// sent later. Without the second condition, a delayed request that the server executes after the
// next one would look like a restore to the one after that.
func (b heartbeatWrite) filter(id string) bson.D {
	own := bson.D{{Key: fieldID, Value: id}}
	if b.after == nil {
		return own
	}
	return append(own, bson.E{Key: fieldSeq, Value: bson.D{{Key: "$lt", Value: b.seq}}}, bson.E{Key: "$or", Value: bson.A{
		bson.D{{Key: fieldNonce, Value: bson.D{{Key: "$in", Value: b.after}}}},
		bson.D{{Key: fieldAnchor, Value: b.anchor}},
	}})
}

// advanceAnchor notes that the server has written s.
func (m *heartbeatTracker) advanceAnchor(s *sentHeartbeat) {
	if m.chain.start != 0 && s.seq > m.chain.anchor.seq {
		m.chain.anchor = *s
	}
}

// verify notes that s arrived in the stream, or returns a loss.
func (m *heartbeatTracker) verify(s *sentHeartbeat, firstCursor bool) error {
	if m.chain.verified {
		return nil
	}
	if !firstCursor && guard.VerifiedHistory {
		return lost(reasonUnverified, errUnverified)
	}
	m.chain.verified = m.chain.start != 0 && s.seq >= m.chain.start
	return nil
}

// noteRefused notes that the document did not hold a predecessor of the heartbeat. It reports
// whether that ends the history. If so, no heartbeat proves anything until the tail has declared
// the loss; noteRefused wakes the tail for that. If the chain is not verified, its first heartbeat
// may never have been written, and the next heartbeat begins another chain.
func (m *heartbeatTracker) noteRefused(nonce int64) bool {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.lookup(nonce) == nil { // of a history that has been lost since
		return false
	}
	if !m.chain.verified {
		m.chain = chain{}
		return false
	}
	m.rewound = true
	if m.interrupt != nil {
		m.interrupt(errRewound)
	}
	return true
}

// rewoundErr is a loss when the document does not hold what it must, else nil.
func (m *heartbeatTracker) rewoundErr() error {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	if m.rewound {
		return lost(reasonRewound, errRewound)
	}
	return nil
}

// interruptible returns a context that ends when a heartbeat is refused. Only the tail uses it,
// one at a time.
func (m *heartbeatTracker) interruptible(ctx context.Context) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(ctx)
	m.mutex.Lock()
	defer m.mutex.Unlock()
	m.interrupt = cancel
	if m.rewound {
		cancel(errRewound)
	}
	return ctx, func() {
		m.mutex.Lock()
		m.interrupt = nil
		m.mutex.Unlock()
		cancel(nil)
	}
}

// forget is called when the history is lost: heartbeats sent before prove nothing about the next
// history, and the next heartbeat begins a chain.
func (m *heartbeatTracker) forget() {
	m.mutex.Lock()
	defer m.mutex.Unlock()
	clear(m.sent[:])
	m.newestDelivered, m.acknowledged, m.waitingSince = m.last, sentHeartbeat{}, time.Time{}
	m.position, m.covered, m.chain, m.rewound = 0, 0, chain{}, false
}
