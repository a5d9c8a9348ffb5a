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
		if got := trend(series(1800, test.goroutines), goroutines); got.Flat() != test.flat {
			t.Errorf("%s: got flat %v, want %v: %v", name, got.Flat(), test.flat, got)
		}
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

// TestFailures: everything that is wrong fails a run.
func TestFailures(t *testing.T) {
	flat := Trend{Resource: goroutines, Measured: time.Minute}
	for name, test := range map[string]struct {
		outcome Outcome
		want    string
	}{
		"flat":                     {Outcome{Trends: []Trend{flat}}, ""},
		"not flat":                 {Outcome{Trends: []Trend{{Resource: goroutines, Measured: time.Minute, Growth: 1}}}, "not flat: goroutines"},
		"without a verdict":        {Outcome{Trends: []Trend{{Resource: goroutines}}}, "too few samples"},
		"a leak":                   {Outcome{Leaks: []string{"goroutines: 3"}}, "goroutines: 3"},
		"a late acceptance":        {Outcome{Violations: []nemesis.Violation{{Rule: nemesis.LateAcceptance}}}, nemesis.LateAcceptance},
		"an answer that was wrong": {Outcome{Wrongs: 1, Wrong: []string{"verify: status 500"}}, "verify: status 500"},
	} {
		got := strings.Join(test.outcome.Failures(), "\n")
		if (got == "") != (test.want == "") || !strings.Contains(got, test.want) {
			t.Errorf("%s: got %q, want %q", name, got, test.want)
		}
	}
}
