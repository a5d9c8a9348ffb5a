package keycache

import (
	"bytes"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/guard"
)

// IndexIsUnique says that the unique index on the hash was seen after BeginScan and
// before the first See, so that a document may be believed as soon as it has been
// seen. Without it the documents of this scan are believed when the scan has ended
// well: only then is it known that no other document has the same hash.
func (s *Scan) IndexIsUnique() { s.unique = true }

// See takes in one document. What is held is left alone when it may be newer than the
// scan, and one that is believed is compared with it.
func (s *Scan) See(h apikey.Hash, f Finding) {
	if s.kind == ScanInPlace {
		s.seen[head(&h)] = struct{}{}
	}
	value := s.encode(h, f)
	if e, body, ok := decodeEntry(s.into.get(&h)); ok {
		if guard.SeenTwice && e.since(s.ticket) && (e.hash != h || ownerOf(body) != f.ID) {
			s.seeAgain(&e, body, h, f)
			return
		}
		if e.answers(s.into.complete.Load()) && s.cache.holds(&e, &h) {
			if !sameDocument(&e, body, value) {
				s.suspects = append(s.suspects, h)
			}
			return
		}
	}
	s.into.set(&h, value)
}

// encode makes the entry of a document that the scan has seen.
func (s *Scan) encode(h apikey.Hash, f Finding) []byte {
	e := s.cache.entryOf(s.ticket, h, f)
	if e.kind == found && !s.unique && guard.Provisional {
		e.kind = provisional
	}
	e.deadline = s.cache.deadline(&h)
	value, _ := e.encode(f.ID, f.Record)
	return value
}

// seeAgain meets, in the place of a document, what has been put there since the scan
// began and is not of this document: mostly another document with the same hash. None
// of them is an answer before the hash has been read.
func (s *Scan) seeAgain(e *entry, body []byte, h apikey.Hash, f Finding) {
	if e.kind == ambiguous && e.hash == h {
		return
	}
	s.into.set(&h, mark(s.ticket, h, ambiguous))
	if other := ownerOf(body); e.hash == h && other != "" {
		s.twice = append(s.twice, twice{hash: h, slots: [2]uint32{s.cache.byID.ofID(other), s.cache.byID.ofID(f.ID)}})
	}
}

// twice is a hash that a scan has seen in two documents.
type twice struct {
	hash  apikey.Hash
	slots [2]uint32
}

// countDuplicates leaves out what moved from one document to the other while the scan
// was under way: the stream has passed its end, so the stamps tell.
func (s *Scan) countDuplicates() {
	c := s.cache
	for i := range s.twice {
		t := &s.twice[i]
		if max(c.byID.load(t.slots[0]), c.byID.load(t.slots[1]), c.byHash.load(c.byHash.ofHash(&t.hash))) <= s.ticket.seq {
			s.duplicates++
		}
	}
	c.counters.duplicates.Add(uint64(s.duplicates))
}

// Duplicates is the number of hashes that more than one document has, known after
// Finish.
func (s *Scan) Duplicates() int { return s.duplicates }

// head is what the byte store finds a hash by.
func head(h *apikey.Hash) uint64 { return identity{}.Sum64(storeKey(h)) }

// sameDocument compares a held entry with the encoding of what was read.
func sameDocument(e *entry, body, value []byte) bool {
	other, otherBody, ok := decodeEntry(value)
	return ok && e.idSlot == other.idSlot && bytes.Equal(body, otherBody)
}
