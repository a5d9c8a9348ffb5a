package statuspage

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// The size of the plot, in units of its view box.
const (
	plotWidth  = 600
	plotHeight = 130
	// plotSeconds is the time from its left to its right edge, and plotStep that of one point:
	// 150 points are enough to see a gap of some seconds, and little to send each second.
	plotSeconds = 600
	plotStep    = 4
)

// Plot is the staleness of the last ten minutes as a drawing.
type Plot struct {
	Width, Height int
	// Lines are the points of lines; a gap between them is a time without a value.
	Lines []string
	// Limit is max_stale, and LimitY where it is; -1: it is not known.
	Limit  string
	LimitY float64
	// Text says in words what the drawing shows.
	Text string
}

// The room around the drawing, for its labels.
const (
	plotMargin   = 8
	plotAxisRoom = 24
)

// BoxWidth and BoxHeight are those of the view box.
func (p *Plot) BoxWidth() int { return p.Width + plotMargin }

// BoxHeight is the height of the view box.
func (p *Plot) BoxHeight() int { return p.Height + plotMargin + plotAxisRoom }

// AxisLabelY is the base line of the labels of the time.
func (p *Plot) AxisLabelY() int { return p.Height + plotAxisRoom - 4 }

// LimitLabelY is the base line of the label of max_stale: below its line, or above it where
// the axis would strike the label through.
func (p *Plot) LimitLabelY() string {
	y := p.LimitY + 18
	if y > float64(p.Height)-4 {
		y = p.LimitY - 6
	}
	return strconv.FormatFloat(y, 'f', 1, 64)
}

// StalenessPlot draws the staleness. Nil: there are no points.
func (d *Data) StalenessPlot() *Plot {
	values := d.plotValues()
	limit := milliseconds(d.Status.MaxStaleMS).Seconds()
	low, high, known := math.Inf(1), 0.0, 0
	for _, v := range values {
		if !math.IsNaN(v) {
			low, high, known = min(low, v), max(high, v), known+1
		}
	}
	if known == 0 {
		return nil
	}
	top := max(high, limit, 1) * 1.1
	y := func(v float64) float64 { return plotHeight - v/top*plotHeight }
	p := &Plot{Width: plotWidth, Height: plotHeight, LimitY: -1, Lines: lines(values, y)}
	p.Text = fmt.Sprintf("In the last ten minutes the staleness was between %s and %s.", shortSeconds(low), shortSeconds(high))
	if limit > 0 {
		p.Limit, p.LimitY = shortSeconds(limit), math.Round(y(limit))
		p.Text += " Answers from memory may be at most " + p.Limit + " old."
	}
	return p
}

// plotValues has the largest staleness of each step in seconds; NaN where it was not known.
// The steps are those of the clock, so that the drawing moves and does not flicker.
func (d *Data) plotValues() []float64 {
	values := make([]float64, plotSeconds/plotStep)
	for i := range values {
		values[i] = math.NaN()
	}
	last := d.Now.Unix() / plotStep
	for _, point := range d.Status.StalenessHistory {
		i := len(values) - 1 - int(last-point.At.Unix()/plotStep)
		if i < 0 || i >= len(values) || point.StalenessMS == nil {
			continue
		}
		if v := float64(*point.StalenessMS) / 1000; math.IsNaN(values[i]) || v > values[i] {
			values[i] = v
		}
	}
	return values
}

// lines are the points of each run of known values.
func lines(values []float64, y func(float64) float64) []string {
	var all []string
	var line strings.Builder
	end := func() {
		if line.Len() > 0 {
			all = append(all, line.String())
		}
		line.Reset()
	}
	step := float64(plotWidth) / float64(len(values)-1)
	for i, v := range values {
		if math.IsNaN(v) {
			end()
			continue
		}
		fmt.Fprintf(&line, "%.0f,%.1f ", float64(i)*step, y(v))
	}
	end()
	return all
}

// shortSeconds has a tenth below ten seconds.
func shortSeconds(s float64) string {
	switch {
	case s < 10:
		return strconv.FormatFloat(s, 'f', 1, 64) + " s"
	case s < 120:
		return strconv.FormatFloat(s, 'f', 0, 64) + " s"
	}
	return longAge(time.Duration(s * float64(time.Second)))
}
