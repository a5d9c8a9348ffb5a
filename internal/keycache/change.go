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
	c.byID.stamp(c.byID.ofID(change.ID), seq)
	c.stampHashes(change, seq)
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

// stampHashes stamps every hash that the event shows.
func (c *Cache) stampHashes(change *Change, seq uint64) {
	if change.HasHash {
		c.stampHash(&change.Hash, seq)
	}
	if guard.StampHashes {
		for i := range change.Hashes {
			c.stampHash(&change.Hashes[i], seq)
		}
	}
}

// stampHash stamps the hash's slot, and counts the slots that are stamped for the first time since
// the scan.
func (c *Cache) stampHash(h *apikey.Hash, seq uint64) {
	slot := c.byHash.ofHash(h)
	if complete := c.current.Load().complete.Load(); complete != nil && c.byHash.load(slot) <= complete.ticket.seq {
		c.stampedSinceScan.Add(1)
	}
	c.byHash.stamp(slot, seq)
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
