package keycache

import (
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/guard"
)

// Change is one majority-committed change of one document, as the stream
// delivered it.
type Change struct {
	// ID is the changed document.
	ID apikey.DocID
	// Time is the change's cluster time.
	Time clustertime.Time
	// Hash is the hash that the event shows, if HasHash: of an insert or a
	// replace, or of an update that sets it. A delete shows none.
	Hash    apikey.Hash
	HasHash bool
	// Hashes are further ones that the event shows and a look-up may match: those in
	// an array. No record is kept for them.
	Hashes []apikey.Hash
	// Record is the whole record when the event carries the document (insert,
	// replace), else nil.
	Record *apikey.Record
	// Unreadable says that the event does not show all the hashes under which a
	// look-up may now find the document: any hash could be one of them.
	Unreadable bool
	// Refresh asks for the document to be read again soon (an update).
	Refresh bool
}

// Apply takes in one change. It returns after all that was cached about the
// document, or about the hash that the event shows, has become unbelievable.
func (c *Cache) Apply(change *Change) {
	// The order is the algorithm.
	//
	// The floor rises before seq: a fill that loads this seq (and so is allowed
	// to outlive this change) loads the floor afterwards, and reads a snapshot
	// that contains it.
	if guard.ChangeFloor {
		c.raiseFloor(change.Time)
	}
	seq := c.seq.Add(1)
	owner := ownerUnknown
	if change.HasHash {
		// Before the stamp, which ends what is known about the hash.
		owner = c.ownership(&change.Hash, change.ID)
	}
	// The stamps are the drop. Nothing is deleted from the byte store: an entry
	// with a lower seq0 is a miss from here on, and a fill that began earlier
	// stores what is a miss already. They come before any Fresh that covers this
	// change, by the contract of Fresh.
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

// stampHash stamps, and counts the slots that leave the completeness behind.
func (c *Cache) stampHash(h *apikey.Hash, seq uint64) {
	slot := c.byHash.ofHash(h)
	if complete := c.current.Load().complete.Load(); complete != nil && c.byHash.load(slot) <= complete.ticket.seq {
		c.stampedSinceScan.Add(1)
	}
	c.byHash.stamp(slot, seq)
}

// requestRefresh never waits: what does not fit is read when it is asked for.
func (c *Cache) requestRefresh(id apikey.DocID) {
	select {
	case c.refresh <- id:
	default:
		c.counters.refreshDropped.Add(1)
	}
}

// Refreshes delivers the documents that updates have touched, for a fill by
// _id. It is never closed.
func (c *Cache) Refreshes() <-chan apikey.DocID { return c.refresh }
