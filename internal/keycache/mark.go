package keycache

import "github.com/keytail/keytail/internal/apikey"

// Mark takes in a hash under which a look-up may find a document although it is not
// the document's own, such as one in an array. It leaves a marker: the hash is not
// absent, and whoever asks for it is answered by a read. So only a superset of what
// the database would find is needed, and a document with a thousand hashes takes a
// thousand markers and not a thousand copies of its record.
//
// What is held already stays. If it is believed it came from such a read, and is
// compared with f as See does. If it is not believed it never will be again, which
// is as good as a marker.
func (s *Scan) Mark(h apikey.Hash, f Finding) {
	c := s.cache
	if s.kind == ScanInPlace {
		s.seen[head(&h)] = struct{}{}
	}
	held := s.into.get(&h)
	if held == nil {
		gone := entry{hash: h, kind: marker}
		value, _ := gone.encode("", nil)
		s.into.set(&h, value)
		return
	}
	if s.kind != ScanInPlace {
		return
	}
	if e, record, ok := c.believed(held, &h); ok && e.kind == found {
		if value, _ := c.encode(s.ticket, h, f); !sameDocument(&e, record, value) {
			s.suspects = append(s.suspects, h)
		}
	}
}
