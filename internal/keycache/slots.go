package keycache

import (
	"encoding/binary"
	"hash/fnv"
	"hash/maphash"
	"math"
	"math/bits"
	"sync/atomic"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/guard"
)

// maxSlots limits the size of each table to 1 GiB.
const maxSlots = 1 << 27

// slots are two tables of change numbers, in which a document and a hash each select a slot.
// Unrelated keys that share a slot cost each other a read, never a wrong answer: a shared slot can
// only look newer than it is. The index is seeded, so that an attacker cannot choose keys that
// share a slot.
type slots struct {
	hash slotHash
	// byID and byHash hold the seq of the last change of any document, and of any hash, in each
	// slot.
	byID, byHash table
	// birth is a seq: every later change has been stamped here. Entries that are older are not
	// valid by these tables. Until it is known it is the largest number.
	birth atomic.Uint64
}

// slotHash is the seeded hash that selects slots.
type slotHash struct {
	seed maphash.Seed
	// fixed is Config.SlotSeed.
	fixed uint64
}

func newSlotHash(fixed uint64) slotHash { return slotHash{maphash.MakeSeed(), fixed} }

func (s *slotHash) bytes(b []byte) uint64 {
	if s.fixed != 0 {
		return s.repeatable(string(b))
	}
	return maphash.Bytes(s.seed, b)
}

func (s *slotHash) text(t string) uint64 {
	if s.fixed != 0 {
		return s.repeatable(t)
	}
	return maphash.String(s.seed, t)
}

// repeatable is the same in every process.
func (s *slotHash) repeatable(text string) uint64 {
	var seed [8]byte
	binary.LittleEndian.PutUint64(seed[:], s.fixed)
	hash := fnv.New64a()
	_, _ = hash.Write(seed[:])
	_, _ = hash.Write([]byte(text))
	sum := hash.Sum64()
	return sum ^ sum>>32 // the last bits of FNV-1a depend on the last bits of the text alone
}

// table is a table of change numbers. Its length is a power of two.
type table []atomic.Uint64

func newSlots(size int, hash slotHash) *slots {
	s := &slots{hash: hash, byID: make(table, size), byHash: make(table, size)}
	if guard.SlotsBirth {
		s.birth.Store(math.MaxUint64)
	}
	return s
}

// begin ends the time in which no entry is valid. The tail must have the tables already: it stamps
// every change in them whose number is higher than seq.
func (s *slots) begin(seq uint64) {
	if guard.SlotsBirth {
		s.birth.Store(seq)
	}
}

// sumOfHash and sumOfID select a slot in tables of any size.
func (s *slots) sumOfHash(h *apikey.Hash) uint64 { return s.hash.bytes(h[:]) }

func (s *slots) sumOfID(id apikey.DocID) uint64 { return s.hash.text(string(id)) }

// slotOfID is the number of a document's slot.
func (s *slots) slotOfID(sum uint64) uint64 { return sum & uint64(len(s.byID)-1) }

// lastOfID is an upper bound for the number of the last change of a document, lastOfHash of a hash.
func (s *slots) lastOfID(sum uint64) uint64 { return max(s.byID.load(sum), s.birth.Load()) }

func (s *slots) lastOfHash(h *apikey.Hash) uint64 {
	return max(s.byHash.load(s.sumOfHash(h)), s.birth.Load())
}

func (t table) at(sum uint64) *atomic.Uint64 { return &t[sum&uint64(len(t)-1)] }

func (t table) load(sum uint64) uint64 { return t.at(sum).Load() }

// stamp stores a change's number, and returns the slot's last one.
func (t table) stamp(sum, seq uint64) uint64 { return t.at(sum).Swap(seq) }

// countAfter counts the slots that have been stamped after seq.
func (t table) countAfter(seq uint64) int64 {
	n := int64(0)
	for i := range t {
		if t[i].Load() > seq {
			n++
		}
	}
	return n
}

// slotsFor is the number of slots for so many keys: at least one for each, and at least the
// configured number.
func slotsFor(keys int64, atLeast int) int {
	if keys <= int64(atLeast) {
		return atLeast
	}
	return max(atLeast, 1<<bits.Len64(uint64(min(keys, maxSlots))-1))
}
