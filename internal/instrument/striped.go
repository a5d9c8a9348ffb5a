package instrument

import "sync/atomic"

// stripes is the number of parts of a Striped, a power of two. It is many for the processors of one
// machine, and few for memory: each takes a cache line.
const stripes = 32

// Striped is a number that many processors change at a time. Each change is made to one of its parts,
// so that they do not wait for each other's cache line as they do for a single atomic. The zero
// value is 0.
type Striped struct {
	parts [stripes]struct {
		n atomic.Int64
		_ [56]byte
	}
}

// Add adds delta to a part. The parts are chosen by any number that differs from caller to caller,
// such as the last bits of a hash.
func (s *Striped) Add(part uint8, delta int64) { s.parts[part%stripes].n.Add(delta) }

// Value is the sum of the parts. Changes that are made meanwhile may be in it or not.
func (s *Striped) Value() float64 {
	sum := int64(0)
	for i := range s.parts {
		sum += s.parts[i].n.Load()
	}
	return float64(sum)
}
