package keycache

import (
	"bytes"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/guard"
)

// IndexIsUnique reports to the scan that the unique index on the hash was seen after BeginScan and
// before the first Add, and that the documents passed to Add are not older than that. Then each
// document's entry is valid immediately. Without it the documents of this scan become valid when the
// scan has succeeded: only then is it known that no other document has the same hash.
func (s *Scan) IndexIsUnique() { s.unique = true }

// Add takes in one document.
func (s *Scan) Add(h apikey.Hash, f Finding) {
	twice := s.wasSeen(h, f.ID) && guard.SeenTwice
	switch {
	case s.fills():
		s.fill(h, f, twice)
	case twice:
		s.notBeside(&h)
		s.cache.withdraw(&h, newMarker(s.ticket, h, ambiguous))
	default:
		s.audit(h, f)
	}
}

// Skip takes in a document that no lookup can find. It has no entry, but it was expected.
func (s *Scan) Skip() { s.base.skipped++ }

// fill stores the document into the scan's own base.
func (s *Scan) fill(h apikey.Hash, f Finding, twice bool) {
	if twice {
		s.setMarker(&h, ambiguous)
		return
	}
	other := s.cache.overlay.getIfUsed(&h)
	if s.conflictsWithCache(&h, f.ID, other) {
		// The other document's entry must not answer either.
		s.cache.overlay.set(&h, newMarker(s.ticket, h, marker))
		s.setMarker(&h, marker)
		return
	}
	if s.cache.front.misses.Load() != 0 { // else nothing has ever been put there
		s.compareFront(&h, f)
	}
	if s.differsInOverlay(&h, f, other) {
		// The entry in the overlay may be newer than the scan, so it answers until it is evicted.
		s.mark(&h, marker)
		return
	}
	if s.kind == ScanAside {
		// If this scan fails, the generation in use stays with its present entries.
		s.compare(s.cache.current.Load(), &h, f)
	}
	e := entry{hash: h, kind: s.kindOfFound()}
	s.base.add(&e, f.ID, f.Record)
}

// mark stores an entry without a record into the scan's own base.
func (s *Scan) mark(h *apikey.Hash, kind entryKind) {
	s.base.add(&entry{hash: *h, kind: kind}, "", nil)
}

// audit compares the document with the entry that requests get. If there is none, it stores one in
// the overlay, unless the cache is filled on demand: then the keys in use are there already.
func (s *Scan) audit(h apikey.Hash, f Finding) {
	s.compareFront(&h, f)
	s.bytes += int64(sharedBytes + storeOverhead + min(MaxRecordBytes, bodySize(f.ID, f.Record)))
	found := s.compare(s.into, &h, f)
	if !found.inBase {
		s.notBeside(&h)
	}
	if found.valid || s.into.open.Load() {
		return
	}
	e := s.entryOf(h, f)
	value, _ := e.encode(f.ID, f.Record)
	s.cache.put(&h, value)
}

// notBeside remembers a hash that the base does not hold.
func (s *Scan) notBeside(h *apikey.Hash) {
	if len(s.beside) <= maxBeside && s.into.get(h) == nil {
		s.beside[storeSum(h)] = struct{}{}
	}
}

// compare is what requests with the hash get from this generation and the overlay. A valid entry that
// differs from what was read becomes a suspect.
func (s *Scan) compare(g *generation, h *apikey.Hash, f Finding) held {
	found := s.cache.lookUp(g, g.complete.Load(), h)
	if found.valid && !s.isSameDocument(found.body, f) {
		s.suspect(h)
	}
	return found
}

// differsInOverlay reports whether the overlay's value of the hash is a valid entry that differs from
// what was read.
func (s *Scan) differsInOverlay(h *apikey.Hash, f Finding, value []byte) bool {
	if value == nil {
		return false
	}
	e, body, ok := s.cache.decodeValid(s.into, value, h)
	if !ok || !e.canAnswer(s.into.complete.Load()) || s.isSameDocument(body, f) {
		return false
	}
	s.suspect(h)
	return true
}

// conflictsWithCache reports whether a scan without a list of seen hashes has read a document
// whose hash another document has in a valid entry. Most likely the other entry is newer than the
// scan, and the hash has moved. Or there is no unique index after all: an index that is still
// being built is listed like a finished one. A read will find out, as it does where there is a
// marker already. other is the overlay's value of the hash.
func (s *Scan) conflictsWithCache(h *apikey.Hash, id apikey.DocID, other []byte) bool {
	if !s.needsNoSeenList() || !guard.SeenTwice {
		return false
	}
	return (s.base.mayHave(h) && s.conflictsWith(s.base.get(h), h, id)) || s.conflictsWith(other, h, id)
}

func (s *Scan) conflictsWith(value []byte, h *apikey.Hash, id apikey.DocID) bool {
	e, body, ok := s.into.decodeEntry(value, h)
	if !ok {
		return false
	}
	return e.kind == marker || e.kind == ambiguous || (e.hasRecord() && s.cache.isValid(s.into, &e) && ownerOf(body) != id)
}

// needsNoSeenList: with a unique index the scan need not remember the hashes that it saw. An audit
// needs the list in any case.
func (s *Scan) needsNoSeenList() bool { return s.unique && s.fills() }

// wasSeen remembers that a document has the hash, and reports whether another document was seen
// with it before. It does not look at the cache's entries, which may have been overwritten
// meanwhile by a read that is older than the scan. A scan that need not know, because the index is
// unique, keeps no list.
func (s *Scan) wasSeen(h apikey.Hash, id apikey.DocID) bool {
	if s.needsNoSeenList() {
		return false
	}
	sum := s.into.slots.sumOfID(id)
	if s.seen == nil {
		s.seen = newSeenHashes(s.expected)
	}
	other, known := s.seen.put(storeSum(&h), sum)
	if !known || other == sum {
		return false
	}
	s.duplicated[h] = [2]uint64{other, sum}
	return true
}

// entryOf is the head of the entry of a document that the scan has seen.
func (s *Scan) entryOf(h apikey.Hash, f Finding) entry {
	e := s.into.entryOf(s.ticket, h, f)
	e.kind, e.deadline, e.scan = s.kindOfFound(), s.cache.deadline(&h), s.number
	return e
}

// kindOfFound is the kind of the entries of the documents that the scan has seen.
func (s *Scan) kindOfFound() entryKind {
	if !s.unique && guard.Provisional {
		return provisional
	}
	return found
}

// countDuplicates leaves out hashes that moved from one document to the other during the scan: the
// stream has passed the scan's end, so the stamps show it.
func (s *Scan) countDuplicates() {
	tables := s.into.slots
	for h, ids := range s.duplicated {
		if max(tables.lastOfID(ids[0]), tables.lastOfID(ids[1]), tables.lastOfHash(&h)) <= s.ticket.seq {
			s.duplicates++
		}
	}
	s.cache.counters.duplicates.Add(uint64(s.duplicates))
}

// Duplicates is the number of hashes that more than one document has, known after Finish.
func (s *Scan) Duplicates() int { return s.duplicates }

// isSameDocument is the function isSameDocument, with memory of the scan.
func (s *Scan) isSameDocument(body []byte, f Finding) bool {
	if !f.Found {
		return false
	}
	s.base.value = appendBody(s.base.value[:0], f.ID, f.Record)
	return bytes.Equal(body, s.base.value)
}

// isSameDocument compares a cached entry with what was read.
func isSameDocument(body []byte, f Finding) bool {
	return f.Found && bytes.Equal(body, appendBody(nil, f.ID, f.Record))
}
