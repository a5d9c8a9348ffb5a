//go:build unguarded

package nemesis

import (
	"flag"
	"maps"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/nemesis"
)

// foundGuards are the guards whose removal the nemesis detects in far less than a minute
// (internal/nemesis/DESIGN.md explains the others). Guards joined by + are removed
// together, because LossNoToken covers each other loss.
var foundGuards = []string{
	"AfterClusterTime", "Majority",
	"SeqBeforeRead", "TrustedStore+EvenEpoch+SameEpoch", "SameEpoch", "ByID", "ByHash", "Revalidate", "ChangeFloor", "OpenFloor",
	"EpochAtLoss", "EpochAtOpen", "MaxStale", "AbsentEpoch", "AbsentByHash", "AbsentEvictions",
	"LossHistory+LossNoToken", "LossPosition+LossNoToken", "LossTokenRefused+LossNoToken", "LossTokenRemoved+LossNoToken",
	"LossEventTooLarge+LossNoToken", "LossUnknownCode+LossNoToken",
	"LossDrop+LossNoToken", "LossDrop+LossDropDatabase+LossInvalidate+LossNoToken", "LossRename+LossNoToken",
	"InspectAtOpen", "DefaultBatch", "ToCollection", "InspectAtRead",
	"LossRewound", "RandomNonces", "FleetOwnClock", "StampHashes", "MarkHashes",
	"ChangeSole", "RenewSole", "AmbiguousMark", "SeenTwice", "Provisional", "TwoDocuments",
	"RefusalPlain", "RefusalAlone", "RefusalLast",
}

// revealingFaults are the only faults that can reveal that a guard is missing. For the
// other guards the test makes all faults in turn.
var revealingFaults = map[string][]string{
	"LossRewound":   {"restored in place", "restored in place, quiet"},
	"RandomNonces":  {"forged heartbeats"},
	"FleetOwnClock": {"clocks apart"},
	"StampHashes":   {"hashes in arrays"},
	"MarkHashes":    {"hashes in arrays"},
	"ChangeSole":    {"unique index dropped, duplicates"},
	"RenewSole":     {"unique index dropped, duplicates"},
	"AmbiguousMark": {"unique index dropped, duplicates"},
	"SeenTwice":     {"unique index dropped, duplicates"},
	"Provisional":   {"unique index dropped, duplicates"},
	"TwoDocuments":  {"unique index dropped, duplicates"},
}

var nemesisGuards = flag.String("nemesis.guards", strings.Join(foundGuards, ","), "guards that TestNemesisFindsAGuardOut takes out, one at a time")

// nemesisHunt is the maximum time until the removal of a guard must be detected.
var nemesisHunt = flag.Duration("nemesis.hunt", time.Minute, "how long TestNemesisFindsAGuardOut looks for each guard")

// TestNemesisFindsAGuardOut runs the nemesis against keytail without one guard, and
// expects it to find a violation:
// `go test -tags unguarded -run NemesisFindsAGuardOut ./internal/integration/nemesis -nemesis.guards ByID`.
func TestNemesisFindsAGuardOut(t *testing.T) {
	for name := range strings.SplitSeq(*nemesisGuards, ",") {
		t.Run(name, func(t *testing.T) {
			testkit.TakeOut(t, name)
			hunt(t, name, anySeed(*nemesisSeed))
		})
	}
}

func hunt(t *testing.T, guards string, seed uint64) {
	t.Helper()
	t.Logf("replay the plan with -nemesis.seed %d -nemesis.hunt %v", seed, *nemesisHunt)
	// A stream that is interrupted for two seconds loses its history.
	d := mongotest.StartDevmongo(t, devmongo.Config{OplogSize: 200})
	a := newTestbed(t, &d.Server)
	load := startWorkload(t, a.writersKeys(), seed, a.validators())
	stopWatching := a.watch(load.history)
	defer stopWatching()
	// Faults of the network and of single commands find nothing that these do not.
	a.faults = a.devmongoFaults(d)
	maps.Copy(a.faults, streamErrors(t, &d.Server))
	maps.Copy(a.faults, a.collectionFaults(load))
	a.faults["ballast"] = a.overfill
	kinds := a.kinds()
	if only := revealingFaults[guards]; only != nil {
		maps.Copy(a.faults, a.restores(load, d))
		maps.Copy(a.faults, a.timeFaults(d))
		a.faults["forged heartbeats"] = a.forgeries(load)
		kinds = only
	}
	began := time.Now()
	for _, step := range nemesis.Plan(seed, *nemesisHunt, nemesis.Dense(), kinds, len(a.instances), nemesisMaxStale) {
		if time.Since(began) > *nemesisHunt {
			break // some faults take longer than planned
		}
		a.after(step.Pause)
		a.inject(load, step)
		// The next step checks recent answers.
		for _, v := range load.history.CheckUntil(nemesisMaxStale, time.Now().Add(-time.Second)) {
			if v.Rule != nemesis.Withheld {
				t.Logf("found after %v: %v", time.Since(began).Round(time.Millisecond), v)
				return
			}
		}
	}
	load.stop()
	t.Errorf("no violation found, want one within %v", *nemesisHunt)
}
