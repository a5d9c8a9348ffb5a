package keycache

import (
	"math/rand/v2"
	"testing"
)

// Whatever number was predicted, the list is a map of all sums to their first ids.
func TestSeenHashesAreAMap(t *testing.T) {
	for _, predicted := range []int64{0, 1000, 50_000} {
		random := rand.New(rand.NewPCG(18, 3))
		s, want := newSeenHashes(predicted), map[uint64]uint64{}
		for range 50_000 {
			sum, id := 1+random.Uint64N(30_000), random.Uint64()
			if random.IntN(2) == 0 {
				sum <<= 40 // one part, and neighbours
			}
			before, known := want[sum]
			if s.has(sum) != known {
				t.Fatalf("%d predicted: has is %v", predicted, !known)
			}
			if !known {
				before, want[sum] = id, id
			}
			if first, again := s.put(sum, id); first != before || again != known {
				t.Fatalf("%d predicted: put returns %d, %v, want %d, %v", predicted, first, again, before, known)
			}
		}
	}
}
