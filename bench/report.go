package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const introduction = `# Benchmarks

*For engineers who want to know what keytail costs and saves, and how that was measured.*

This page is generated: ` + "`go -C bench run . report`" + ` writes it from the saved results in [bench/](bench). Do not edit it.
[Delays by fault](delays.md) has how long a revoked key is accepted while MongoDB, the network or keytail fails.
`

const instructions = `## How to read this page

- Each row measures two programs alternately within one run: keytail, and the code that it replaces or the smallest program
  that could do the work. A ratio is the median of several rounds, with the smallest and the largest round in brackets.
- A ratio of requests per second should be high, a ratio of times should be low. The goal says which.
- Absolute times depend on the machine (a small virtual machine that other programs share). Do not compare them with those of
  other machines.
- secantusd-py is [SecantusDB](https://pypi.org/project/secantusdb/), an independent server with MongoDB's protocol. Its speed
  differs from MongoDB's, and so does every ratio between reads of the database and reads of a cache.
- Rows that miss their goals stay on this page.
- The figures of a row are those of the commit and the day below it. If the row has changed since, its section says how, and *old*
  stands beside its name in the tables. Goals that were raised since count with the goal of that day.
  The commits of 2026-11-30 are not in the repository: they reached it together, as ` + "`b8951d2`" + `.

To measure on your machine:

<!-- needs: some minutes -->
` + "```sh" + `
go -C bench run . list                          # lists the rows
go -C bench run . hit auth                      # measures these two rows, prints the results, and saves them
go -C bench run . events --uri 'mongodb://...'  # measures on your replica set
go -C bench run . report                        # writes this page from the saved results, without measuring
` + "```" + `

`

// report writes BENCHMARKS.md and its plots.
func report(docs string, all []*result) error {
	if err := os.MkdirAll(filepath.Join(docs, "bench"), 0o755); err != nil {
		return err
	}
	var text bytes.Buffer
	text.WriteString(introduction)
	writeSummary(&text, all)
	text.WriteString(instructions)
	if err := writeContents(&text, all); err != nil {
		return err
	}
	for _, r := range all {
		if err := writeMarkdown(&text, r, docs); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(docs, "BENCHMARKS.md"), text.Bytes(), 0o644)
}

// writeContents writes the list of all rows.
func writeContents(w *bytes.Buffer, all []*result) error {
	fmt.Fprintf(w, "## Rows\n\n| row | measures | goals met |\n|---|---|---|\n")
	for _, r := range all {
		definition, err := rowOf(r)
		if err != nil {
			return err
		}
		met := "no goals"
		switch {
		case !r.isMeasured():
			met = "not measured yet"
		case len(r.Goals) > 0:
			met = fmt.Sprintf("%d of %d", len(r.Goals)-len(missedGoals(r)), len(r.Goals))
		}
		if len(changes(r, &definition)) > 0 {
			met += ", *old*"
		}
		fmt.Fprintf(w, "| [%s](#%s) | %s | %s |\n", r.Row, r.Row, definition.title, met)
	}
	fmt.Fprintln(w)
	return nil
}

// rowOf returns the definition of the row of a result.
func rowOf(r *result) (row, error) {
	i := slices.IndexFunc(rows, func(row row) bool { return row.name == r.Row })
	if i < 0 {
		return row{}, fmt.Errorf("the saved result %q has no row: delete its file", r.Row)
	}
	return rows[i], nil
}

// limit returns the goal in words.
func (g *goal) limit() string {
	if g.Sign == "<=" {
		return "at most " + number(g.Want)
	}
	return "at least " + number(g.Want)
}

func (g *goal) measured() string {
	if g.Rounds <= 1 || g.Low == g.High {
		return number(g.Got)
	}
	return fmt.Sprintf("%s (%s to %s, %d rounds)", number(g.Got), number(g.Low), number(g.High), g.Rounds)
}

func (g *goal) verdict() string {
	if g.met() {
		return "met"
	}
	return "**missed**"
}

// number formats a figure with three significant digits.
func number(f float64) string {
	text := fmt.Sprintf("%.3g", f)
	if strings.Contains(text, "e") {
		return fmt.Sprintf("%.0f", f)
	}
	return text
}

// writeMarkdown writes the section of a row. It also writes the plots below docs, unless
// docs is empty.
func writeMarkdown(w *bytes.Buffer, r *result, docs string) error {
	definition, err := rowOf(r)
	if err != nil {
		return err
	}
	fmt.Fprintf(w, "## %s\n\n", r.Row)
	fmt.Fprintf(w, "- **Measured**: %s.\n- **Compared with**: %s.\n- **Goals**: %s.\n- **Measure again**: `go -C bench run . %s`\n",
		definition.measures, definition.comparedWith, definition.goals, r.Row)
	if !r.isMeasured() {
		fmt.Fprintf(w, "\nThis row has not been measured yet.\n\n")
		return nil
	}
	if changed := changes(r, &definition); len(changed) > 0 {
		fmt.Fprintf(w, "\n**These figures are older than the row.** When they were measured, the row had:\n\n%s\n", strings.Join(changed, "\n"))
	}
	if len(r.Goals) > 0 {
		fmt.Fprintf(w, "\n| figure | goal | measured | |\n|---|---|---|---|\n")
	}
	for i := range r.Goals {
		g := &r.Goals[i]
		fmt.Fprintf(w, "| %s | %s | %s | %s |\n", g.Name, g.limit(), g.measured(), g.verdict())
	}
	for _, t := range r.Tables {
		writeTable(w, t)
	}
	for _, p := range r.Plots {
		if docs == "" {
			continue
		}
		name := filepath.Join("bench", r.Row+"-"+p.Name+".svg")
		if err := draw(&p, filepath.Join(docs, name)); err != nil {
			return err
		}
		fmt.Fprintf(w, "\n![%s](%s)\n", p.Title, filepath.ToSlash(name))
	}
	for _, note := range r.Notes {
		fmt.Fprintf(w, "\n%s\n", note)
	}
	fmt.Fprintf(w, "\n%s\n\n", provenance(r))
	return nil
}

// changes lists what has changed in the row since the result was measured: the former texts. A
// result that was saved without them counts as unchanged.
func changes(r *result, now *row) []string {
	if !r.isMeasured() || r.Said == (description{}) {
		return nil
	}
	var changed []string
	for _, part := range []struct{ name, was, is string }{
		{"Measured", r.Said.Measures, now.measures}, {"Compared with", r.Said.ComparedWith, now.comparedWith}, {"Goals", r.Said.Goals, now.goals},
	} {
		if part.was != part.is {
			changed = append(changed, fmt.Sprintf("- **%s**: %s.", part.name, part.was))
		}
	}
	return changed
}

// provenance describes when and with which versions the row was measured.
func provenance(r *result) string {
	m := r.Machine
	commit := m.Commit
	if m.Changed {
		commit += " with changes"
	}
	var modules []string
	for path, version := range m.Modules {
		modules = append(modules, filepath.Base(strings.TrimSuffix(strings.TrimSuffix(path, "/v3"), "/v2"))+" "+version)
	}
	slices.Sort(modules)
	if m.Server != "" {
		modules = append(modules, m.Server)
	}
	return fmt.Sprintf("<sub>Measured on %s in %v; commit %s; %s, %d cores, %s, %s; %s</sub>",
		r.At.Format("2006-01-02 15:04 UTC"), r.Took, commit, m.CPU, m.Cores, m.OS, m.Go, strings.Join(modules, ", "))
}

func writeTable(w *bytes.Buffer, t table) {
	if t.Title != "" {
		fmt.Fprintf(w, "\n%s:\n", t.Title)
	}
	fmt.Fprintf(w, "\n| %s |\n|%s\n", strings.Join(t.Head, " | "), strings.Repeat("---|", len(t.Head)))
	for _, cells := range t.Rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
	}
}
