package simulation

import (
	"hash/fnv"
	"math"
	"math/rand/v2"
	"sync"
	"time"
)

// dice are the random numbers of a run. What is thrown depends on the seed, on what it is thrown for,
// and on how often that has been thrown for before, but not on the order in which goroutines ask: two
// of them that run at the same virtual moment may ask in any order.
type dice struct {
	seed   uint64
	mutex  sync.Mutex
	thrown map[string]uint64
}

func newDice(seed uint64) *dice { return &dice{seed: seed, thrown: map[string]uint64{}} }

// next returns the numbers for the next use of this name.
func (d *dice) next(name string) chance {
	d.mutex.Lock()
	d.thrown[name]++
	n := d.thrown[name]
	d.mutex.Unlock()
	return d.at(name, n)
}

// at returns the numbers for the n-th use of this name.
func (d *dice) at(name string, n uint64) chance {
	hash := fnv.New64a()
	_, _ = hash.Write([]byte(name))
	return chance{rand.New(rand.NewPCG(d.seed, hash.Sum64()^n*0x9e3779b97f4a7c15))}
}

// chance is one sequence of random numbers, for one goroutine.
type chance struct{ *rand.Rand }

// in is true with this probability.
func (c chance) in(probability float64) bool { return c.Float64() < probability }

// between is a time between two others, both above zero: short ones are as likely as long ones in each order
// of magnitude. It has a nanosecond of its own, so that hardly any two things happen at the same moment.
func (c chance) between(least, most time.Duration) time.Duration {
	ratio := float64(most) / float64(least)
	return time.Duration(float64(least)*math.Pow(ratio, c.Float64())) + time.Duration(c.IntN(997))
}

// pick returns one of the elements.
func pick[T any](c chance, from []T) T { return from[c.IntN(len(from))] }
