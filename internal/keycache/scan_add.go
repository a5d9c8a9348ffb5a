package keycache

import (
	"bytes"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/guard"
)

// IndexIsUnique says that the unique index on the hash was seen after BeginScan and
// before the first See, and that what is seen is not from before that, so that a document may be believed as soon as it has been
// seen. Without it the documents of this scan are believed when the scan has ended
// well: only then is it known that no other document has the same hash.
func (s *Scan) IndexIsUnique() { s.unique = true }

// See takes in one document. What is held and believed is compared with it and left
// alone: it may be newer than the scan.
func (s *Scan) Add(h apikey.Hash, f Finding) {
	if s.seenBefore(h, f.ID) && guard.SeenTwice {
		s.into.set(&h, newMarker(s.ticket, h, ambiguous))
		return
	}
	value := s.encode(h, f)
	if s.conflictsWithCache(&h, f.ID) {
		s.into.set(&h, newMarker(s.ticket, h, marker))
		return
	}
	if s.compare(s.into, &h, value) {
		return
	}
	if s.kind == ScanAside {
		// If this scan fails, the generation in use goes on with what it has.
		s.compare(s.cache.current.Load(), &h, value)
	}
	s.into.set(&h, value)
}

// compare reports whether the generation has an entry of the hash that is believed. One
// that differs from what was read is a suspect.
func (s *Scan) compare(g *generation, h *apikey.Hash, value []byte) bool {
	e, body, ok := s.cache.decodeValid(g.get(h), h)
	if !ok || !e.canAnswer(g.complete.Load()) {
		return false
	}
	if !sameDocument(&e, body, value) {
		s.suspects = append(s.suspects, *h)
	}
	return true
}

// contradicts reports whether a scan that keeps no list has come to a document whose
// hash another one has that is held and believed. The other one is most likely newer
// than the scan, and the hash its own by now. Or there is no unique index after all:
// one that is still being built is listed like one that is finished. A read will tell,
// as it does where there is a marker already.
func (s *Scan) conflictsWithCache(h *apikey.Hash, id apikey.DocID) bool {
	if !s.needsNoSeenList() || !guard.SeenTwice {
		return false
	}
	e, body, ok := decodeEntry(s.into.get(h))
	if !ok || e.hash != *h {
		return false
	}
	return e.kind == marker || e.kind == ambiguous || (s.cache.isValid(&e, h) && ownerOf(body) != id)
}

// keepsNoList: with a unique index it need not, and an audit needs one in any case.
func (s *Scan) needsNoSeenList() bool { return s.unique && s.kind != ScanInPlace }

// again takes note that a document has the hash, and reports whether another one was
// seen with it before. It does not look at what is held: that may have been
// overwritten meanwhile, by a read that is older than the scan. A scan that
// need not know, since the index is unique, keeps no list.
func (s *Scan) seenBefore(h apikey.Hash, id apikey.DocID) bool {
	if s.needsNoSeenList() {
		return false
	}
	sum := s.cache.byID.sumOfID(id)
	other, known := s.seen[storeSum(&h)]
	if !known {
		s.seen[storeSum(&h)] = sum
	}
	if !known || other == sum {
		return false
	}
	s.duplicated[h] = [2]uint32{s.cache.byID.of(other), s.cache.byID.of(sum)}
	return true
}

// encode makes the entry of a document that the scan has seen.
func (s *Scan) encode(h apikey.Hash, f Finding) []byte {
	e := s.cache.entryOf(s.ticket, h, f)
	e.deadline = s.cache.deadline(&h)
	if !s.unique && guard.Provisional {
		e.kind, e.deadline = provisional, time.Duration(s.number)
	}
	value, _ := e.encode(f.ID, f.Record)
	return value
}

// countDuplicates leaves out what moved from one document to the other while the scan
// was under way: the stream has passed its end, so the stamps tell.
func (s *Scan) countDuplicates() {
	c := s.cache
	for h, slots := range s.duplicated {
		if max(c.byID.load(slots[0]), c.byID.load(slots[1]), c.byHash.load(c.byHash.ofHash(&h))) <= s.ticket.seq {
			s.duplicates++
		}
	}
	c.counters.duplicates.Add(uint64(s.duplicates))
}

// Duplicates is the number of hashes that more than one document has, known after
// Finish.
func (s *Scan) Duplicates() int { return s.duplicates }

// head is what the byte store finds a hash by.
func storeSum(h *apikey.Hash) uint64 { return identity{}.Sum64(storeKey(h)) }

// sameDocument compares a held entry with the encoding of what was read.
func sameDocument(e *entry, body, value []byte) bool {
	other, otherBody, ok := decodeEntry(value)
	return ok && e.idSlot == other.idSlot && bytes.Equal(body, otherBody)
}
