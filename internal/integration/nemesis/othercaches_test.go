package nemesis

import (
	"context"
	"encoding/json"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/nemesis"
	"github.com/keytail/keytail/internal/nemesis/othercaches"
)

var (
	othersFor    = flag.Duration("others.for", 700*time.Millisecond, "how long TestOtherCaches makes faults on each cache")
	othersAfter  = flag.Duration("others.after", 100*time.Millisecond, "how long TestOtherCaches asks after the last fault and write; longer than the time to live shows all of it")
	othersCaches = flag.String("others.caches", othercaches.Keytail+",stream", "the caches that TestOtherCaches runs, joined by commas; all: every one")
	othersTTL    = flag.Duration("others.ttl", 0, "the time to live of the other caches; 0: each its own")
	othersOut    = flag.String("others.out", "", "the directory into which TestOtherCaches writes a result for each cache; empty: none")
)

// keytailOnly are faults that are about keytail's own parts or promises: its heartbeats, the sizes of its
// caches, and DISABLED for documents that share a hash.
var keytailOnly = []string{
	"ballast", "clocks apart", "forged heartbeats", "hashes in arrays", "slow resumes until the loss", "unique index dropped, duplicates",
}

// TestOtherCaches makes the same faults on keytail and on other caches, and judges all of them by the
// same oracle. keytail must break no rule; of the others the score is written to -others.out.
//
// Without flags it checks that this still works. The tables of docs/BENCHMARKS.md need minutes for each cache:
// `go -C bench run . other-caches`.
func TestOtherCaches(t *testing.T) {
	seed := anySeed(*nemesisSeed)
	if *othersOut != "" {
		if _, err := os.Stat(*othersOut); err != nil {
			t.Fatalf("-others.out must be a directory that exists: %v", err)
		}
	}
	for _, name := range chosenCaches(t) {
		t.Run(name, func(t *testing.T) {
			d := mongotest.StartDevmongo(t, devmongo.Config{OplogSize: 400})
			a := newTestbedFor(t, &d.Server, name)
			a.devmongo = d
			a.compare(seed, name)
		})
	}
}

func chosenCaches(t *testing.T) []string {
	all := []string{othercaches.Keytail}
	for _, k := range othercaches.Kinds() {
		all = append(all, k.Name)
	}
	if *othersCaches == "all" {
		return all
	}
	chosen := strings.Split(*othersCaches, ",")
	for _, name := range chosen {
		if !slices.Contains(all, name) {
			t.Fatalf("-others.caches: got %q, want some of %q", name, all)
		}
	}
	return chosen
}

// newTestbedFor starts a fleet of the cache with this name.
func newTestbedFor(t *testing.T, s *mongotest.Server, name string) *testbed {
	t.Helper()
	for _, k := range othercaches.Kinds() {
		if k.Name == name {
			return newTestbedOf(t, s, startOther(k))
		}
	}
	return newTestbed(t, s)
}

// startOther returns a function that starts an instance of another cache.
func startOther(k othercaches.Kind) func(*testing.T, *mongotest.Server, string, int) *instance {
	return func(t *testing.T, s *mongotest.Server, database string, number int) *instance {
		t.Helper()
		i, client := newInstance(t, s, number)
		cache := k.New(othercaches.Config{Keys: keysOf(client, database), TTL: *othersTTL})
		i.validator = cache
		ctx, stop := context.WithCancel(context.Background())
		var running sync.WaitGroup
		running.Go(func() { cache.Run(ctx) })
		t.Cleanup(func() { stop(); running.Wait() })
		return i
	}
}

func keysOf(client *mongo.Client, database string) *mongo.Collection {
	return client.Database(database).Collection("api_keys", options.Collection().SetWriteConcern(writeconcern.Majority()))
}

// compare makes the faults of a seed, and writes the score. The history is that of -nemesis.history.
func (a *testbed) compare(seed uint64, name string) {
	a.t.Logf("replay the plan with -nemesis.seed %d -others.for %v", seed, *othersFor)
	began := time.Now()
	load := startWorkload(a.t, a.writersKeys(), seed, a.validators())
	stopWatching := a.watch(load.history)
	defer stopWatching()
	load.startLeavers()
	a.addFaults(load)
	maps.DeleteFunc(a.faults, func(kind string, _ fault) bool { return slices.Contains(keytailOnly, kind) })
	faults := time.Now()
	for _, step := range nemesis.Plan(seed, *othersFor, a.pace, a.kinds(), len(a.instances), nemesisMaxStale) {
		if time.Since(faults) > *othersFor {
			break // some faults take longer than planned
		}
		a.after(step.Pause)
		a.inject(load, step)
		load.history.CheckUntil(nemesisMaxStale, time.Now().Add(-time.Second))
	}
	load.stopWriters()
	a.after(*othersAfter)
	load.stop()
	took := time.Since(began)
	if load.history.Check(nemesisMaxStale); name == othercaches.Keytail {
		a.reportViolations(load, time.Time{})
	}
	a.writeResult(load, name, seed, took)
}

// writeResult logs the score of a run, and writes it to -others.out.
func (a *testbed) writeResult(load *workload, name string, seed uint64, took time.Duration) {
	totals := load.history.Totals()
	wrong := map[nemesis.Answer]bool{} // a set
	for _, v := range load.history.Check(nemesisMaxStale) {
		wrong[v.Answer] = true
	}
	result := othercaches.Result{
		Cache: name, TTL: *othersTTL, MaxStale: nemesisMaxStale, Seed: seed, For: *othersFor, After: *othersAfter, Took: took,
		Instances: len(a.instances), Writes: totals.Writes, Faults: totals.Faults, Score: load.history.Score(), Wrong: len(wrong),
	}
	for _, i := range a.instances {
		result.Finds += i.commands.finds.Load()
		result.Commands += i.commands.all.Load()
	}
	s := &result.Score
	if s.Outside.Answers == 0 {
		a.t.Error("no answers outside faults: the run has measured nothing")
	}
	a.t.Logf("wrong answers %d of %d; accepted after the acknowledgement %d, late %d, longest %v; wrong noes %d within faults, %d outside; served %.4f %% within, %.4f %% outside; %d finds, %d commands",
		len(wrong), totals.Answers, s.Accepted, s.LateAcceptances, s.Longest().Round(time.Millisecond), s.Inside.WrongNos, s.Outside.WrongNos, 100*s.Inside.Share(), 100*s.Outside.Share(), result.Finds, result.Commands)
	if *othersOut == "" {
		return
	}
	text, err := json.Marshal(result)
	if err != nil {
		a.t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(*othersOut, name+".json"), text, 0o644); err != nil {
		a.t.Error(err)
	}
}

// judgedBy is the bound of the short test: a late acceptance then shows in seconds.
const judgedBy = 2 * time.Second

// huntLimit is for a machine that is busy; five seconds are enough on one that is not.
const huntLimit = time.Minute

// TestNemesisFindsTheChangeStreamCache makes reads late while keys are edited and revoked. A fill that
// overlaps the revocation stays in a cache that only drops entries, and the oracle must find it.
func TestNemesisFindsTheChangeStreamCache(t *testing.T) {
	for _, name := range []string{"stream-emptied"} {
		t.Run(name, func(t *testing.T) {
			d := mongotest.StartDevmongo(t, devmongo.Config{})
			a := newTestbedFor(t, &d.Server, name)
			load := startJudgedWorkload(t, a.writersKeys(), 1, a.validators(), judgedBy)
			for range 3 { // more of them, so that it is found sooner
				load.startLeavers()
			}
			d.Node.DelayReplies("", "find", findsLate)
			began := time.Now()
			late := func(v nemesis.Violation) bool { return v.Rule == nemesis.LateAcceptance }
			mongotest.Eventually(t, huntLimit, func() bool {
				return slices.ContainsFunc(load.history.CheckUntil(judgedBy, time.Now().Add(-time.Second)), late)
			}, "found no late acceptance of a cache that only drops entries")
			d.Node.DelayReplies("", "", 0)
			t.Logf("found after %v", time.Since(began).Round(time.Millisecond))
			load.stop()
		})
	}
}
