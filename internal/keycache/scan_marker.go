package keycache

import (
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/guard"
)

// AddMarker takes in a hash by which a lookup may find a document although it is not the
// document's own hash, such as one in an array. It leaves a marker: the hash is not absent, and a
// request with it is answered by a read. So only a superset of what the database would find is
// needed, and a document with a thousand hashes takes a thousand markers and not a thousand copies
// of its record.
//
// An existing entry stays, unless this scan has put it there for another document: then more than
// one document has the hash. If the entry is valid, it came from such a read, and is compared with
// f as Add does.
func (s *Scan) AddMarker(h apikey.Hash, f Finding) {
	twice := s.wasSeen(h, f.ID) && guard.SeenTwice
	if !twice {
		s.compareFront(&h, f)
	}
	switch {
	case s.fills() && twice:
		s.setMarker(&h, ambiguous)
	case s.fills():
		if s.base.get(&h) == nil {
			s.mark(&h, marker)
		}
	default:
		s.notBeside(&h)
		if twice {
			s.cache.withdraw(&h, newMarker(s.ticket, h, ambiguous))
			return
		}
		s.compare(s.into, &h, f)
	}
}
