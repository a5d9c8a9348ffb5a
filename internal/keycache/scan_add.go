package keycache

import (
	"bytes"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/guard"
)

// IndexIsUnique reports to the scan that the unique index on the hash was seen after BeginScan and
// before the first Add, and that the documents passed to Add are not older than that. Then each
// document's entry is valid immediately. Without it the documents of this scan become valid when the
// scan has succeeded: only then is it known that no other document has the same hash.
func (s *Scan) IndexIsUnique() { s.unique = true }

// Add takes in one document. A valid entry is compared with it and not replaced: it may be newer
// than the scan.
func (s *Scan) Add(h apikey.Hash, f Finding) {
	if s.wasSeen(h, f.ID) && guard.SeenTwice {
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
		// If this scan fails, the generation in use stays with its present entries.
		s.compare(s.cache.current.Load(), &h, value)
	}
	s.into.set(&h, value)
}

// compare reports whether the generation has a valid entry of the hash. An entry that differs from
// what was read becomes a suspect.
func (s *Scan) compare(g *generation, h *apikey.Hash, value []byte) bool {
	e, body, ok := s.cache.decodeValid(g.get(h), h)
	if !ok || !e.canAnswer(g.complete.Load()) {
		return false
	}
	if !isSameDocument(&e, body, value) {
		s.suspects = append(s.suspects, *h)
	}
	return true
}

// conflictsWithCache reports whether a scan without a list of seen hashes has read a document
// whose hash another document has in a valid entry. Most likely the other entry is newer than the
// scan, and the hash has moved. Or there is no unique index after all: an index that is still
// being built is listed like a finished one. A read will find out, as it does where there is a
// marker already.
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

// needsNoSeenList: with a unique index the scan need not remember the hashes that it saw. An audit
// needs the list in any case.
func (s *Scan) needsNoSeenList() bool { return s.unique && s.kind != ScanInPlace }

// seenBefore remembers that a document has the hash, and reports whether another document was seen
// with it before. It does not look at the cache's entries, which may have been overwritten
// meanwhile by a read that is older than the scan. A scan that need not know, because the index is
// unique, keeps no list.
func (s *Scan) wasSeen(h apikey.Hash, id apikey.DocID) bool {
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

// countDuplicates leaves out hashes that moved from one document to the other during the scan: the
// stream has passed the scan's end, so the stamps show it.
func (s *Scan) countDuplicates() {
	c := s.cache
	for h, slots := range s.duplicated {
		if max(c.byID.load(slots[0]), c.byID.load(slots[1]), c.byHash.load(c.byHash.ofHash(&h))) <= s.ticket.seq {
			s.duplicates++
		}
	}
	c.counters.duplicates.Add(uint64(s.duplicates))
}

// Duplicates is the number of hashes that more than one document has, known after Finish.
func (s *Scan) Duplicates() int { return s.duplicates }

// storeSum is the number by which the byte store finds a hash.
func storeSum(h *apikey.Hash) uint64 { return identity{}.Sum64(storeKey(h)) }

// sameDocument compares a cached entry with the encoding of what was read.
func isSameDocument(e *entry, body, value []byte) bool {
	other, otherBody, ok := decodeEntry(value)
	return ok && e.idSlot == other.idSlot && bytes.Equal(body, otherBody)
}
