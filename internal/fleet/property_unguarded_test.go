//go:build unguarded

package fleet

import (
	"testing"

	"github.com/keytail/keytail/internal/guard"
)

// TestWithoutTheGuardClocksDropLiveInstances: if the dates of heartbeats are
// compared, an instance that still answers is dropped.
func TestWithoutTheGuardClocksDropLiveInstances(t *testing.T) {
	guard.FleetOwnClock = false
	defer func() { guard.FleetOwnClock = true }()
	for seed := range uint64(seeds) {
		if s := runRandomFleet(t, seed, false); len(s.wrong) > 0 {
			t.Logf("wrong, as it must be, with seed %d: %s", seed, s.wrong[0])
			return
		}
	}
	t.Error("all write acknowledgements are right without the guard: the test proves nothing")
}
