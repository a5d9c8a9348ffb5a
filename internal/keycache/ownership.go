package keycache

import (
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/guard"
)

// ownership is what the cache knows about the documents that have a hash, at the position that the
// stream has reached. The unique index may be gone, so a document that is seen alone, in an event
// or in a read by _id, does not affect other documents (DESIGN.md, "Two documents with one
// hash").
type ownership uint8

const (
	// ownerUnknown: another document may have the hash.
	ownerUnknown ownership = iota
	// ownerNone: no document has it.
	ownerNone
	// ownerSame: the given document has it, and no other.
	ownerSame
	// ownerOther: another document has it, or had it until a change that the stream has not
	// delivered yet.
	ownerOther
)

// ownership finds out which document has a hash. Its loads have the order of Get.
func (c *Cache) ownership(h *apikey.Hash, id apikey.DocID) ownership {
	g := c.current.Load()
	complete := g.complete.Load()
	value := g.get(h)
	other := c.overlay.get(h)
	if value == nil && other == nil && c.isAbsent(g, complete, h) {
		return ownerNone
	}
	if value != nil && !g.ended.Load().has(h) {
		if owner := c.ownerBy(g, complete, value, h, id); owner != ownerUnknown {
			return owner
		}
	}
	return c.ownerBy(g, complete, other, h, id)
}

// ownerBy is what one stored value of the hash shows about its owner.
func (c *Cache) ownerBy(g *generation, complete *completeness, value []byte, h *apikey.Hash, id apikey.DocID) ownership {
	e, body, ok := g.decodeEntry(value, h)
	switch {
	case !ok || !e.canAnswer(complete):
	case ownerOf(body) != id:
		if c.isValid(g, &e) {
			return ownerOther
		}
	case c.isOnlyOwner(g, &e):
		return ownerSame
	}
	return ownerUnknown
}

// isOnlyOwner reports whether no document but the entry's has its hash. It was the only one when
// the entry was made, and a document that got the hash later has shown it. Changes of the document
// itself do not matter.
func (c *Cache) isOnlyOwner(g *generation, e *entry) bool {
	return !isOdd(e.epoch) && e.epoch == c.epoch.Load() && g.slots.lastOfHash(&e.hash) <= e.seq
}

// StoreByID stores the result of a read by _id. Such a read cannot know whether another document
// has the same hash. So it only renews an entry of the same document, which is known to be the
// only owner of the hash. What it does not store is read by its hash when it is requested.
func (c *Cache) StoreByID(t Ticket, h apikey.Hash, f Finding) {
	if guard.RenewSole && c.ownership(&h, f.ID) != ownerSame {
		return
	}
	c.Store(t, h, f)
}

// storeChanged stores the document that a change carries, with the change's number, if the hash is
// known to have no other owner. owner is the ownership before the change's own stamp.
func (c *Cache) storeChanged(change *Change, owner ownership, seq uint64) {
	t := Ticket{epoch: c.epoch.Load(), seq: seq}
	switch {
	case change.Record != nil && (owner == ownerNone || owner == ownerSame || !guard.ChangeSole):
		c.Store(t, change.Hash, Found(change.ID, change.Record))
	case owner == ownerOther:
		// Most likely two documents have the hash. A read by hash will find out; until then
		// neither of them is an answer.
		c.putMarker(&change.Hash, newMarker(t, change.Hash, marker))
	}
}

// newMarker makes an entry that means only that a document exists.
func newMarker(t Ticket, h apikey.Hash, kind entryKind) []byte {
	e := entry{epoch: t.epoch, seq: t.seq, hash: h, kind: kind}
	value, _ := e.encode("", nil)
	return value
}

// storeAmbiguous stores that a read has found several documents with the hash. It counts this when
// it is new, not for each request.
func (c *Cache) storeAmbiguous(t Ticket, h apikey.Hash) {
	g := c.current.Load()
	value := newMarker(t, h, ambiguous)
	base, other := g.get(&h), c.overlay.get(&h)
	known := g.kindOf(base, &h) == ambiguous || g.kindOf(other, &h) == ambiguous
	ended := c.endedInBase(g, base, &h) && !c.namesOwner(g, other, &h)
	if known && ended {
		// The first one has ended the front. The requests that follow must not end it each time.
		c.put(&h, value)
		return
	}
	c.counters.duplicates.Add(1)
	c.withdraw(&h, value)
}

// kindOf is the kind of a stored value of the hash. Without one it is negative.
func (g *generation) kindOf(value []byte, h *apikey.Hash) entryKind {
	e, _, _ := g.decodeEntry(value, h)
	return e.kind
}
