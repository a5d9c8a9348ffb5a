package keycache

import (
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/guard"
)

// maxEnded is how many entries of a base can end although no stamp ends them. More than a few mean
// that the base is not to be trusted at all.
const maxEnded = 1024

// endedSet are hashes, by their keys in the byte store, whose entries in a base do not count any
// more, because an audit or a read has refuted them. The base is not written to, so this cannot be
// done by overwriting. It is immutable. Nil: none.
type endedSet struct {
	hashes map[uint64]struct{}
	// all: no entry of the base counts. That it holds a hash still does: an absence is not affected.
	all bool
}

func (s *endedSet) isAll() bool { return s != nil && s.all }

// has reports whether the base's entry of the hash does not count.
func (s *endedSet) has(h *apikey.Hash) bool {
	if s == nil || !guard.EndedEntries {
		return false
	}
	_, ok := s.hashes[storeSum(h)]
	return ok || s.all
}

// end ends the base's entry of a hash.
func (g *generation) end(h *apikey.Hash) {
	for {
		old := g.ended.Load()
		if old.isAll() {
			return
		}
		next := &endedSet{hashes: map[uint64]struct{}{storeSum(h): {}}}
		if old != nil {
			for other := range old.hashes {
				next.hashes[other] = struct{}{}
			}
		}
		next.all = len(next.hashes) > maxEnded
		if g.ended.CompareAndSwap(old, next) {
			return
		}
	}
}
