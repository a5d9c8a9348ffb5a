package keycache

import (
	"math/bits"
	"math/rand/v2"
)

// seenHashes maps each hash that a scan has seen, by its key in the byte store, to the sum of the id of
// the first document that had it. It is an open table, which takes 20 bytes a key if their number was
// predicted, and half of what a Go map takes. Nil: no list.
type seenHashes struct {
	// seed makes the places of the hashes unknown to those who choose keys.
	seed  uint64
	parts [seenParts]seenPart
}

// seenParts is a power of two. The parts grow one by one, so the list never needs much more than it has.
const seenParts = 256

type seenPart struct {
	slots []seenSlot
	used  int
}

// seenSlot is empty if its sum is zero: no hash has that sum (storeSum).
type seenSlot struct{ sum, id uint64 }

// newSeenHashes makes a list for about so many hashes.
func newSeenHashes(keys int64) *seenHashes {
	s := &seenHashes{seed: rand.Uint64() | 1}
	each := max(8, min(keys, maxSlots)/seenParts)
	for i := range s.parts {
		s.parts[i].slots = make([]seenSlot, each+each/4)
	}
	return s
}

// find returns the slot of a sum, or the empty one where it belongs.
func (s *seenHashes) find(p *seenPart, sum uint64) *seenSlot {
	place, _ := bits.Mul64(sum*s.seed, uint64(len(p.slots)))
	for {
		slot := &p.slots[place]
		if slot.sum == sum || slot.sum == 0 {
			return slot
		}
		if place++; place == uint64(len(p.slots)) {
			place = 0
		}
	}
}

func (s *seenHashes) part(sum uint64) *seenPart { return &s.parts[sum%seenParts] }

func (s *seenHashes) has(sum uint64) bool {
	return s != nil && s.find(s.part(sum), sum).sum == sum
}

// put takes in the first id of a sum, or returns the one that it has.
func (s *seenHashes) put(sum, id uint64) (first uint64, known bool) {
	p := s.part(sum)
	slot := s.find(p, sum)
	if slot.sum == sum {
		return slot.id, true
	}
	if 6*(p.used+1) > 5*len(p.slots) {
		s.grow(p)
		slot = s.find(p, sum)
	}
	*slot = seenSlot{sum, id}
	p.used++
	return id, false
}

func (s *seenHashes) grow(p *seenPart) {
	old := p.slots
	p.slots = make([]seenSlot, len(old)+len(old)/2)
	for _, slot := range old {
		if slot.sum != 0 {
			*s.find(p, slot.sum) = slot
		}
	}
}
