package keycache

import (
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/guard"
)

// The overlay holds what was stored since the scan that filled the base, and what is stored while a
// scan runs. It belongs to the cache, not to a generation: an entry means the same beside each base.
// An eviction from it is a miss, never an absence (isAbsent).

// held is what a lookup in base and overlay has found.
type held struct {
	entry entry
	body  []byte
	// valid: the entry may answer, as far as its stamps show.
	valid bool
	// present: there is a value, valid or not, so the hash is not absent.
	present bool
	// inBase: the valid entry is the base's.
	inBase bool
}

// lookUp finds the entry that a request for the hash would get: the base's, or if that is not valid
// the overlay's. complete must have been loaded before.
func (c *Cache) lookUp(g *generation, complete *completeness, h *apikey.Hash) held {
	key := storeKey(h)
	value := g.find(key)
	if e, body, ok := c.decodeValid(g, value, h); ok && e.canAnswer(complete) && !g.ended.Load().has(h) {
		return held{entry: e, body: body, valid: true, present: true, inBase: true}
	}
	other := c.overlay.find(key)
	if e, body, ok := c.decodeValid(g, other, h); ok && e.canAnswer(complete) {
		return held{entry: e, body: body, valid: true, present: true}
	}
	return held{present: value != nil || other != nil}
}

// put stores an entry on demand: what fills, refreshes, changes and audits have to store. It never
// writes to a base that a scan fills or has filled. What is stored while a scan runs must be found
// in the generation that the scan ends in.
func (c *Cache) put(h *apikey.Hash, value []byte) {
	defer c.front.drop(h)
	g := c.current.Load()
	if !g.open.Load() && guard.BaseSealed {
		c.overlay.set(h, value)
		return
	}
	g.base.Load().set(h, value)
	if c.aside.Load() != nil {
		c.overlay.set(h, value)
	}
}

// withdraw ends all entries of the hash, and stores another value instead.
func (c *Cache) withdraw(h *apikey.Hash, value []byte) {
	g := c.current.Load()
	c.put(h, value)
	if g.open.Load() && c.overlay.get(h) != nil {
		// The overlay has one from the time of the scan that has failed.
		c.overlay.set(h, value)
	}
	if !g.open.Load() && !c.endedInBase(g, g.get(h), h) {
		g.end(h)
	}
	c.front.end()
}

// endedInBase reports whether the base's value of the hash counts no more, or never did.
func (c *Cache) endedInBase(g *generation, value []byte, h *apikey.Hash) bool {
	return !c.namesOwner(g, value, h) || g.ended.Load().has(h)
}

// namesOwner reports whether a stored value of the hash can still answer a request or show the hash's
// owner. Most of what an audit sees twice cannot, and must not fill the list of ended entries.
func (c *Cache) namesOwner(g *generation, value []byte, h *apikey.Hash) bool {
	e, _, ok := g.decodeEntry(value, h)
	return ok && e.hasRecord() && c.isOfEpoch(&e) && c.isOfHash(g, &e)
}
