package soak

import (
	"fmt"
	"slices"
	"time"
)

// The rule (docs/soak.md#the-rule explains it).
const (
	// windows is the number of parts of a run whose lowest values are compared. A short run has
	// fewer, because each lasts shortestWindow.
	windows = 12
	// shortestWindow is longer than a fault, the pauses beside it, and the requests that wait for its
	// end: otherwise the lowest value of a window shows how many of them wait.
	shortestWindow = 12 * time.Second
	// fewestWindows is how many values a slope needs. ShortestRun has as many, also without its last samples.
	fewestWindows = 4
	// warmUp is the part of a run, one in so many, that the rule leaves out.
	warmUp = 3
)

// Resource is what a process must not use more and more of.
type Resource struct {
	Name, Unit string
	// Share and Floor are the growth that is allowed over the measured part of a run: a
	// share of the level, or the floor if that is more.
	Share, Floor float64
	// AtRest is how much more than before the load may be in use after it. Zero: the
	// resource is not compared at rest, because the runtime returns memory when it likes.
	AtRest float64

	of func(*Sample) float64
}

const mebi = 1 << 20

// Value is how much of the resource a sample shows.
func (r Resource) Value(s *Sample) float64 { return r.of(s) }

// unit is the unit after a separator, if there is one.
func (r Resource) unit(separator string) string {
	if r.Unit == "" {
		return ""
	}
	return separator + r.Unit
}

// Title is the name with the unit.
func (r Resource) Title() string { return r.Name + r.unit(", ") }

// Resources are what the rule looks at.
var Resources = []Resource{
	{Name: "memory (RSS)", Unit: "MiB", Share: 0.1, Floor: 8, of: func(s *Sample) float64 { return s.RSS / mebi }},
	{Name: "heap in use", Unit: "MiB", Share: 0.1, Floor: 8, of: func(s *Sample) float64 { return s.Heap / mebi }},
	{Name: "goroutines", Unit: "", Share: 0.1, Floor: 20, AtRest: 5, of: func(s *Sample) float64 { return s.Goroutines }},
	{Name: "open descriptors", Unit: "", Share: 0.1, Floor: 10 + pool, AtRest: 5 + pool, of: func(s *Sample) float64 { return s.Descriptors }},
	{Name: "threads", Unit: "", Share: 0.1, Floor: 3, of: func(s *Sample) float64 { return s.Threads }},
}

// Trend is how a resource developed after the warm-up.
type Trend struct {
	Resource Resource
	// Level is the median of the windows' lowest values, and Growth their rise over the
	// measured part. Allowed is the most that is flat.
	Level, Growth, Allowed float64
	// Measured is the length of the measured part. Zero: too few samples for a verdict.
	Measured time.Duration
}

// Flat reports whether the resource did not grow. Without a verdict it did.
func (t Trend) Flat() bool { return t.Measured > 0 && t.Growth <= t.Allowed }

func (t Trend) String() string {
	if t.Measured == 0 {
		return t.Resource.Name + ": too few samples: run for longer"
	}
	return fmt.Sprintf("%s: %+.1f within %v, allowed %.1f, at a level of %.1f%s", t.Resource.Name, t.Growth, t.Measured.Round(time.Second), t.Allowed, t.Level, t.Resource.unit(" "))
}

// trend applies the rule to samples, which are in the order of time.
func trend(samples []Sample, r Resource) Trend {
	at, lowest := lows(samples, r.of)
	t := Trend{Resource: r}
	if len(lowest) < fewestWindows || len(lowest) < windowsOf(samples) {
		return t
	}
	t.Measured = measured(samples)
	t.Level = median(slices.Clone(lowest))
	t.Allowed = max(r.Floor, r.Share*t.Level)
	t.Growth = theilSen(at, lowest) * t.Measured.Seconds()
	return t
}

// measured is the length of a run after the warm-up.
func measured(samples []Sample) time.Duration {
	return samples[len(samples)-1].At * (warmUp - 1) / warmUp
}

// windowsOf is the number of windows of a run.
func windowsOf(samples []Sample) int {
	return min(windows, int(measured(samples)/shortestWindow))
}

// lows returns the lowest value of each window after the warm-up, and the time at which the
// window begins, in seconds. A window without a sample is left out.
func lows(samples []Sample, of func(*Sample) float64) (at, lowest []float64) {
	if len(samples) == 0 {
		return nil, nil
	}
	end := samples[len(samples)-1].At + 1
	begin := end / warmUp
	parts := max(1, windowsOf(samples))
	length := (end - begin) / time.Duration(parts)
	last := -1
	for i := range samples {
		s := &samples[i]
		if s.At < begin {
			continue
		}
		window, value := min(int((s.At-begin)/length), parts-1), of(s)
		if window != last {
			last = window
			at = append(at, (begin + time.Duration(window)*length).Seconds())
			lowest = append(lowest, value)
			continue
		}
		lowest[len(lowest)-1] = min(lowest[len(lowest)-1], value)
	}
	return at, lowest
}

// theilSen is the median of the slopes of all pairs of points.
func theilSen(x, y []float64) float64 {
	var slopes []float64
	for i := range x {
		for j := range i {
			slopes = append(slopes, (y[i]-y[j])/(x[i]-x[j]))
		}
	}
	return median(slopes)
}

// median sorts its argument. It is 0 for none.
func median(all []float64) float64 {
	if len(all) == 0 {
		return 0
	}
	slices.Sort(all)
	return (all[(len(all)-1)/2] + all[len(all)/2]) / 2
}
