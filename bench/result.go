package main

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"time"
)

// result is the outcome of measuring one row. It is saved as JSON, so that the report
// can be written without measuring again.
type result struct {
	Row string
	// Said describes the row as it was when it was measured.
	Said    description
	At      time.Time
	Took    time.Duration
	Machine machineFacts
	Goals   []goal
	Tables  []table
	Plots   []chart
	// Notes are paragraphs of Markdown that explain the figures.
	Notes []string
}

// goal is a measured figure and the limit that it should keep.
type goal struct {
	Name string
	// Got and Want are compared by Sign: "<=" or ">=".
	Got  float64
	Sign string
	Want float64
	// Got is the median of the rounds, Low and High are the smallest and the largest.
	// Both are zero if the figure was not measured in rounds.
	Low, High float64
	Rounds    int
}

// reached reports whether Got keeps the limit.
func (g *goal) met() bool {
	if g.Sign == "<=" {
		return g.Got <= g.Want
	}
	return g.Got >= g.Want
}

// table is a table of the report. Its cells are formatted text.
type table struct {
	Title string
	Head  []string
	Rows  [][]string
}

// chart describes a plot; see plots.go.
type chart struct {
	Name, Title, X, Y string
	// LogX, LogY: the axis is logarithmic. Its values are positive.
	LogX, LogY bool
	// Even: both axes begin at zero and have ticks at round numbers, unless an axis is
	// logarithmic.
	Even bool
	// LegendLeft: the legend is at the top left, for lines that rise.
	LegendLeft bool `json:",omitempty"`
	// LegendBeside: the legend is to the right of the plot.
	LegendBeside bool `json:",omitempty"`
	// Percentiles: X is 1/(1-p) of the percentiles p, as in the plots of HdrHistogram. The
	// axis is logarithmic and shows the percentiles.
	Percentiles bool `json:",omitempty"`
	// Limit is a horizontal line. Nil: none.
	Limit  *limit `json:",omitempty"`
	Series []series
}

// limit is a value that the figures of a plot may not exceed.
type limit struct {
	Y    float64
	Name string
}

type series struct {
	Name string
	X, Y []float64
	// Style is the number of the colour and the dashes, for a line that looks the same in
	// several plots. Zero: the next one.
	Style int `json:",omitempty"`
}

func (r *result) goal(g goal)            { r.Goals = append(r.Goals, g) }
func (r *result) table(t table)          { r.Tables = append(r.Tables, t) }
func (r *result) note(text string)       { r.Notes = append(r.Notes, text) }
func (r *result) plot(p chart)           { r.Plots = append(r.Plots, p) }
func resultFile(dir, name string) string { return filepath.Join(dir, name+".json") }

// save writes the result's file.
func (r *result) save(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(resultFile(dir, r.Row), append(text, '\n'), 0o644)
}

// loadResult reads a result's file.
func loadResult(dir, name string) (*result, error) {
	text, err := os.ReadFile(resultFile(dir, name))
	if err != nil {
		return nil, err
	}
	var r result
	return &r, json.Unmarshal(text, &r)
}

// loadResults reads the results of all rows. A row that has never been measured has a result
// without a time.
func loadResults(dir string) ([]*result, error) {
	var all []*result
	for _, r := range rows {
		got, err := loadResult(dir, r.name)
		if errors.Is(err, os.ErrNotExist) {
			got, err = &result{Row: r.name}, nil
		}
		if err != nil {
			return nil, fmt.Errorf("%s: %w", r.name, err)
		}
		all = append(all, got)
	}
	return all, nil
}

// isMeasured reports whether the row has been measured at all.
func (r *result) isMeasured() bool { return !r.At.IsZero() }
