package simulation

import (
	"flag"
	"fmt"
	"os"
	"runtime"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

var (
	simulateFor  = flag.Duration("simulation.for", 3*time.Second, "how long TestSimulation tries seeds")
	simulateSeed = flag.Uint64("simulation.seed", 1, "the first seed; 0: one that depends on the time")
	simulateOnce = flag.Bool("simulation.once", false, "TestSimulation runs -simulation.seed alone, and prints its trace")
	simulateSame = flag.Int("simulation.same", 2, "how many seeds TestTheSameSeedGivesTheSameRun runs three times")
)

// progressInterval is the time between two lines about progress.
const progressInterval = 10 * time.Second

// TestSimulation runs one seed after another, and fails at the first answer that no state of the key explains.
func TestSimulation(t *testing.T) {
	if *simulateOnce {
		runOnce(t, *simulateSeed)
		return
	}
	first := firstSeed()
	p := &progress{start: time.Now(), first: first}
	p.next.Store(first)
	// Seeds do not share anything, so each processor runs its own.
	t.Run("seeds", func(t *testing.T) {
		for range runtime.GOMAXPROCS(0) {
			t.Run("", func(t *testing.T) {
				t.Parallel()
				for time.Since(p.start) < *simulateFor && !p.failed.Load() {
					seed := p.next.Add(1) - 1
					r := simulate(t, seed, false)
					p.done(&r)
					if len(r.wrong) > 0 {
						p.failed.Store(true)
						reportFailure(t, seed, r.wrong[0])
					}
				}
			})
		}
	})
	t.Log(p)
	if n := p.total.answers.Load(); n == 0 || p.total.fromCache.Load() < n/2 {
		t.Errorf("only %d of %d answers came from the cache: the simulation shows little (-simulation.for is %v)", p.total.fromCache.Load(), n, *simulateFor)
	}
}

// firstSeed is the first seed that a test runs.
func firstSeed() uint64 {
	if *simulateSeed == 0 {
		return uint64(time.Now().Unix())
	}
	return *simulateSeed
}

// reportFailure fails the test with the command that repeats the run.
func reportFailure(t *testing.T, seed uint64, wrong string) {
	t.Helper()
	t.Errorf("seed %d: %s\nThe same run, with what happened in it:\n  go test ./internal/simulation -run 'TestSimulation$' -v -simulation.once -simulation.seed %d", seed, wrong, seed)
}

// runOnce prints the trace of a run.
func runOnce(t *testing.T, seed uint64) {
	r := simulate(t, seed, true)
	for _, l := range r.trace {
		fmt.Println(l)
	}
	t.Logf("seed %d: %+v, %v of virtual time", seed, r.counts, r.lasted)
	for _, wrong := range r.wrong {
		t.Errorf("seed %d: %s", seed, wrong)
	}
}

// progress is what has been run.
type progress struct {
	start    time.Time
	first    uint64
	next     atomic.Uint64
	seeds    atomic.Int64
	virtual  atomic.Int64
	failed   atomic.Bool
	total    struct{ answers, fromCache, unavailable, changes, losses, scans atomic.Int64 }
	lastLine atomic.Int64
}

// done counts a run, and prints a line now and then: go test shows the log of a test only when it has ended.
func (p *progress) done(r *result) {
	p.seeds.Add(1)
	p.virtual.Add(int64(r.lasted))
	p.total.answers.Add(int64(r.counts.answers))
	p.total.fromCache.Add(int64(r.counts.fromCache))
	p.total.unavailable.Add(int64(r.counts.unavailable))
	p.total.changes.Add(int64(r.counts.changes))
	p.total.losses.Add(int64(r.counts.losses))
	p.total.scans.Add(int64(r.counts.scans))
	line := int64(time.Since(p.start) / progressInterval)
	if last := p.lastLine.Load(); line > last && p.lastLine.CompareAndSwap(last, line) {
		fmt.Fprintln(os.Stderr, p)
	}
}

func (p *progress) String() string {
	n, took := p.seeds.Load(), time.Since(p.start)
	return fmt.Sprintf("%d seeds from %d on in %v (%.0f an hour), %v of virtual time: %d answers, %d of them from the cache and %d UNAVAILABLE, %d changes, %d losses, %d scans",
		n, p.first, took.Round(time.Second), float64(n)/took.Hours(), time.Duration(p.virtual.Load()).Round(time.Second),
		p.total.answers.Load(), p.total.fromCache.Load(), p.total.unavailable.Load(), p.total.changes.Load(), p.total.losses.Load(), p.total.scans.Load())
}

// TestTheSameSeedGivesTheSameRun compares every line of what happened: a run that fails can be repeated.
func TestTheSameSeedGivesTheSameRun(t *testing.T) {
	first := firstSeed()
	for seed := first; seed < first+uint64(*simulateSame); seed++ {
		trace := simulate(t, seed, true).trace
		if len(trace) < 500 {
			t.Errorf("seed %d: only %d lines: the test shows little", seed, len(trace))
		}
		for range 2 {
			compare(t, seed, trace, simulate(t, seed, true).trace)
		}
	}
}

// compare fails at the first line that differs.
func compare(t *testing.T, seed uint64, a, b []string) {
	t.Helper()
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			t.Fatalf("seed %d: two runs differ in line %d:\n%s\n%s", seed, i, a[i], b[i])
		}
	}
	if len(a) != len(b) {
		t.Fatalf("seed %d: one run has %d lines, another one %d", seed, len(a), len(b))
	}
}

// TestSeedsDiffer: otherwise all of them would be one.
func TestSeedsDiffer(t *testing.T) {
	if a, b := simulate(t, 1, true).trace, simulate(t, 2, true).trace; strings.Join(a, "\n") == strings.Join(b, "\n") {
		t.Error("two seeds give the same run")
	}
}
