package main

import (
	"bytes"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

const introduction = `# Performance

*For engineers who want to know what keytail costs and saves, and how that was measured.*

This page is generated: ` + "`go -C bench run . report`" + ` writes it from the kept results in [bench/](bench). Do not edit it.

How to read it:

- Each row measures two programs alternately within one run and compares them: keytail, and what it replaces or could at
  best be. A ratio is the median of several rounds, with the smallest and the largest round in brackets.
- Absolute times depend on the machine (a small virtual machine that other programs share) and are of no use elsewhere.
- Rows that miss their goal stay in the table.

To measure on your machine:

<!-- needs: some minutes -->
` + "```sh" + `
go -C bench run . list                         # the rows
go -C bench run . hit auth                     # measures these two and prints the results
go -C bench run . report --uri 'mongodb://...' # measures rows without a result on your replica set, writes this page
` + "```" + `

`

// report writes performance.md and its plots.
func report(docs string, all []*result) error {
	if err := os.MkdirAll(filepath.Join(docs, "bench"), 0o755); err != nil {
		return err
	}
	var text bytes.Buffer
	text.WriteString(introduction)
	summary(&text, all)
	for _, r := range all {
		if err := writeMarkdown(&text, r, docs); err != nil {
			return err
		}
	}
	return os.WriteFile(filepath.Join(docs, "performance.md"), text.Bytes(), 0o644)
}

// summary is all goals in one table.
func summary(w *bytes.Buffer, all []*result) {
	fmt.Fprintf(w, "| row | goal | reach | measured | |\n|---|---|---|---|---|\n")
	for _, r := range all {
		for i := range r.Goals {
			g := &r.Goals[i]
			fmt.Fprintf(w, "| [%s](#%s) | %s | %s %s | %s | %s |\n", r.Row, r.Row, g.Name, g.Sign, number(g.Want), g.measured(), g.verdict())
		}
	}
	fmt.Fprintln(w)
}

func (g *goal) measured() string {
	if g.Rounds <= 1 || g.Low == g.High {
		return number(g.Got)
	}
	return fmt.Sprintf("%s (%s to %s, %d rounds)", number(g.Got), number(g.Low), number(g.High), g.Rounds)
}

func (g *goal) verdict() string {
	if g.reached() {
		return "reached"
	}
	return "**falls short**"
}

// number has as many digits as mean something.
func number(f float64) string {
	text := fmt.Sprintf("%.3g", f)
	if strings.Contains(text, "e") {
		return fmt.Sprintf("%.0f", f)
	}
	return text
}

// writeMarkdown writes a row's section; plots are written below docs unless it is
// empty.
func writeMarkdown(w *bytes.Buffer, r *result, docs string) error {
	i := slices.IndexFunc(rows, func(row row) bool { return row.name == r.Row })
	if i < 0 {
		return fmt.Errorf("there is no row %q any more: remove its result", r.Row)
	}
	definition := rows[i]
	fmt.Fprintf(w, "## %s\n\n**What**: %s.\n**Against**: %s.\n**Reach**: %s.\n\n", r.Row, definition.what, definition.against, definition.reach)
	for i := range r.Goals {
		g := &r.Goals[i]
		fmt.Fprintf(w, "- %s: %s, wanted %s %s: %s\n", g.Name, g.measured(), g.Sign, number(g.Want), g.verdict())
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

// provenance is where and how the figures were made.
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
	return fmt.Sprintf("<sub>`go -C bench run . %s`, %s, %v; commit %s; %s, %d cores, %s, %s; %s</sub>",
		r.Row, r.At.Format("2006-01-02 15:04 UTC"), r.Took, commit, m.CPU, m.Cores, m.OS, m.Go, strings.Join(modules, ", "))
}

func writeTable(w *bytes.Buffer, t table) {
	fmt.Fprintf(w, "\n%s\n\n| %s |\n|%s\n", t.Title, strings.Join(t.Head, " | "), strings.Repeat("---|", len(t.Head)))
	for _, cells := range t.Rows {
		fmt.Fprintf(w, "| %s |\n", strings.Join(cells, " | "))
	}
}
