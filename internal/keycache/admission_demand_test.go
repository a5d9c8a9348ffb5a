package keycache

import (
	"math/rand/v2"
	"sync"
	"testing"
)

func TestDemandIsNeverUnderestimated(t *testing.T) {
	d, random := newDemand(1<<10), rand.New(rand.NewPCG(7, 8))
	raised := map[uint64]uint32{}
	sums := make([]uint64, 40)
	for i := range sums {
		sums[i] = random.Uint64()
	}
	for range 200 {
		sum := sums[random.IntN(len(sums))]
		d.raise(sum)
		raised[sum]++
	}
	for sum, n := range raised {
		if got := d.of(sum); got < min(n, mostDemand) {
			t.Errorf("%x was raised %d times, and has %d", sum, n, got)
		}
	}
}

func TestDemandCountsUpAndDown(t *testing.T) {
	d := newDemand(1 << 20)
	const sum = 0x0123456789abcdef
	for range 10 {
		d.raise(sum)
	}
	if got := d.of(sum); got != mostDemand {
		t.Fatalf("%d after ten requests", got)
	}
	if !d.lower(sum) || d.of(sum) != mostDemand-1 {
		t.Fatalf("%d after lower", d.of(sum))
	}
	if n := d.clear(sum); n != mostDemand-1 || d.of(sum) != 0 || d.lower(sum) || d.clear(sum) != 0 {
		t.Fatalf("clear returned %d, and leaves %d", n, d.of(sum))
	}
	for i := range d.words {
		if d.words[i].Load() != 0 {
			t.Fatalf("word %d is %b, although nothing is left", i, d.words[i].Load())
		}
	}
}

// TestDemandOfNeighboursDoesNotMix: sixteen counters share a word, and all goroutines write to it.
func TestDemandOfNeighboursDoesNotMix(t *testing.T) {
	d := newDemand(0)
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			for range 10_000 {
				// Both counters of this hash are the first one.
				d.raise(0)
				d.lower(0)
			}
		})
	}
	wait.Wait()
	if word := d.words[0].Load(); word > mostDemand {
		t.Errorf("other counters have changed: %b", word)
	}
}

func TestGhostsForgetWhatWasTaken(t *testing.T) {
	g := newGhosts(1 << 20)
	const sum, other = 0x0123456789abcdef, 0x0223456789abcdef
	if g.take(sum) {
		t.Fatal("an empty table knows a hash")
	}
	g.add(sum)
	if g.take(other) {
		t.Fatal("another hash in the same place is known")
	}
	if !g.take(sum) || g.take(sum) {
		t.Fatal("take does not forget")
	}
	// A mark of zero means an empty place.
	if g.take(0) {
		t.Fatal("an empty place is a hash")
	}
}
