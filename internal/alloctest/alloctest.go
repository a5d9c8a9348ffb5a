// Package alloctest counts memory allocations in tests.
package alloctest

import "testing"

// calls is enough for one in which each pool has what it is asked for, and nothing runs beside it.
const calls = 300

// PerCall returns how many allocations a call of f makes at least: the fewest of several single calls,
// after one that is not counted. It is not an average, because a call can pay for what is not its own:
// under the race detector a sync.Pool throws every fourth item away, at random, a garbage collection
// empties it, and other goroutines allocate, too. Tests that call PerCall must not run in parallel.
func PerCall(f func()) float64 {
	least := testing.AllocsPerRun(1, f)
	for i := 1; i < calls && least > 0; i++ {
		least = min(least, testing.AllocsPerRun(1, f))
	}
	return least
}
