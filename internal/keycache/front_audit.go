package keycache

import (
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/guard"
)

// The audit of the front. A wrong record there would be answered before the byte store is asked, so
// each comparison with the database looks at both.

// isServed reports whether a request would be answered from the front, if it is fresh.
func (c *Cache) isServed(e *frontEntry) bool {
	g := c.current.Load()
	return guard.FrontAudit && c.isValid(g, &e.entry) && e.canAnswer(g.complete.Load())
}

// frontServes reports whether a request with the hash would be answered from the front.
func (c *Cache) frontServes(h *apikey.Hash) bool {
	e := c.front.get(h)
	return e != nil && c.isServed(e)
}

// frontDiffers reports whether the front would answer with something else than what was read. The
// record is encoded again, because a reader may have modified it.
func (c *Cache) frontDiffers(h *apikey.Hash, f Finding) bool {
	e := c.front.get(h)
	if e == nil || !c.isServed(e) {
		return false
	}
	return !isSameDocument(appendBody(nil, e.id, &e.record), f)
}

// compareFront does for the front what compare does for a generation.
func (s *Scan) compareFront(h *apikey.Hash, f Finding) {
	if s.cache.frontDiffers(h, f) {
		s.suspect(h)
	}
}

// suspect takes in a hash once, if its entries in the generation and in the front both differ.
func (s *Scan) suspect(h *apikey.Hash) {
	if n := len(s.suspects); n == 0 || s.suspects[n-1] != *h {
		s.suspects = append(s.suspects, *h)
	}
}

// suspectUnseenInFront does for the front what suspectUnseen does for the generation, and leaves out
// what that has found.
func (s *Scan) suspectUnseenInFront() {
	f := &s.cache.front
	for i := range f.sets {
		for j := range f.sets[i] {
			if e := f.sets[i][j].entry.Load(); e != nil && e.era == f.era.Load() && s.isUnseenInFront(e) {
				s.suspects = append(s.suspects, e.hash)
			}
		}
	}
}

func (s *Scan) isUnseenInFront(e *frontEntry) bool {
	if s.seen.has(storeSum(&e.hash)) || e.seq > s.ticket.seq || !s.cache.isServed(e) {
		return false
	}
	return !s.cache.lookUp(s.into, s.into.complete.Load(), &e.hash).valid
}
