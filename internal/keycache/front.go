package keycache

import (
	"encoding/binary"
	"math/rand/v2"
	"sync/atomic"
	"unsafe"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/guard"
)

const (
	// frontEntriesPerMiB of the cache's size is the default size of the front. With maxFrontBytes
	// the front takes at most an eighth of the size in addition to it.
	frontEntriesPerMiB = 128
	// maxFrontEntries limits the default: the garbage collector visits each of them.
	maxFrontEntries = 1 << 16
	// maxFrontBytes is the most memory that one record may take in the front. A typical one takes
	// 600 bytes.
	maxFrontBytes = 1 << 10
	// frontWays places are one set: with their tags they fill a cache line.
	frontWays = 4
	// setByte and tagByte are where in a hash the number of its set and its tag begin. The bytes
	// before them select the shard of the byte store and the lifetime.
	setByte, tagByte = 12, 20
)

// front holds the decoded records of keys that are requested often, so that a hit needs no lock, no
// copy and no memory. Its entries are copies of entries of the byte stores, and are checked like
// those (DESIGN.md, "The front"). It is a set-associative table: a hash selects a set and may be in
// each of its places.
//
// The hash is not seeded. Only keys that the database contains get here, so a client that wants to
// push out another key needs some of its own in the same set, and it does not know the set without
// the other key's hash. The other key's hits would then go to the byte store, no more.
type front struct {
	// mask selects a set. sets is empty if there is no front.
	mask uint64
	sets [][frontWays]frontPlace
	// era ends all entries of the front: see end.
	era atomic.Uint64
	// misses counts the hits that the front did not answer. It does not count its own: that would be
	// a write in each of them.
	misses atomic.Uint64
}

// frontPlace holds an entry. tag only saves the visit of an entry with another hash: the full hash
// is compared, so it does not matter that the two are not written together.
type frontPlace struct {
	tag   atomic.Uint64
	entry atomic.Pointer[frontEntry]
}

// Bits of a tag beside those of the hash.
const (
	// tagTaken distinguishes a tag from that of an empty place.
	tagTaken = 1 << iota
	// tagUsed: the entry has answered a request since it came, or since it was last spared.
	tagUsed
)

// frontEntry is an entry with its decoded record, in one block of memory. Nobody writes to it
// after it has been put into the front.
type frontEntry struct {
	entry
	// era is that of the front before the generation was loaded and the entry was looked up there.
	era    uint64
	id     apikey.DocID
	record apikey.Record
	// scopes is space for the record's scopes. Most keys have no more, so a record is one object
	// and not two.
	scopes [scopesInline]string
}

const scopesInline = 4

// defaultFrontEntries is a power of two.
func defaultFrontEntries(sizeMiB int) int {
	n := frontWays
	for 2*n <= min(sizeMiB*frontEntriesPerMiB, maxFrontEntries) {
		n *= 2
	}
	return n
}

// isFrontSize reports whether newFront can make a front of this size.
func isFrontSize(entries int) bool {
	return entries < 0 || (entries >= frontWays && entries&(entries-1) == 0)
}

// newFront makes a front with so many places. Negative: with none, so that it never answers.
func newFront(entries int) front {
	if entries < 0 {
		return front{}
	}
	sets := entries / frontWays
	return front{mask: uint64(sets - 1), sets: make([][frontWays]frontPlace, sets)}
}

func (f *front) set(h *apikey.Hash) *[frontWays]frontPlace {
	return &f.sets[binary.LittleEndian.Uint64(h[setByte:])&f.mask]
}

func frontTag(h *apikey.Hash) uint64 {
	return binary.LittleEndian.Uint64(h[tagByte:])&^tagUsed | tagTaken
}

// get returns the entry of the hash that has not ended, or nil. Its stamps are still to be checked.
func (f *front) get(h *apikey.Hash) *frontEntry {
	if len(f.sets) == 0 {
		return nil
	}
	set, tag := f.set(h), frontTag(h)
	for i := range set {
		place := &set[i]
		has := place.tag.Load()
		if has&^tagUsed != tag {
			continue
		}
		e := place.entry.Load()
		if e == nil || e.hash != *h || (guard.FrontEra && e.era != f.era.Load()) {
			continue
		}
		if has&tagUsed == 0 {
			// Rare, so that hits of one key do not write to memory that they share.
			place.tag.CompareAndSwap(has, has|tagUsed)
		}
		return e
	}
	return nil
}

// put takes in an entry that has just answered a request. era was loaded before the generation, and
// so before the entry was looked up.
func (f *front) put(e *frontEntry, era uint64, valueBytes int) {
	f.misses.Add(1)
	if len(f.sets) == 0 || e.heldBytes(valueBytes) > maxFrontBytes {
		return
	}
	e.era = era
	place := f.placeFor(&e.hash)
	place.entry.Store(e)
	place.tag.Store(frontTag(&e.hash))
}

// placeFor is where an entry of the hash goes: where its last one is, else to an empty place, else to
// one whose entry has not been used, at random.
func (f *front) placeFor(h *apikey.Hash) *frontPlace {
	set, tag := f.set(h), frontTag(h)
	first := int(rand.Uint32() % frontWays)
	var victim *frontPlace
	for i := range set {
		place := &set[(first+i)%frontWays]
		has := place.tag.Load()
		switch {
		case has&^tagUsed == tag:
			return place
		case victim == nil && has&tagUsed == 0:
			victim = place
		case has == 0 && victim.tag.Load() != 0:
			victim = place
		}
	}
	if victim == nil {
		for i := range set {
			set[i].tag.And(^uint64(tagUsed))
		}
		victim = &set[first]
	}
	return victim
}

// heldBytes is the memory of a decoded record, whose strings are views of an encoded value of so
// many bytes.
func (e *frontEntry) heldBytes(valueBytes int) int {
	held := int(unsafe.Sizeof(*e)) + valueBytes + cap(e.record.AllowedIPs)*int(unsafe.Sizeof(e.record.AllowedIPs[0]))
	if cap(e.record.Scopes) > scopesInline {
		held += cap(e.record.Scopes) * int(unsafe.Sizeof(""))
	}
	return held
}

// drop removes the entry of a hash whose entry in the byte store is replaced. Correctness does not
// need it, as the old entry is still valid; but the new one may be the result of a read that its
// caller has just seen.
func (f *front) drop(h *apikey.Hash) {
	if len(f.sets) == 0 {
		return
	}
	set := f.set(h)
	for i := range set {
		if e := set[i].entry.Load(); e != nil && e.hash == *h {
			set[i].entry.CompareAndSwap(e, nil)
		}
	}
}

// end ends all entries of the front, also those that a Get which is in progress is still going to
// put there. It must come after the store that the front must not hide (DESIGN.md, "The front").
func (f *front) end() { f.era.Add(1) }

// putMarker stores an entry that ends another one without a stamp.
func (c *Cache) putMarker(h *apikey.Hash, value []byte) {
	c.put(h, value)
	c.front.end()
}

// setMarker does so in the base that a scan fills, and in the overlay. The overlay may have an entry of
// a scan in place that has failed: it did not answer until now, and would when this scan has succeeded.
func (s *Scan) setMarker(h *apikey.Hash, kind entryKind) {
	if guard.MarkOverlay && s.cache.overlay.get(h) != nil {
		s.cache.overlay.set(h, newMarker(s.ticket, *h, kind))
	}
	s.mark(h, kind)
	if len(s.base.kept) > 0 {
		// The front must not end before the marker can be found.
		s.base.resize()
		s.base.flush()
	}
	s.cache.front.end()
}

// getFront answers from the front. complete is that of g, the generation in use: as in Get, it
// decides about the deadline. The loads have the order of Get. If there is no answer, a has no
// Finding.
func (c *Cache) getFront(fresh *Freshness, g *generation, complete *completeness, h *apikey.Hash, a *Answer) bool {
	e := c.front.get(h)
	if e == nil || (guard.FrontChecked && !c.isValid(g, &e.entry)) || !e.canAnswer(complete) {
		return false
	}
	if !c.answerNow(fresh, a) || c.hasExpired(&e.entry, g, complete, a.Now) {
		return false
	}
	g.base.Load().asked(h)
	a.Found, a.ID, a.Record = true, e.id, &e.record
	return true
}
