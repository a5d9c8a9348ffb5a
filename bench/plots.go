package main

import (
	"bytes"
	"math"
	"os"
	"strconv"

	"gonum.org/v1/plot"
	"gonum.org/v1/plot/plotter"
	"gonum.org/v1/plot/plotutil"
	"gonum.org/v1/plot/vg"
	vgdraw "gonum.org/v1/plot/vg/draw"
	"gonum.org/v1/plot/vg/vgsvg"
)

// draw writes the chart to an SVG file.
func draw(p *chart, file string) error {
	canvas := plot.New()
	canvas.Title.Text, canvas.X.Label.Text, canvas.Y.Label.Text = p.Title, p.X, p.Y
	if p.LogX {
		canvas.X.Scale, canvas.X.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	if p.Percentiles {
		canvas.X.Tick.Marker = plot.TickerFunc(percentileTicks)
	}
	if p.LogY {
		canvas.Y.Scale, canvas.Y.Tick.Marker = plot.LogScale{}, plot.LogTicks{Prec: -1}
	}
	canvas.Add(plotter.NewGrid())
	canvas.Legend.Top, canvas.Legend.Left = true, p.LegendLeft
	if p.LegendBeside {
		canvas.Legend.Left, canvas.Legend.XOffs = true, vg.Points(6)
	}
	for i, s := range p.Series {
		i = max(i, s.Style)
		points := make(plotter.XYs, len(s.X))
		for j := range points {
			points[j].X, points[j].Y = s.X[j], s.Y[j]
		}
		line, err := plotter.NewLine(points)
		if err != nil {
			return err
		}
		line.Color, line.Width = plotutil.Color(i), vg.Points(1.5)
		line.Dashes = plotutil.Dashes(i / len(plotutil.DefaultColors))
		canvas.Add(line)
		canvas.Legend.Add(s.Name, line)
	}
	if p.Percentiles && !p.LogY {
		even(&canvas.Y, false, 1)
	}
	if p.Limit != nil {
		addLimit(canvas, p.Limit)
	}
	if p.Even {
		even(&canvas.X, p.LogX, 1)
		even(&canvas.Y, p.LogY, legendSpace)
	}
	if p.LegendBeside {
		return saveWithLegend(canvas, file)
	}
	return canvas.Save(plotWidth, plotHeight, file)
}

// The size of a plot, and the additional width of a legend beside it.
const (
	plotWidth, plotHeight = 18 * vg.Centimeter, 10 * vg.Centimeter
	legendWidth           = 4 * vg.Centimeter
)

// saveWithLegend draws the legend to the right of the plot, where it hides no line.
func saveWithLegend(p *plot.Plot, file string) error {
	image := vgsvg.New(plotWidth+legendWidth, plotHeight)
	all := vgdraw.New(image)
	legend := p.Legend
	p.Legend = plot.NewLegend() // Draw draws an empty one
	p.Draw(vgdraw.Crop(all, 0, -legendWidth, 0, 0))
	legend.Draw(vgdraw.Crop(all, plotWidth, 0, 0, -vg.Centimeter))
	var text bytes.Buffer
	if _, err := image.WriteTo(&text); err != nil {
		return err
	}
	return os.WriteFile(file, text.Bytes(), 0o644)
}

// limitSpace is how much higher a plot is than its limit.
const limitSpace = 1.1

// addLimit adds the line of a limit, and makes the plot high enough for it.
func addLimit(canvas *plot.Plot, l *limit) {
	line := plotter.NewFunction(func(float64) float64 { return l.Y })
	line.Width, line.Dashes = vg.Points(1), []vg.Length{vg.Points(6), vg.Points(3)}
	canvas.Add(line)
	canvas.Legend.Add(l.Name, line)
	canvas.Y.Max = max(canvas.Y.Max, l.Y*limitSpace)
}

// percentileTicks are the percentiles 0, 50, 90, 99, 99.9 and so on, at 1/(1-p).
func percentileTicks(_, high float64) []plot.Tick {
	ticks := []plot.Tick{{Value: 1, Label: "0%"}, {Value: 2, Label: "50%"}}
	for value := 10.0; value <= high; value *= 10 {
		ticks = append(ticks, plot.Tick{Value: value, Label: strconv.FormatFloat(100-100/value, 'g', 8, 64) + "%"})
	}
	return ticks
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
