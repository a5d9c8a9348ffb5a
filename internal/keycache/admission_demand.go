package keycache

import (
	"math/bits"
	"sync/atomic"
)

const (
	// bytesPerCounter of a store's size there is one counter: some ten for each typical entry, so
	// that few entries share both of theirs with others in use.
	bytesPerCounter = 32
	// counterBits: each counter is a number from 0 to mostDemand.
	counterBits = 2
	mostDemand  = 1<<counterBits - 1
	// countersPerWord is how many counters an atomic word holds.
	countersPerWord = 32 / counterBits
	// bytesPerGhost of main there is one ghost: as many as main has typical entries.
	bytesPerGhost = 256
)

// demand counts, up to mostDemand, how often hashes were asked for. Each hash has two counters that
// it may share with others; its own demand is at most the smaller one.
//
// It is written to without locks, and a count that is lost in a race does not matter. A hash that is
// asked for all the time has the highest count, so its requests only read.
type demand struct {
	words []atomic.Uint32
	mask  uint64
}

func newDemand(storeBytes int) demand {
	counters := max(countersPerWord, powerOfTwo(storeBytes/bytesPerCounter))
	return demand{words: make([]atomic.Uint32, counters/countersPerWord), mask: uint64(counters - 1)}
}

// countersOf returns the hash's counters. A hash's 64 bits are random, so both are a part of it.
func (d *demand) countersOf(sum uint64) (a, b counter) {
	return d.counter(sum & d.mask), d.counter(bits.RotateLeft64(sum, 32) & d.mask)
}

// of is the number of times that the hash was asked for, or more, up to mostDemand.
func (d *demand) of(sum uint64) uint32 {
	a, b := d.countersOf(sum)
	return min(a.load(), b.load())
}

// raise counts one request.
func (d *demand) raise(sum uint64) {
	a, b := d.countersOf(sum)
	a.raise()
	if b != a {
		b.raise()
	}
}

// lower takes one request off, and reports whether there was one.
func (d *demand) lower(sum uint64) bool {
	n := d.of(sum)
	if n > 0 {
		d.subtract(sum, 1)
	}
	return n > 0
}

// clear forgets the hash's requests, and returns how many there were.
func (d *demand) clear(sum uint64) uint32 {
	n := d.of(sum)
	d.subtract(sum, n)
	return n
}

func (d *demand) subtract(sum uint64, n uint32) {
	a, b := d.countersOf(sum)
	a.lower(n)
	if b != a {
		b.lower(n)
	}
}

// counter is one counter within its word.
type counter struct {
	word  *atomic.Uint32
	shift uint32
}

func (d *demand) counter(i uint64) counter {
	return counter{&d.words[i/countersPerWord], uint32(i%countersPerWord) * counterBits}
}

func (c counter) in(word uint32) uint32 { return word >> c.shift & mostDemand }

func (c counter) load() uint32 { return c.in(c.word.Load()) }

// raise adds one, but stops at mostDemand. It does nothing if a counter in the same word changes at
// the same time.
func (c counter) raise() {
	if word := c.word.Load(); c.in(word) < mostDemand {
		c.word.CompareAndSwap(word, word+1<<c.shift)
	}
}

// lower subtracts n, but stops at zero.
func (c counter) lower(n uint32) {
	for n > 0 {
		word := c.word.Load()
		if c.word.CompareAndSwap(word, word-min(n, c.in(word))<<c.shift) {
			return
		}
	}
}

// ghosts remembers hashes by 16 bits each, until another one takes the place. A hash that is
// remembered by mistake costs a place in main, nothing else.
type ghosts []uint16

func newGhosts(mainBytes int) ghosts { return make(ghosts, powerOfTwo(mainBytes/bytesPerGhost)) }

// place uses other bits of the hash than the number of a stripe does, and than the mark does.
func (g ghosts) place(sum uint64) (place *uint16, mark uint16) {
	return &g[sum>>8&uint64(len(g)-1)], max(1, uint16(sum>>48))
}

func (g ghosts) add(sum uint64) {
	place, mark := g.place(sum)
	*place = mark
}

// take forgets the hash, and reports whether it was remembered.
func (g ghosts) take(sum uint64) bool {
	place, mark := g.place(sum)
	known := *place == mark
	if known {
		*place = 0
	}
	return known
}

// powerOfTwo is the smallest power of two that is at least n.
func powerOfTwo(n int) int { return 1 << bits.Len(uint(max(1, n)-1)) }
