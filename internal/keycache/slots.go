package keycache

import (
	"hash/maphash"
	"sync/atomic"

	"github.com/keytail/keytail/internal/apikey"
)

// slots is a fixed table of change numbers. Unrelated keys that share a slot cost each other a
// read, never a wrong answer: a shared slot can only look newer than it is. The index is seeded,
// so that an attacker cannot choose keys that share a slot.
type slots struct {
	seed  maphash.Seed
	mask  uint64
	table []atomic.Uint64
}

func newSlots(size int, seed maphash.Seed) slots {
	return slots{seed: seed, mask: uint64(size - 1), table: make([]atomic.Uint64, size)}
}

func (s *slots) ofHash(h *apikey.Hash) uint32 {
	return uint32(maphash.Bytes(s.seed, h[:]) & s.mask)
}

func (s *slots) ofID(id apikey.DocID) uint32 {
	return s.of(s.sumOfID(id))
}

// sumOfID is the full hash of an id; its slot is a part of it.
func (s *slots) sumOfID(id apikey.DocID) uint64 { return maphash.String(s.seed, string(id)) }

func (s *slots) of(sum uint64) uint32 { return uint32(sum & s.mask) }

func (s *slots) load(slot uint32) uint64 { return s.table[slot].Load() }

func (s *slots) stamp(slot uint32, seq uint64) { s.table[slot].Store(seq) }

// countAfter counts the slots that have been stamped after seq.
func (s *slots) countAfter(seq uint64) int64 {
	n := int64(0)
	for i := range s.table {
		if s.table[i].Load() > seq {
			n++
		}
	}
	return n
}
