package nemesis

import (
	"flag"
	"maps"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/nemesis"
)

var (
	nemesisFor  = flag.Duration("nemesis.for", 20*time.Second, "how long TestNemesis makes faults on each server")
	nemesisSeed = flag.Uint64("nemesis.seed", 0, "the plan of TestNemesis's faults; 0: any, which is printed")
	// Shorter than Grace, otherwise the oracle could not check the answers after it.
	nemesisConnect = flag.Duration("nemesis.connect", 2*time.Second, "the connect timeout of the instances' clients; the driver's own is 30s")
	nemesisFaults  = flag.String("nemesis.faults", "", "the kinds of faults, joined by |; empty: all")
	nemesisLogs    = flag.Bool("nemesis.logs", false, "show the instances' logs")
)

const (
	nemesisInstances = 3
	// nemesisMaxStale is short, so that within a minute the caches become stale more than
	// once.
	nemesisMaxStale = 6 * time.Second
	// nemesisAvailable is the minimum share of answers outside faults that are not
	// UNAVAILABLE.
	nemesisAvailable = 0.999
	// healthyTime is the time before the first fault, for comparison.
	healthyTime = 3 * time.Second
	// registerTimeout limits porcupine; it normally needs far less.
	registerTimeout = 20 * time.Second
	// convergence is the maximum time after the last fault until all verdicts are right.
	convergence = 5 * time.Second
)

// histories are faults that occur too rarely in twenty seconds of all kinds. Twenty
// seconds of only these have each of them once.
var histories = []string{
	"restored in place", "restored in place, quiet", "slow resumes", "clocks apart", "forged heartbeats",
	"unique index dropped, duplicates", "hashes in arrays",
}

// TestNemesis makes faults on each server in turn, while keys are written and
// validated: `go test -run Nemesis ./internal/integration/nemesis -nemesis.for 30m -nemesis.seed 1`.
func TestNemesis(t *testing.T) {
	seed := anySeed(*nemesisSeed)
	t.Run(mongotest.NameDevmongo, func(t *testing.T) {
		checkLeaks(t, func(t *testing.T) {
			// The oplog is short: a stream that is interrupted for ten seconds loses its place.
			d := mongotest.StartDevmongo(t, devmongo.Config{OplogSize: 400})
			a := newTestbed(t, &d.Server)
			a.devmongo = d
			a.run(seed, *nemesisFor)
		})
	})
	t.Run(mongotest.NameDevmongo+", collection scope", func(t *testing.T) {
		checkLeaks(t, func(t *testing.T) {
			d := mongotest.StartDevmongo(t, devmongo.Config{OplogSize: 400})
			a := newTestbed(t, d.InScope(mongotest.ScopeCollection))
			a.devmongo = d
			// Half as long, because CI must not take longer for each scope.
			a.run(seed, *nemesisFor/2)
		})
	})
	t.Run(mongotest.NameDevmongo+", histories", func(t *testing.T) {
		if *nemesisFaults != "" {
			t.Skip("the faults are chosen by -nemesis.faults")
		}
		checkLeaks(t, func(t *testing.T) {
			d := mongotest.StartDevmongo(t, devmongo.Config{OplogSize: 400})
			a := newTestbed(t, d.InScope(testkit.Scopes[seed%2]))
			a.devmongo, a.only, a.pace = d, histories, nemesis.Dense()
			a.run(seed, *nemesisFor)
		})
	})
	t.Run(mongotest.NameSecantus, func(t *testing.T) {
		checkLeaks(t, func(t *testing.T) {
			s := mongotest.StartSecantus(t, mongotest.SecantusConfig{})
			a := newTestbed(t, &s.Server)
			maps.Copy(a.faults, secantusFaults(t, s))
			a.run(seed, *nemesisFor)
		})
	})
}

// run makes faults, then waits without faults, then drops the collection.
func (a *testbed) run(seed uint64, lasts time.Duration) {
	a.t.Logf("replay the plan with -nemesis.seed %d -nemesis.for %v", seed, *nemesisFor)
	load := startWorkload(a.t, a.writersKeys(), seed, a.validators())
	stopWatching := a.watch(load.history)
	defer stopWatching()
	a.addFaults(load)
	kinds := a.kinds()
	a.checkWithoutFaults(load, healthyTime)
	a.mustRefuseByEvents(load)
	began := time.Now()
	for _, step := range nemesis.Plan(seed, lasts, a.pace, kinds, len(a.instances), nemesisMaxStale) {
		if time.Since(began) > lasts {
			break // some faults take longer than planned
		}
		a.after(step.Pause)
		a.inject(load, step)
		if a.reportViolations(load, time.Now().Add(-time.Second)) {
			return
		}
	}
	repaired := time.Now()
	load.stopWriters()
	a.mustConverge(load, repaired.Add(convergence))
	a.after(time.Until(repaired.Add(nemesis.Grace + 2*time.Second)))
	a.reportViolations(load, time.Time{})
	// Without the collection all keys are UNAVAILABLE.
	availability, outages := load.history.Availability(), load.history.Outages()
	a.drop(load)
	load.stop()
	a.reportViolations(load, time.Time{})
	a.report(load.history, availability, outages)
}

// addFaults adds the faults that need the workload, or that only this server can make.
func (a *testbed) addFaults(load *workload) {
	maps.Copy(a.faults, a.collectionFaults(load))
	a.faults["forged heartbeats"] = a.forgeries(load)
	if a.server.Failpoints {
		a.faults["any code"] = a.randomCode(load)
	}
	if a.devmongo != nil {
		maps.Copy(a.faults, a.devmongoFaults(a.devmongo))
		maps.Copy(a.faults, a.restores(load, a.devmongo))
		maps.Copy(a.faults, a.timeFaults(a.devmongo))
	}
}

// kinds returns the kinds of faults to make.
func (a *testbed) kinds() []string {
	switch {
	case a.only != nil:
		return a.only
	case *nemesisFaults == "":
		return slices.Sorted(maps.Keys(a.faults))
	}
	kinds := strings.Split(*nemesisFaults, "|")
	for _, kind := range kinds {
		if a.faults[kind] == nil {
			a.t.Fatalf("-nemesis.faults: got %q, want some of %q", kind, slices.Sorted(maps.Keys(a.faults)))
		}
	}
	return kinds
}

// after waits for a pause of the plan, or until the test ends.
func (a *testbed) after(d time.Duration) {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-a.t.Context().Done():
	}
}

func (a *testbed) inject(load *workload, step nemesis.Step) {
	victims := a.instances
	if step.Victim >= 0 {
		victims = victims[step.Victim : step.Victim+1]
	}
	over := load.history.BeginFault(step.Kind)
	began := time.Now()
	repair := a.faults[step.Kind](victims)
	a.after(step.For)
	repair()
	over()
	a.t.Logf("%s: %s for %v (planned %v), %d victims", began.Format("15:04:05.000"), step.Kind,
		time.Since(began).Round(time.Millisecond), step.For.Round(time.Millisecond), len(victims))
}

// anySeed returns the seed of the flag, or a random one if it is 0.
func anySeed(seed uint64) uint64 {
	if seed == 0 {
		return rand.Uint64()
	}
	return seed
}
