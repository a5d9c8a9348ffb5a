package main

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"github.com/keytail/keytail/internal/nemesis"
	"github.com/keytail/keytail/internal/nemesis/othercaches"
)

var otherCachesRow = row{
	name:         "other-caches",
	title:        "beside other caches: correctness under faults",
	measures:     "how often, and for how long, three instances accept revoked keys and refuse valid ones, while ten clients write keys and faults hit the network, commands, streams and the server: the nemesis of docs/testing.md, with the same seed for each cache",
	comparedWith: "caches of keys as services commonly have them, each a page of Go in internal/nemesis/othercaches, on the same server and judged by the same oracle",
	goals:        "no answer of keytail breaks a rule, and it accepts no revoked key for longer than max_stale (6 s here)",
	run:          measureOtherCaches,
}

// longestAcceptance is the name of a goal.
const longestAcceptance = "keytail: longest acceptance of a revoked key, in seconds"

// The seed and the durations for each cache. Requests go on for longer than the longest common time to
// live after the last write, so that all of it shows.
const (
	otherCachesSeed  = 19
	otherCachesFor   = 3 * time.Minute
	otherCachesAfter = 65 * time.Second
	otherCachesQuick = 700 * time.Millisecond
)

func measureOtherCaches(ctx context.Context, e *env, r *result) error {
	program := filepath.Join(e.dir, "nemesis.test")
	if _, err := output(inRepository(exec.CommandContext(ctx, "go", "test", "-c", "-o", program, "./internal/integration/nemesis"))); err != nil {
		return err
	}
	kinds := othercaches.Kinds()
	if e.Quick {
		kinds = kinds[:1]
	}
	ours, err := runUnderNemesis(ctx, e, program, othercaches.Keytail)
	if err != nil {
		return err
	}
	all := []*othercaches.Result{ours}
	for _, k := range kinds {
		result, err := runUnderNemesis(ctx, e, program, k.Name)
		if err != nil {
			return err
		}
		all = append(all, result)
	}
	reportOtherCaches(r, all)
	return nil
}

// reportOtherCaches adds everything about results, of which keytail's is the first.
func reportOtherCaches(r *result, all []*othercaches.Result) {
	ours := all[0]
	r.goal(goal{Name: "keytail: answers that break a rule", Got: float64(ours.Wrong), Sign: "<="})
	r.goal(goal{Name: longestAcceptance, Got: ours.Score.Longest().Seconds(), Sign: "<=", Want: ours.MaxStale.Seconds()})
	r.table(correctnessTable(all))
	r.table(costTable(all))
	r.plot(acceptancePlot(all))
	r.note(fmt.Sprintf("Each cache ran for %v with %d kinds of faults, one after another, and then for %v without (seed %d): %s.", ours.For, len(ours.Faults), ours.After, ours.Seed, faultsText(ours)))
	for _, text := range otherCachesNotes {
		r.note(text)
	}
	for _, k := range othercaches.Kinds() {
		r.note(fmt.Sprintf("**`%s`: %s**. %s.", k.Name, k.Title, k.Strength))
	}
}

// otherCachesNotes explain the tables.
var otherCachesNotes = []string{
	"*Accepted after*: VALID to a request that was sent after a write that made the key invalid was acknowledged. *Late*: longer than max_stale after it. *Longest*: the longest time from the acknowledgement to a request that was accepted, whatever the bound. *Wrong no*: a refusal of a key that had been valid for longer than max_stale. *Served*: answers that were neither UNAVAILABLE nor a wrong no. *Break a rule*: all answers that are wrong by the bound, among them refusals for a reason that is no longer the right one, and NOT_FOUND while there is no collection; judged by the oracle of the nemesis and by `keytail check`, which must agree. The other caches report no age, so they are judged as if each answer reported max_stale, the greatest age that is allowed.",
	"The load is meant to be hostile: some 160 keys, half of whose requests come within a second of a write, about 70 writes a second, and each second a new key that is asked for before it exists and revoked for good a few seconds later. So the shares are not those of a service. What carries over is which columns are zero, and how long the longest is.",
	"*Within faults* leaves out the time in which there is no collection (some of the faults drop it or rename it): nothing can be known of a key then. keytail answers UNAVAILABLE to all requests meanwhile, and the others say what they remember, or that they find no key. keytail also stops answering from its cache when it has not been able to prove for max_stale that it is fresh, and reads for each request until it can. The others go on: that is what they gain when a fault lasts, and what they accept revoked keys for.",
	"A change-stream cache has two defects that no test without faults shows. A read that overlaps a change is stored after the event has dropped nothing, and no later event drops it, so the key stays valid **for ever**, or until it is changed again. And what happens between a stream that cannot resume and the next one is never seen; emptying the cache then mends the second defect alone. `TestStagedOnOtherCaches` forces both, and the defects of the other caches, in five seconds.",
	"Time to live and loading cache do what they promise: a revoked key is accepted for up to the time to live, and a shorter one costs more reads. Their wrong noes are negative entries: keys that were asked for before they were created or restored. (Row [delay](#delay) has the arithmetic.) The loading cache reproduces what [RESTHeart](https://github.com/SoftInstigate/restheart) does in MongoRealmAuthenticator and CaffeineLoadingCache at commit 4e37259, with the sizes of its default configuration; a read that fails counts there as an account that does not exist, and is cached. The real one needs Java 25, and authenticates users rather than keys, so it does not run here.",
	"The caches decode documents and decide as keytail does, and have the same client options. To record the histories, which `keytail check` judges ([format](history-format.md)): `go test ./internal/integration/nemesis -run 'TestOtherCaches$' -others.caches all -others.for 3m -others.after 65s -nemesis.seed 19 -nemesis.history DIR -timeout 60m`.",
}

// runUnderNemesis runs one cache in the test program of the nemesis.
func runUnderNemesis(ctx context.Context, e *env, program, cache string) (*othercaches.Result, error) {
	lasts, after := otherCachesFor, otherCachesAfter
	if e.Quick {
		lasts, after = otherCachesQuick, otherCachesQuick
	}
	e.progress("%s, for %v", cache, lasts+after)
	command := exec.CommandContext(ctx, program, "-test.run=^TestOtherCaches$", "-test.timeout=30m",
		"-others.caches="+cache, "-others.for="+lasts.String(), "-others.after="+after.String(), "-others.out="+e.dir,
		fmt.Sprint("-nemesis.seed=", otherCachesSeed), "-nemesis.history="+e.dir)
	command.Dir = filepath.Join(repository, "internal/integration/nemesis")
	if text, err := command.CombinedOutput(); err != nil {
		return nil, fmt.Errorf("%s: %w\n%s", cache, err, text)
	}
	text, err := os.ReadFile(filepath.Join(e.dir, cache+".json"))
	if err != nil {
		return nil, err
	}
	result := &othercaches.Result{}
	return result, json.Unmarshal(text, result)
}

func correctnessTable(all []*othercaches.Result) table {
	t := table{
		Title: "Three instances of each cache, max_stale 6 s",
		Head: []string{
			"cache", "answers", "break a rule", "accepted after", "late", "longest", "wrong noes within faults", "wrong noes otherwise", "served within faults", "served otherwise",
		},
	}
	for _, o := range all {
		s := &o.Score
		t.Rows = append(t.Rows, []string{
			"`" + o.Cache + "`", fmt.Sprint(answersOf(s)), fmt.Sprint(o.Wrong), fmt.Sprint(s.Accepted), fmt.Sprint(s.LateAcceptances), s.Longest().Round(10 * time.Millisecond).String(),
			fmt.Sprint(s.Inside.WrongNos), fmt.Sprint(s.Outside.WrongNos), percent(s.Inside.Share()), percent(s.Outside.Share()),
		})
	}
	return t
}

func answersOf(s *nemesis.Score) int { return s.Missing.Answers + s.Inside.Answers + s.Outside.Answers }

func percent(share float64) string { return fmt.Sprintf("%.2f %%", 100*share) }

func costTable(all []*othercaches.Result) table {
	t := table{Title: "What that costs", Head: []string{"cache", "reads of keys for 1,000 answers", "commands a second and instance"}}
	for _, o := range all {
		answers := answersOf(&o.Score)
		t.Rows = append(t.Rows, []string{
			"`" + o.Cache + "`", number(1000 * float64(o.Finds) / float64(answers)), number(float64(o.Commands) / o.Took.Seconds() / float64(o.Instances)),
		})
	}
	return t
}

// The smallest values of the plot: a logarithmic axis has no zero.
const (
	shortestAcceptance = 0.01 // seconds
	smallestShare      = 0.001
)

// acceptancePlot shows the share of revocations that an instance still ignored some time after their
// acknowledgement.
func acceptancePlot(all []*othercaches.Result) chart {
	plot := chart{
		Name: "accepted", Title: "Revoked keys that are still accepted", LogX: true, LogY: true,
		X: "seconds since the acknowledgement of the revocation", Y: "% of revocations",
	}
	for _, o := range all {
		plot.Series = append(plot.Series, acceptances(o))
	}
	bound := all[0].MaxStale.Seconds()
	plot.Series = append(plot.Series, series{Name: "max_stale", X: []float64{bound, bound}, Y: []float64{smallestShare, 100}})
	return plot
}

// acceptances is the line of one cache. It ends below the others when no instance accepts a key any more.
func acceptances(o *othercaches.Result) series {
	const points = 200
	late := o.Score.Lateness
	share := func(i int) float64 {
		return max(smallestShare, 100*float64(len(late)-i)/float64(max(o.Score.Revocations, 1)))
	}
	line := series{Name: o.Cache, X: []float64{shortestAcceptance}, Y: []float64{share(0)}}
	add := func(i int) {
		line.X = append(line.X, max(shortestAcceptance, late[i].Seconds()))
		line.Y = append(line.Y, share(i))
	}
	for i := 0; i < len(late)-points/10; i += max(1, len(late)/points) {
		add(i)
	}
	for i := max(0, len(late)-points/10); i < len(late); i++ {
		add(i)
	}
	line.X, line.Y = append(line.X, max(shortestAcceptance, o.Score.Longest().Seconds())), append(line.Y, smallestShare)
	return line
}

// faultsText lists the faults of a run.
func faultsText(o *othercaches.Result) string {
	var kinds []string
	for _, kind := range slices.Sorted(maps.Keys(o.Faults)) {
		text := "*" + kind + "*"
		if n := o.Faults[kind]; n > 1 {
			text += fmt.Sprintf(" %d times", n)
		}
		kinds = append(kinds, text)
	}
	return strings.Join(kinds, ", ")
}
