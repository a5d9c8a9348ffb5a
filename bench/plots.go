package main

import (
	"math"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
)

// draw writes the chart to an SVG file.
func draw(p *chart, file string) error {
	canvas := plot.New()
	canvas.Title.Text, canvas.X.Label.Text, canvas.Y.Label.Text = p.Title, p.X, p.Y
	if p.LogX {
		canvas.X.Scale, canvas.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	if p.LogY {
		canvas.Y.Scale, canvas.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	canvas.Add(plotter.NewGrid())
	canvas.Legend.Top = true
	for i, s := range p.Series {
		points := make(plotter.XYs, len(s.X))
		for j := range points {
			points[j].X, points[j].Y = s.X[j], s.Y[j]
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return err
		}
		line.Color, line.Width = plotutil.Color(i), vg.Points(1.5)
		canvas.Add(line)
		canvas.Legend.Add(s.Name, line)
	}
	if p.Even {
		even(&canvas.X, p.LogX, 1)
		even(&canvas.Y, p.LogY, legendSpace)
	}
	return canvas.Save(18*vg.Centimeter, 10*vg.Centimeter, file)
}

// legendSpace is how much higher a plot is than its highest line, for the legend.
const legendSpace = 1.25

// even makes an axis that is not logarithmic begin at zero.
func even(axis *plot.Axis, logarithmic bool, space float64) {
	if logarithmic {
		axis.Max *= 10 * (space - 1)
		return
	}
	axis.Min, axis.Max = min(0, axis.Min), axis.Max*space
	axis.Tick.Marker = plot.TickerFunc(evenTicks)
}

// evenTicks are at most eight multiples of 1, 2 or 5 times a power of ten.
func evenTicks(low, high float64) (ticks []plot.Tick) {
	step := math.Pow(10, math.Floor(math.Log10((high-low)/8)))
	for _, factor := range []float64{2, 2.5, 2} {
		if (high-low)/step > 8 {
			step *= factor
		}
	}
	for n := math.Ceil(low / step); n*step <= high; n++ {
		ticks = append(ticks, plot.Tick{Value: n * step, Label: strconv.FormatFloat(n*step, 'g', 6, 64)})
	}
	return ticks
}
