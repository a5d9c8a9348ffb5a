package keycache

import (
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/guard"
)

// Mark takes in a hash under which a look-up may find a document although it is not
// the document's own, such as one in an array. It leaves a marker: the hash is not
// absent, and whoever asks for it is answered by a read. So only a superset of what
// the database would find is needed, and a document with a thousand hashes takes a
// thousand markers and not a thousand copies of its record.
//
// What is held already stays, unless this scan has put it there for another document:
// then more than one has the hash. If it is believed it came from such a read, and is
// compared with f as See does. If it is not believed it never will be again, which
// is as good as a marker.
func (s *Scan) AddMarker(h apikey.Hash, f Finding) {
	if s.seenBefore(h, f.ID) && guard.SeenTwice {
		s.into.set(&h, newMarker(s.ticket, h, ambiguous))
		return
	}
	switch {
	case s.into.get(&h) == nil:
		s.into.set(&h, newMarker(s.ticket, h, marker))
	case s.kind == ScanInPlace:
		s.compare(s.into, &h, s.encode(h, f))
	}
}
