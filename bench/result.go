package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"time"
)

// result is what a row measured. It is kept as JSON, so that the report can be
// written without measuring again.
type result struct {
	Row     string
	At      time.Time
	Took    time.Duration
	Machine machineFacts
	Goals   []goal
	Tables  []table
	Plots   []picture
	// Notes are sentences: why something falls short, what else was seen.
	Notes []string
}

// goal is a figure that is to be reached.
type goal struct {
	Name string
	// Got and Want are compared by Sign: "<=" or ">=".
	Got  float64
	Sign string
	Want float64
	// Low and High are the smallest and the largest of the rounds, Got their median.
	Low, High float64
	Rounds    int
}

// reached reports whether the median is good enough.
func (g *goal) reached() bool {
	if g.Sign == "<=" {
		return g.Got <= g.Want
	}
	return g.Got >= g.Want
}

// table is for people.
type table struct {
	Title string
	Head  []string
	Rows  [][]string
}

// picture is a plot of distributions or lines; see plots.go.
type picture struct {
	Name, Title, X, Y string
	// LogX: the x axis is logarithmic.
	LogX   bool
	Series []series
}

type series struct {
	Name string
	X, Y []float64
}

func (r *result) goal(g goal)      { r.Goals = append(r.Goals, g) }
func (r *result) table(t table)    { r.Tables = append(r.Tables, t) }
func (r *result) note(text string) { r.Notes = append(r.Notes, text) }
func (r *result) plot(p picture)   { r.Plots = append(r.Plots, p) }
func path(dir, name string) string { return filepath.Join(dir, name+".json") }

// keep writes the result's file.
func (r *result) keep(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	text, err := json.MarshalIndent(r, "", " ")
	if err != nil {
		return err
	}
	return os.WriteFile(path(dir, r.Row), append(text, '\n'), 0o644)
}

// kept reads a result's file.
func kept(dir, name string) (*result, error) {
	text, err := os.ReadFile(path(dir, name))
	if err != nil {
		return nil, err
	}
	var r result
	return &r, json.Unmarshal(text, &r)
}
