package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"
)

// result is the outcome of measuring one row. It is saved as JSON, so that the report
// can be written without measuring again.
type result struct {
	Row     string
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
	Even   bool
	Series []series
}

type series struct {
	Name string
	X, Y []float64
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
