package main

import (
	"bytes"
	"cmp"
	"fmt"
	"maps"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/keytail/keytail/bench/soak"
)

// soakRow is the name of the result's file and of its directory.
const soakRow = "soak"

// The marks between which the page is generated.
const soakBegin, soakEnd = "<!-- soak:begin -->\n", "<!-- soak:end -->\n"

// soakResult is the outcome as tables and plots.
func soakResult(o *soak.Outcome) *result {
	r := &result{Row: soakRow}
	r.table(trendTable(o))
	r.table(promiseTable(o))
	r.table(requestTable(o))
	for _, p := range soakCharts(o) {
		r.plot(p)
	}
	return r
}

func trendTable(o *soak.Outcome) table {
	t := table{Title: "Growth after the warm-up", Head: []string{"resource", "level", "growth", "allowed", "at rest before, after", "verdict"}}
	for _, trend := range o.Trends {
		verdict := "flat"
		if !trend.Flat() {
			verdict = "**not flat**"
		}
		t.Rows = append(t.Rows, []string{
			trend.Resource.Title(), fmt.Sprintf("%.1f", trend.Level), fmt.Sprintf("%+.1f in %v", trend.Growth, trend.Measured.Round(time.Second)), fmt.Sprintf("%.1f", trend.Allowed),
			fmt.Sprintf("%.0f, %.0f", trend.Resource.Value(&o.Before), trend.Resource.Value(&o.After)), verdict,
		})
	}
	return t
}

func promiseTable(o *soak.Outcome) table {
	kinds := make([]string, 0, len(o.Totals.Faults))
	for _, kind := range slices.Sorted(maps.Keys(o.Totals.Faults)) {
		kinds = append(kinds, fmt.Sprintf("%s %d", kind, o.Totals.Faults[kind]))
	}
	quantiles := make([]string, len(o.Quantiles))
	for i, q := range o.Quantiles {
		quantiles[i] = q.String()
	}
	return table{Title: "The guarantee, and what clients saw", Head: []string{"figure", "measured"}, Rows: [][]string{
		{"faults", strings.Join(kinds, ", ")},
		{"answers that were compared with every write", strconv.Itoa(o.Totals.Answers)},
		{"writes to keys; without an acknowledgement", fmt.Sprintf("%d; %d", o.Totals.Writes, o.Totals.UnknownWrites)},
		{"answers that break the guarantee", strconv.Itoa(len(o.Violations))},
		{"other wrong answers, closed connections, failed scrapes", strconv.Itoa(o.Wrongs)},
		{"from the acknowledgement of a revocation to the last `VALID`, outside faults", delayText(o.Outside.Median, o.Outside.Worst, o.Outside.Count)},
		{"the same during a fault and in the 5 s after it; at most " + soak.MaxStale.String() + " is guaranteed", delayText(o.Inside.Median, o.Inside.Worst, o.Inside.Count)},
		{"durations of all answers: p50, p99, p99.9, longest", strings.Join(quantiles, ", ")},
		{"log of the daemon", fmt.Sprintf("%d KiB", o.LogBytes>>10)},
	}}
}

func delayText(median, worst time.Duration, count int) string {
	return fmt.Sprintf("median %v, longest %v, of %d", median.Round(100*time.Microsecond), worst.Round(100*time.Microsecond), count)
}

func requestTable(o *soak.Outcome) table {
	t := table{Title: "What the clients did", Head: []string{"kind", "how often"}}
	for _, kind := range slices.Sorted(maps.Keys(o.Counts)) {
		t.Rows = append(t.Rows, []string{kind, strconv.Itoa(o.Counts[kind])})
	}
	return t
}

// soakStates are the states by their height in the plot.
var soakStates = []string{"connecting", "preloading", "live", "stale", "down"}

// live is the place of live in soakStates.
const live = 2

// soakCharts are the plots. Several samples make one point, so that the files are small.
func soakCharts(o *soak.Outcome) []chart {
	value := func(of func(*soak.Sample) float64, from, name string) series {
		s := series{Name: name}
		each := max(1, len(o.Samples)/soakPoints)
		for part := range slices.Chunk(o.Samples, each) {
			all := make([]float64, len(part))
			for i := range part {
				all[i] = of(&part[i])
			}
			y := median(all)
			switch from {
			case "highest":
				y = slices.Max(all)
			case "furthest from live":
				y = slices.MaxFunc(all, func(a, b float64) int { return cmp.Compare(math.Abs(a-live), math.Abs(b-live)) })
			}
			s.X, s.Y = append(s.X, rounded(part[len(part)-1].At.Minutes())), append(s.Y, rounded(y))
		}
		return s
	}
	resource := func(i int, name string) series { return value(soak.Resources[i].Value, "median", name) }
	minutes := func(name, title, y string, all ...series) chart {
		return chart{Name: name, Title: title, X: "minutes", Y: y, Series: all, Even: true}
	}
	state := func(s *soak.Sample) float64 { return float64(slices.Index(soakStates, s.State)) }
	duration := minutes("p99", "p99 of the durations of answers, the highest second", "milliseconds", value(func(s *soak.Sample) float64 { return max(0.01, s.P99.Seconds()*1000) }, "highest", "p99"))
	duration.LogY = true
	staleness := value(func(s *soak.Sample) float64 { return s.Staleness }, "highest", "staleness")
	maxStale := series{Name: "max_stale: older data is not used", X: staleness.X, Y: slices.Repeat([]float64{soak.MaxStale.Seconds()}, len(staleness.X))}
	return []chart{
		minutes("memory", "Memory", "MiB", resource(0, "RSS"), resource(1, "heap in use")),
		minutes("counts", "Goroutines, descriptors, threads", "number", resource(2, "goroutines"), resource(3, "open descriptors"), resource(4, "threads")),
		minutes("requests", "Requests", "answers per second", value(func(s *soak.Sample) float64 { return s.Requests }, "median", "requests")),
		duration,
		minutes("staleness", "Staleness of the cache, the highest second", "seconds", staleness, maxStale),
		minutes("state", "State: 0 connecting, 1 preloading, 2 live, 3 stale, 4 down", "", value(state, "furthest from live", "state")),
	}
}

// soakPoints is about how many points a line of a plot has.
const soakPoints = 360

// rounded has as many digits as a plot can show.
func rounded(f float64) float64 {
	short, err := strconv.ParseFloat(strconv.FormatFloat(f, 'g', 5, 64), 64)
	if err != nil {
		return f
	}
	return short
}

// writeSoak writes the tables of the result.
func writeSoak(w *bytes.Buffer, r *result) {
	for _, t := range r.Tables {
		writeTable(w, t)
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "\n%s\n", note)
	}
}

// writeSoakPage writes the plots, and the part of the page between the marks.
func writeSoakPage(docs string, r *result) error {
	page := filepath.Join(docs, soakRow+".md")
	text, err := os.ReadFile(page)
	if err != nil {
		return err
	}
	before, rest, begins := strings.Cut(string(text), soakBegin)
	_, after, ends := strings.Cut(rest, soakEnd)
	if !begins || !ends {
		return fmt.Errorf("%s has no marks %q and %q: put them where the result belongs", page, soakBegin, soakEnd)
	}
	var part bytes.Buffer
	writeSoak(&part, r)
	for _, p := range r.Plots {
		name := filepath.Join(soakRow, p.Name+".svg")
		if err := draw(&p, filepath.Join(docs, name)); err != nil {
			return err
		}
		fmt.Fprintf(&part, "\n![%s](%s)\n", p.Title, filepath.ToSlash(name))
	}
	fmt.Fprintf(&part, "\n%s\n", provenance(r))
	return os.WriteFile(page, []byte(before+soakBegin+part.String()+soakEnd+after), 0o644)
}
