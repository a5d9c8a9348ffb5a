package soak

import (
	"math"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/nemesis"
)

// goroutines is the resource of the synthetic series.
var goroutines = Resources[2]

// series makes one sample a second.
func series(seconds int, goroutines func(second int) float64) []Sample {
	all := make([]Sample, seconds)
	for i := range all {
		all[i] = Sample{At: time.Duration(i+1) * time.Second, Goroutines: goroutines(i)}
	}
	return all
}

// ten allows a growth of ten at the level of the series.
var ten = Resource{Name: "goroutines", Share: 0.1, Floor: 10, of: goroutines.of}

// TestRule: what is flat, and what is not.
func TestRule(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	noise := func() float64 { return 40 * random.Float64() }
	for name, test := range map[string]struct {
		goroutines func(second int) float64
		flat       bool
	}{
		"constant":                  {func(int) float64 { return 100 }, true},
		"noise":                     {func(int) float64 { return 100 + noise() }, true},
		"falls":                     {func(s int) float64 { return 300 - float64(s)/30 }, true},
		"rises only at the start":   {func(s int) float64 { return 100 + 200*(1-math.Exp(-float64(s)/60)) }, true},
		"a fault of a minute":       {func(s int) float64 { return map[bool]float64{true: 5000, false: 100}[s > 1500 && s < 1560] + noise() }, true},
		"a saw, as the heap":        {func(s int) float64 { return 100 + float64(s%50) }, true},
		"rises by less than allows": {func(s int) float64 { return 100 + 8*float64(s)/1200 }, true},
		"one a minute":              {func(s int) float64 { return 100 + float64(s)/60 }, false},
		"one a minute, in noise":    {func(s int) float64 { return 100 + float64(s)/60 + noise() }, false},
		"one a minute, in a saw":    {func(s int) float64 { return 100 + float64(s)/60 + float64(s%50) }, false},
		"a step every five minutes": {func(s int) float64 { return 100 + 10*float64(s/300) }, false},
	} {
		if got := trend(series(1800, test.goroutines), ten); got.Flat() != test.flat {
			t.Errorf("%s: got flat %v, want %v: %v", name, got.Flat(), test.flat, got)
		}
	}
}

// TestTheRuleInTheShortestRun: a fault often begins when the last one has just ended, so requests wait most
// of the time, here more of them during later faults. That is no growth; a goroutine every three seconds is.
func TestTheRuleInTheShortestRun(t *testing.T) {
	waiting := func(s int) float64 { return map[bool]float64{true: float64(s)}[s%15 > 1] }
	if got := trend(series(90, func(s int) float64 { return 100 + waiting(s) }), ten); !got.Flat() {
		t.Errorf("requests that wait for the end of a fault: %v", got)
	}
	if got := trend(series(90, func(s int) float64 { return 100 + waiting(s) + float64(s)/3 }), ten); got.Flat() {
		t.Errorf("a leak of 20 in a minute: %v", got)
	}
	// The scrapes begin a little later than the run, and end a little earlier.
	if got := trend(series(int(ShortestRun.Seconds())-10, func(int) float64 { return 100 }), ten); !got.Flat() {
		t.Errorf("the shortest run: %v", got)
	}
}

// TestTooFewSamplesAreNotFlat: a run whose scrapes failed has no verdict.
func TestTooFewSamplesAreNotFlat(t *testing.T) {
	for name, samples := range map[string][]Sample{
		"none": nil,
		"few":  series(windows, func(int) float64 { return 1 }),
		"gap":  append(series(1, func(int) float64 { return 1 }), Sample{At: time.Hour}),
	} {
		if got := trend(samples, goroutines); got.Flat() || !strings.Contains(got.String(), "too few samples") {
			t.Errorf("%s: got %v", name, got)
		}
	}
}

func TestTheilSen(t *testing.T) {
	x, y := []float64{0, 1, 2, 3, 4}, []float64{1, 3, 5, 1000, 9}
	if got := theilSen(x, y); got != 2 {
		t.Errorf("got the slope %v, want 2 in spite of the outlier", got)
	}
}

// TestWhatIsKeptAfterTheLoad: the second rule.
func TestWhatIsKeptAfterTheLoad(t *testing.T) {
	before := Sample{Goroutines: 30, Descriptors: 20, RSS: 1, Threads: 1}
	if leaks := kept(&before, &Sample{Goroutines: 35, Descriptors: 20 + pool, RSS: 1 << 40, Threads: 90}); len(leaks) > 0 {
		t.Errorf("got %q, want none", leaks)
	}
	if leaks := kept(&before, &Sample{Goroutines: 36, Descriptors: 26 + pool}); len(leaks) != 2 {
		t.Errorf("got %q, want goroutines and descriptors", leaks)
	}
}

// passed returns an outcome without failures.
func passed() Outcome {
	o := Outcome{Trends: []Trend{{Resource: goroutines, Measured: time.Minute}}, Faults: make([]FaultSpan, 1), Counts: map[string]int{}}
	for _, kind := range essentials {
		o.Counts[kind] = 1
	}
	return o
}

// TestFailures: everything that is wrong fails a run.
func TestFailures(t *testing.T) {
	for name, test := range map[string]struct {
		change func(*Outcome)
		want   string
	}{
		"nothing":                  {func(*Outcome) {}, ""},
		"not flat":                 {func(o *Outcome) { o.Trends[0].Growth = 1 }, "not flat: goroutines"},
		"without a verdict":        {func(o *Outcome) { o.Trends[0].Measured = 0 }, "too few samples"},
		"a leak":                   {func(o *Outcome) { o.Leaks = []string{"goroutines: 3"} }, "goroutines: 3"},
		"a late acceptance":        {func(o *Outcome) { o.Violations = []nemesis.Violation{{Rule: nemesis.LateAcceptance}} }, nemesis.LateAcceptance},
		"an answer that was wrong": {func(o *Outcome) { o.Wrongs, o.Wrong = 1, []string{"verify: status 500"} }, "verify: status 500"},
		"no revocation":            {func(o *Outcome) { o.Counts["revoke"] = 0 }, "no revoke"},
		"no faults":                {func(o *Outcome) { o.Faults = nil }, "no faults"},
		"no resources":             {func(o *Outcome) { o.Trends = nil }, "nothing was measured"},
	} {
		o := passed()
		test.change(&o)
		got := strings.Join(o.Failures(), "\n")
		if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}
