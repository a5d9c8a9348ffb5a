package keycache

import "github.com/keytail/keytail/internal/apikey"

// Mark takes in a hash under which a look-up may find a document although it is not
// the document's own, such as one in an array. It leaves a marker: the hash is not
// absent, and a request for it reads the database. So only a superset of what
// the database would find is needed, and a document with a thousand hashes takes a
// thousand markers and not a thousand copies of its record.
//
// An entry from before the scan that is believed came from such a read, and is
// compared with f as See does. Whatever else is held gives way to the marker: it
// may be another document that the scan has seen under this hash.
func (s *Scan) Mark(h apikey.Hash, f Finding) {
	if s.kind == ScanInPlace {
		s.seen[head(&h)] = struct{}{}
	}
	e, body, ok := decodeEntry(s.into.get(&h))
	if ok && e.hash == h {
		if e.kind == marker || e.kind == ambiguous {
			return
		}
		if !e.since(s.ticket) && e.answers(s.into.complete.Load()) && s.cache.holds(&e, &h) {
			if !sameDocument(&e, body, s.encode(h, f)) {
				s.suspects = append(s.suspects, h)
			}
			return
		}
	}
	s.into.set(&h, mark(s.ticket, h, marker))
}
