package statuspage

import (
	"fmt"
	"slices"
)

// The size of the drawing of one code, in units of its view box: four for each minute.
const (
	sparkWidth  = 240
	sparkHeight = 24
)

// CodeRow is one code of the table of verdicts.
type CodeRow struct {
	Code  string
	Total uint64
	// LastMinutes is the number of the last five full minutes and the current one.
	LastMinutes uint64
	Bars        []Bar
	// Trouble: keytail itself gave no answer.
	Trouble bool
}

// Bar is a rectangle of a drawing.
type Bar struct{ X, Y, Width, Height string }

// recentMinutes is how many minutes LastMinutes has.
const recentMinutes = 6

// VerdictRows are the codes of the last hour. Nil: there was no verdict.
func (d *Data) VerdictRows() []CodeRow {
	if d.Status.Hour == nil {
		return nil
	}
	var rows []CodeRow
	for _, v := range d.Status.Hour.Verdicts {
		row := CodeRow{Code: v.Code, Total: v.Total, Bars: bars(v.PerMinute), Trouble: v.Code == "UNAVAILABLE"}
		for _, n := range v.PerMinute[max(0, len(v.PerMinute)-recentMinutes):] {
			row.LastMinutes += n
		}
		rows = append(rows, row)
	}
	return rows
}

// SparkWidth and SparkHeight are those of the drawing.
func (d *Data) SparkWidth() int { return sparkWidth }

// SparkHeight is the height of the drawing.
func (d *Data) SparkHeight() int { return sparkHeight }

// bars draws a number for each minute; the largest has the full height, and one above zero
// can be seen.
func bars(perMinute []uint64) []Bar {
	if len(perMinute) == 0 {
		return nil
	}
	top := float64(slices.Max(perMinute))
	width := float64(sparkWidth) / float64(len(perMinute))
	var all []Bar
	for i, n := range perMinute {
		if n == 0 {
			continue
		}
		height := max(2, float64(n)/top*sparkHeight)
		all = append(all, Bar{
			X: fmt.Sprintf("%.1f", float64(i)*width), Y: fmt.Sprintf("%.1f", sparkHeight-height),
			Width: fmt.Sprintf("%.1f", width*.8), Height: fmt.Sprintf("%.1f", height),
		})
	}
	return all
}
