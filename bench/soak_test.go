package main

import (
	"bytes"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/alecthomas/kong"

	"github.com/keytail/keytail/bench/soak"
)

// TestSoakPageIsCurrent writes the page and its plots again from the saved result.
func TestSoakPageIsCurrent(t *testing.T) {
	saved, err := loadResult("../docs/soak", soakRow)
	if err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile("../docs/soak.md")
	if err != nil {
		t.Fatal(err)
	}
	docs := t.TempDir()
	if err := os.WriteFile(filepath.Join(docs, "soak.md"), page, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(docs, soakRow), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := writeSoakPage(docs, saved); err != nil {
		t.Fatal(err)
	}
	if written, err := os.ReadFile(filepath.Join(docs, "soak.md")); err != nil || !bytes.Equal(written, page) {
		t.Errorf("docs/soak.md is not what its result says; run: go -C bench run . soak --save (%v)", err)
	}
	// The texts are those of today.
	var was, is []string
	for _, table := range saved.Tables {
		was = append(was, table.Head...)
	}
	for _, table := range soakResult(&soak.Outcome{Quantiles: make([]time.Duration, 4)}).Tables {
		is = append(is, table.Head...)
	}
	if !slices.Equal(was, is) {
		t.Errorf("the saved result has the heads %q, want %q", was, is)
	}
}

// TestPageCommands: each command of the pages can be given.
func TestPageCommands(t *testing.T) {
	for file, least := range map[string]int{"../docs/soak.md": 5, "../docs/delays.md": 4} {
		page, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		commands := regexp.MustCompile(`(?m)^go -C bench run \. ([^#\n]*)`).FindAllStringSubmatch(string(page), -1)
		if len(commands) < least {
			t.Fatalf("%s has only the commands %q", file, commands)
		}
		for _, c := range commands {
			parser, err := kong.New(&command{})
			if err != nil {
				t.Fatal(err)
			}
			if _, err := parser.Parse(strings.Fields(strings.ReplaceAll(c[1], "'", ""))); err != nil {
				t.Errorf("%s: %v", c[0], err)
			}
		}
	}
}

// TestSoakCharts: one line of a plot has few points, and shows the worst of them.
func TestSoakCharts(t *testing.T) {
	o := &soak.Outcome{}
	for i := range 3600 {
		o.Samples = append(o.Samples, soak.Sample{At: time.Duration(i+1) * time.Second, State: "live", Staleness: 1, P99: time.Millisecond})
	}
	o.Samples[1000].State, o.Samples[1000].Staleness, o.Samples[2000].State, o.Samples[3000].P99 = "down", 9, "connecting", time.Second
	for _, c := range soakCharts(o) {
		for _, s := range c.Series {
			if len(s.X) != soakPoints {
				t.Errorf("%s has %d points, want %d", s.Name, len(s.X), soakPoints)
			}
		}
		want := map[string][2]float64{"p99": {1, 1000}, "staleness": {1, 9}, "state": {0, 4}}[c.Name]
		if low, high := slices.Min(c.Series[0].Y), slices.Max(c.Series[0].Y); want != [2]float64{} && want != [2]float64{low, high} {
			t.Errorf("%s is from %v to %v, want %v", c.Name, low, high, want)
		}
		if err := draw(&c, filepath.Join(t.TempDir(), "plot.svg")); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		}
	}
}

// TestSoakFails: the command's error and its reasons.
func TestSoakFails(t *testing.T) {
	var text bytes.Buffer
	bad := &soak.Outcome{Leaks: []string{"goroutines: 3"}}
	if err := printOutcome(&text, bad, soakResult(bad)); !errors.Is(err, errSoak) || !strings.Contains(text.String(), "goroutines: 3") {
		t.Errorf("with a leak: got %v and\n%s", err, &text)
	}
	if err := (&soakCommand{For: time.Second, Rate: 1, Keys: 1}).Run(t.Context(), &options{}); err == nil {
		t.Error("a run of a second was accepted")
	}
}
