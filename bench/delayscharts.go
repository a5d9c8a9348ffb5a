package main

import (
	"math"
	"slices"
	"time"

	"github.com/HdrHistogram/hdrhistogram-go"

	"github.com/keytail/keytail/bench/delays"
)

// delaysChart describes the plot of one distribution.
type delaysChart struct {
	distribution, title string
	// logarithmic: times are of very different sizes.
	logarithmic bool
	// limited: no time may exceed max_stale.
	limited bool
}

var delaysCharts = []delaysChart{
	{delays.LastAcceptance, "Last acceptance after the acknowledgement of the revocation", true, true},
	{delays.FirstRefusal, "First refusal after the acknowledgement of the revocation", true, false},
	{delays.Staleness, "Reported staleness of answers", false, true},
	{delays.UnavailableAfterBegin, "Answers UNAVAILABLE since the beginning of the fault", false, false},
	{delays.UnavailableAfterEnd, "Answers UNAVAILABLE since the end of the fault", true, false},
}

// shortestTime is the smallest time of a logarithmic axis: shorter ones, and zero, are drawn
// there.
const shortestTime = 100 * time.Microsecond

// chart is the plot of a distribution: one line for each fault that has values.
func (d delaysChart) chart(o *delays.Outcome) chart {
	c := chart{Name: d.distribution, Title: d.title, X: "percentile", Y: "seconds", LogX: true, Percentiles: true, LogY: d.logarithmic, LegendBeside: true}
	if d.limited {
		c.Limit = &limit{Y: o.MaxStale.Seconds(), Name: "max_stale"}
	}
	for _, m := range o.Measurements {
		if h := m.Histograms[d.distribution]; h != nil {
			line := percentiles(m.Fault, h, d.logarithmic)
			line.Style = slices.Index(faultNames(), m.Fault)
			c.Series = append(c.Series, line)
		}
	}
	return c
}

// percentilePoints is the number of points of a line.
const percentilePoints = 100

// percentiles returns a line of a percentile plot: the times by 1/(1-p), up to the percentile
// above which there is no value.
func percentiles(name string, h *hdrhistogram.Histogram, logarithmic bool) series {
	s := series{Name: name}
	last := math.Log(float64(max(2, h.TotalCount())))
	for i := range percentilePoints + 1 {
		x := math.Exp(last * float64(i) / percentilePoints)
		t := time.Duration(h.ValueAtQuantile(100 * (1 - 1/x)))
		if i == percentilePoints {
			t = time.Duration(h.Max())
		}
		if logarithmic {
			t = max(t, shortestTime)
		}
		s.X, s.Y = append(s.X, x), append(s.Y, t.Seconds())
	}
	return s
}
