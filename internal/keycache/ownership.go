package keycache

import (
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/guard"
)

// standing is what the cache knows about the documents that have a hash, at the
// place that the stream has reached. The unique index may be gone, so that a
// document that is seen by itself, in an event or in a read by _id, says nothing
// about the others.
type ownership uint8

const (
	// unknown: another document may have the hash.
	ownerUnknown ownership = iota
	// unused: no document has it.
	ownerNone
	// owned: the document that was asked about has it, and no other.
	ownerSame
	// taken: another document has it, or had it until a change that the stream has
	// still to deliver.
	ownerOther
)

// standing looks a hash up for a document. The loads have the order of Get.
func (c *Cache) ownership(h *apikey.Hash, id apikey.DocID) ownership {
	g := c.current.Load()
	complete := g.complete.Load()
	value := g.get(h)
	if value == nil {
		if c.isAbsent(g, complete, h) {
			return ownerNone
		}
		return ownerUnknown
	}
	e, body, ok := decodeEntry(value)
	if !ok || e.hash != *h || !e.canAnswer(complete) {
		return ownerUnknown
	}
	switch {
	case ownerOf(body) != id:
		if c.isValid(&e, h) {
			return ownerOther
		}
	case c.isOnlyOwner(&e):
		return ownerSame
	}
	return ownerUnknown
}

// sole reports whether no other document than the entry's has its hash. It had it
// alone when the entry was made (DESIGN.md, "Two documents with one hash"), and one
// that came to it later has shown it. Changes of the document itself do not matter.
func (c *Cache) isOnlyOwner(e *entry) bool {
	return !odd(e.epoch) && e.epoch == c.epoch.Load() && c.byHash.load(c.byHash.ofHash(&e.hash)) <= e.seq
}

// StoreByID keeps what a read by _id found. Such a read cannot know whether
// another document has the same hash, so all that it may do is to renew an entry of
// the same document, of which it is known that it has the hash alone. What it does
// not keep is read by its hash when it is asked for.
func (c *Cache) StoreByID(t Ticket, h apikey.Hash, f Finding) {
	if guard.RenewSole && c.ownership(&h, f.ID) != ownerSame {
		return
	}
	c.Store(t, h, f)
}

// storeChanged keeps the document that a change carries, as of its number, if the
// hash is known to have no other. was is the standing before the change's own stamp.
func (c *Cache) storeChanged(change *Change, owner ownership, seq uint64) {
	t := Ticket{epoch: c.epoch.Load(), seq: seq}
	switch {
	case change.Record != nil && (owner == ownerNone || owner == ownerSame || !guard.ChangeSole):
		c.Store(t, change.Hash, Found(change.ID, change.Record))
	case owner == ownerOther:
		// Most likely two documents have it. A read by the hash will tell: until then
		// neither of them is an answer.
		c.put(&change.Hash, newMarker(t, change.Hash, marker))
	}
}

// mark is an entry that says that there is some document.
func newMarker(t Ticket, h apikey.Hash, kind entryKind) []byte {
	e := entry{epoch: t.epoch, seq: t.seq, hash: h, kind: kind}
	value, _ := e.encode("", nil)
	return value
}

// storeAmbiguous keeps the fact that a read has found several documents with the
// hash. It is counted when it is news, not for each request.
func (c *Cache) storeAmbiguous(t Ticket, h apikey.Hash) {
	held, _, ok := decodeEntry(c.current.Load().get(&h))
	if !ok || held.hash != h || held.kind != ambiguous {
		c.counters.duplicates.Add(1)
	}
	c.put(&h, newMarker(t, h, ambiguous))
}
