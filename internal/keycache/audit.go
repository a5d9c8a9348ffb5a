package keycache

import (
	"maps"
	"slices"

	"github.com/keytail/keytail/internal/apikey"
)

// suspectUnseen looks for valid entries whose document the scan did not see: their deletion may
// have been missed. It holds no lock for longer than one entry takes.
func (s *Scan) suspectUnseen() {
	suspects := map[apikey.Hash]struct{}{}
	for _, store := range []*byteStore{s.into.base.Load(), s.cache.overlay} {
		for key, value := range store.all() {
			h, ok := hashOf(key, value)
			if !ok || s.seen.has(storeSum(&h)) {
				continue
			}
			found := s.cache.lookUp(s.into, s.into.complete.Load(), &h)
			if found.valid && found.entry.seq <= s.ticket.seq {
				suspects[h] = struct{}{}
			}
		}
	}
	s.suspects = slices.AppendSeq(s.suspects, maps.Keys(suspects))
}

// NeedsAudit reports whether the hash still has an entry that requests would get. Most suspects
// have been stamped by the time that it is their turn.
func (c *Cache) NeedsAudit(h apikey.Hash) bool {
	g := c.current.Load()
	return c.lookUp(g, g.complete.Load(), &h).valid || c.frontServes(&h)
}

// Audit compares the entry that requests would get with a separate read, made with this ticket,
// after the stream has passed the time of that read. If they differ, no change explains it: the
// difference is counted, the entry is replaced, and true is returned. An Ambiguous read is not
// such a difference: it ends the entry, and counts as a duplicate.
func (c *Cache) Audit(t Ticket, h apikey.Hash, f Finding) bool {
	g := c.current.Load()
	cached := c.lookUp(g, g.complete.Load(), &h)
	if !cached.valid && !c.frontServes(&h) {
		return false
	}
	read := g.entryOf(t, h, f)
	if !c.isValid(g, &read) {
		// It changed during the read, so the comparison shows nothing.
		return false
	}
	if f.Ambiguous {
		c.storeAmbiguous(t, h)
		return false
	}
	if (!cached.valid || isSameDocument(cached.body, f)) && !c.frontDiffers(&h, f) {
		return false
	}
	c.counters.mismatch.Add(1)
	value, _ := c.encode(t, h, f)
	if !f.Found {
		// No entry of the hash may be valid any more. An entry of epoch 0 never is.
		value = newMarker(Ticket{}, h, marker)
	}
	c.withdraw(&h, value)
	return true
}
