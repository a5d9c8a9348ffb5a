//go:build unguarded

package keytail_test

import (
	"flag"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/nemesis"
)

// foundGuards are those that are found in far less than a minute
// (internal/nemesis/DESIGN.md has the others, and why). Guards joined by + are
// out together: LossNoToken stands behind each other loss.
var foundGuards = []string{
	"AfterClusterTime", "Majority",
	"SeqBeforeRead", "TrustedStore+EvenEpoch+SameEpoch", "SameEpoch", "ByID", "ByHash", "Vouch", "ChangeFloor", "OpenFloor",
	"EpochAtLoss", "EpochAtOpen", "MaxStale", "AbsentEpoch", "AbsentByHash", "AbsentEvictions",
	"LossHistory+LossNoToken", "LossPosition+LossNoToken", "LossTokenRefused+LossNoToken", "LossTokenRemoved+LossNoToken",
	"LossEventTooLarge+LossNoToken", "LossUnknownCode+LossNoToken",
	"LossDrop+LossNoToken", "LossDrop+LossDropDatabase+LossInvalidate+LossNoToken", "LossRename+LossNoToken",
	"InspectAtOpen", "DefaultBatch", "ToCollection", "InspectAtRead",
}

var nemesisGuards = flag.String("nemesis.guards", strings.Join(foundGuards, ","), "guards that TestNemesisFindsAGuardOut takes out, one at a time")

// nemesisHunt is how long a guard that is out may stay undiscovered.
var nemesisHunt = flag.Duration("nemesis.hunt", time.Minute, "how long TestNemesisFindsAGuardOut looks for each guard")

// TestNemesisFindsAGuardOut runs the nemesis against keytail with one guard out,
// and expects it to be seen:
// `go test -tags unguarded -run NemesisFindsAGuardOut . -nemesis.guards ByID`.
func TestNemesisFindsAGuardOut(t *testing.T) {
	for name := range strings.SplitSeq(*nemesisGuards, ",") {
		t.Run(name, func(t *testing.T) {
			takeOut(t, name)
			hunt(t, anySeed(*nemesisSeed))
		})
	}
}

func hunt(t *testing.T, seed uint64) {
	t.Helper()
	t.Logf("replay the plan with -nemesis.seed %d -nemesis.hunt %v", seed, *nemesisHunt)
	// Who is away for two seconds loses its place.
	d := mongotest.StartDevmongo(t, devmongo.Config{OplogSize: 200})
	a := newArena(t, &d.Server)
	load := startAssault(t, a.writersKeys(), seed, a.askers())
	stopWatching := a.watch(load.history)
	defer stopWatching()
	// Those of the network and of single commands find nothing that these do not.
	a.faults = a.devmongoFaults(d)
	maps.Copy(a.faults, refusals(t, &d.Server))
	maps.Copy(a.faults, a.upheavals(load))
	maps.Copy(a.faults, a.restores(load, d))
	maps.Copy(a.faults, a.timeFaults(d))
	// It shows no wrong answer, and takes long.
	delete(a.faults, "slow resumes until the loss")
	a.faults["forged heartbeats"] = a.forgeries(load)
	a.faults["ballast"] = a.overfill
	began := time.Now()
	kinds := a.kinds()
	for _, step := range nemesis.Plan(seed, *nemesisHunt, nemesis.Dense(), kinds, len(a.instances), nemesisMaxStale) {
		a.after(step.Pause)
		a.strike(load, step)
		// Recent answers are judged after the next step.
		for _, v := range load.history.Judge(nemesisMaxStale, time.Now().Add(-time.Second)) {
			if v.Rule != nemesis.Withheld {
				t.Logf("found after %v: %v", time.Since(began).Round(time.Millisecond), v)
				return
			}
		}
	}
	load.stop()
	t.Errorf("not found within %v", *nemesisHunt)
}
