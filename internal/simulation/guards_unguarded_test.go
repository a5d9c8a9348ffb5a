//go:build unguarded

package simulation

import (
	"flag"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/integration/testkit"
)

var (
	simulateGuards = flag.String("simulation.guards", "SameEpoch,ByID,ByHash,AfterClusterTime,EpochAtLoss", "guards that TestSimulationFindsAGuardOut takes out, one after another; + joins those that back each other up")
	simulateHunt   = flag.Int("simulation.hunt", 100, "after how many seeds a guard that was taken out must have been found")
)

// TestSimulationFindsAGuardOut takes guards out, and expects that the simulation finds a wrong answer.
func TestSimulationFindsAGuardOut(t *testing.T) {
	for name := range strings.SplitSeq(*simulateGuards, ",") {
		t.Run(name, func(t *testing.T) {
			testkit.TakeOut(t, name)
			start := time.Now()
			for n := range *simulateHunt {
				seed := firstSeed() + uint64(n)
				if r := simulate(t, seed, false); len(r.wrong) > 0 {
					what, _, _ := strings.Cut(r.wrong[0], "\n")
					t.Logf("found by seed %d of %d, after %v: %s", n+1, *simulateHunt, time.Since(start).Round(100*time.Millisecond), what)
					return
				}
			}
			t.Errorf("no seed of %d finds it", *simulateHunt)
		})
	}
}

// TestTheScriptFindsAGuardOut: what random runs rarely do, a script does.
func TestTheScriptFindsAGuardOut(t *testing.T) {
	testkit.TakeOut(t, "SameCursor")
	if wrong := restoredBehind(t); len(wrong) == 0 {
		t.Error("all answers are right without the guard")
	}
}
