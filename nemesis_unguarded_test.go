//go:build unguarded

package keytail_test

import (
	"flag"
	"maps"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/nemesis"
)

// Guards joined by + are out together: LossNoToken stands behind LossHistory.
var nemesisGuards = flag.String("nemesis.guards", "ByID,ByHash,MaxStale,LossHistory+LossNoToken,SameEpoch", "guards that TestNemesisFindsAGuardOut takes out, one at a time")

// huntFor is how long a guard that is out may stay undiscovered.
const huntFor = time.Minute

// TestNemesisFindsAGuardOut runs the nemesis against keytail with one guard out,
// and expects it to be seen:
// `go test -tags unguarded -run NemesisFindsAGuardOut . -nemesis.guards ByID`.
func TestNemesisFindsAGuardOut(t *testing.T) {
	for name := range strings.SplitSeq(*nemesisGuards, ",") {
		t.Run(name, func(t *testing.T) {
			takeOut(t, name)
			hunt(t, 1)
		})
	}
}

func hunt(t *testing.T, seed uint64) {
	t.Helper()
	// Who is away for two seconds loses its place.
	d := mongotest.StartDevmongo(t, devmongo.Config{OplogSize: 150})
	a := newArena(t, &d.Server)
	maps.Copy(a.faults, devmongoFaults(d))
	load := startAssault(t, a.keys, seed, a.askers())
	began := time.Now()
	kinds := slices.Sorted(maps.Keys(a.faults))
	for _, step := range nemesis.Plan(seed, huntFor, kinds, len(a.instances), nemesisMaxStale) {
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
	t.Errorf("not found within %v", huntFor)
}
