package soak

import (
	"fmt"
	"io"
	"time"

	"github.com/keytail/keytail/internal/nemesis"
)

// Outcome is what a run has shown.
type Outcome struct {
	Samples []Sample
	// Trends has one for each of Resources.
	Trends []Trend
	// Before and After are samples at rest: before the load, and after it.
	Before, After Sample
	// Leaks are the resources that were not returned after the load.
	Leaks  []string
	Faults []FaultSpan
	// Counts maps a kind of request or write to how often it was made.
	Counts map[string]int
	// Quantiles of the durations of answers: 50 %, 99 %, 99.9 %, the longest.
	Quantiles []time.Duration
	// Wrong are the first of the Wrongs answers that keytail must not give.
	Wrong  []string
	Wrongs int
	// Violations are answers that break the guarantee.
	Violations []nemesis.Violation
	Totals     nemesis.Totals
	// Outside and Inside are the delays of revocations without a fault and during one.
	Outside, Inside nemesis.Delays
	// LogBytes is the length of the daemon's log.
	LogBytes int64
}

// FaultSpan is when a fault began and ended, since the load began.
type FaultSpan struct {
	Kind     string
	From, To time.Duration
}

// essentials are kinds of what clients do without which a run shows nothing.
var essentials = []string{
	"verify, valid key", "verify, unknown key", "verify, changing key", "forward-auth", "ext_authz", "garbage", "event subscription", "admin read",
	"client that leaves", "half a request", "half a gRPC call", "SIGHUP", "create", "rotate", "revoke", "revoke in the collection", "delete",
}

// Failures are sentences about what is wrong. None: the run has passed.
func (o *Outcome) Failures() (all []string) {
	for _, kind := range essentials {
		if o.Counts[kind] == 0 {
			all = append(all, "there was no "+kind+": run for longer, or on a machine that has more time")
		}
	}
	if len(o.Trends) == 0 || len(o.Faults) == 0 {
		all = append(all, "nothing was measured, or there were no faults")
	}
	for _, t := range o.Trends {
		if !t.Flat() {
			all = append(all, "not flat: "+t.String())
		}
	}
	for _, leak := range o.Leaks {
		all = append(all, "not returned after the load: "+leak)
	}
	for i, v := range o.Violations {
		if i == wrongKept {
			break
		}
		all = append(all, "the guarantee is broken: "+v.String())
	}
	if o.Wrongs > 0 {
		all = append(all, fmt.Sprintf("%d wrong answers; the first:", o.Wrongs))
		all = append(all, o.Wrong...)
	}
	return all
}

// kept names the resources that are in use after the load and were not before it.
func kept(before, after *Sample) (leaks []string) {
	for _, r := range Resources {
		if was, is := r.of(before), r.of(after); r.AtRest > 0 && is > was+r.AtRest {
			leaks = append(leaks, fmt.Sprintf("%s: %.0f before, %.0f after, allowed %.0f", r.Name, was, is, was+r.AtRest))
		}
	}
	return leaks
}

// WriteSamples writes all samples as CSV.
func (o *Outcome) WriteSamples(w io.Writer) error {
	if _, err := fmt.Fprintln(w, "seconds,rss_bytes,heap_in_use_bytes,goroutines,open_descriptors,threads,requests_per_second,p99_seconds,staleness_seconds,state"); err != nil {
		return err
	}
	for _, s := range o.Samples {
		if _, err := fmt.Fprintf(w, "%.1f,%.0f,%.0f,%.0f,%.0f,%.0f,%.1f,%.6f,%.3f,%s\n", s.At.Seconds(), s.RSS, s.Heap, s.Goroutines, s.Descriptors, s.Threads,
			s.Requests, s.P99.Seconds(), s.Staleness, s.State); err != nil {
			return err
		}
	}
	return nil
}
