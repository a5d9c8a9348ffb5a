package keycache

import (
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/guard"
)

// Change is one majority-committed change of one document, as the stream delivered it.
type Change struct {
	// ID is the changed document.
	ID apikey.DocID
	// Time is the change's cluster time.
	Time clustertime.Time
	// Hash is the hash that the event shows, if HasHash: that of an insert or a replace, or of an
	// update that sets it. A delete shows none.
	Hash    apikey.Hash
	HasHash bool
	// Hashes are further hashes that the event shows and by which a lookup may find the document,
	// such as those in an array. No record is stored for them.
	Hashes []apikey.Hash
	// Record is the whole record if the event carries the document (insert, replace), else nil.
	Record *apikey.Record
	// Unreadable means that the event does not show all the hashes by which a lookup may now find
	// the document. Any hash could be one of them.
	Unreadable bool
	// Refusal is set if the event says that the key is off or has an expiry, and the change did
	// nothing else that matters to an entry (DESIGN.md, "A refusal from the event"). Zero: it does
	// not say so.
	Refusal apikey.Refusal
	// Refresh requests that the document be read again soon (after an update).
	Refresh bool
}

// Apply applies one change. When it returns, no entry of the document, and no entry of a hash that
// the event shows, is valid any more.
func (c *Cache) Apply(change *Change) {
	// The order of the next statements is the algorithm (DESIGN.md, "Order").
	//
	// The floor rises before seq. A fill that loads this seq may keep its entry in spite of this
	// change; it loads the floor afterwards, so it reads a snapshot that contains the change.
	if guard.ChangeFloor {
		c.raiseFloor(change.Time)
	}
	seq := c.seq.Add(1)
	owner := ownerUnknown
	if change.HasHash {
		// Looked up before the stamp: the stamp ends what is known about the hash.
		owner = c.ownership(&change.Hash, change.ID)
	}
	// The stamps invalidate the old entries; nothing is deleted from the byte store. From here on
	// an entry with a lower seq is a miss, also one that a fill which began earlier is still going
	// to store. The stamps come before any Fresh that covers this change, as Fresh requires.
	c.noteRefusal(change, seq)
	c.stamp(change, seq)
	if change.Unreadable {
		c.unreadable.Add(1)
	}
	if change.HasHash {
		c.storeChanged(change, owner, seq)
	}
	if change.Refresh {
		c.requestRefresh(change.ID)
	}
}

// stamp stamps the document and every hash that the event shows, in the tables in use and in those of
// a generation that is built aside.
func (c *Cache) stamp(change *Change, seq uint64) {
	// The one aside is loaded first: it is in use before it is aside no longer. In the other order
	// the one in use could be the old one, and the one aside already none: the change would be
	// missing in the tables that are in use from then on.
	aside := c.aside.Load()
	current := c.current.Load()
	c.stampIn(current, change, seq)
	if aside != nil && aside.slots != current.slots && guard.StampAside {
		c.stampIn(aside, change, seq)
	}
}

// stampIn also counts the slots that are stamped for the first time since the scan.
func (c *Cache) stampIn(g *generation, change *Change, seq uint64) {
	if g.slots.byID.stamp(g.slots.sumOfID(change.ID), seq) <= g.filled.Load() {
		g.changed.Add(1)
	}
	scanned := g.complete.Load()
	stampHash := func(h *apikey.Hash) {
		if g.slots.byHash.stamp(g.slots.sumOfHash(h), seq) <= scanned.seq() {
			g.shown.Add(1)
		}
	}
	if change.HasHash {
		stampHash(&change.Hash)
	}
	if guard.StampHashes {
		for i := range change.Hashes {
			stampHash(&change.Hashes[i])
		}
	}
}

// requestRefresh never waits. If the queue is full, the document is read when it is requested.
func (c *Cache) requestRefresh(id apikey.DocID) {
	select {
	case c.refresh <- id:
	default:
		c.counters.refreshDropped.Add(1)
	}
}

// Refreshes delivers the documents that updates have changed, to be read again by _id. The channel
// is never closed.
func (c *Cache) Refreshes() <-chan apikey.DocID { return c.refresh }
