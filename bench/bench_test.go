package main

import (
	"bytes"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/internal/mongotest"
)

// TestEveryRowRuns measures each row with tiny sizes. It checks that there are figures,
// not what they are.
func TestEveryRowRuns(t *testing.T) {
	gin.SetMode(gin.ReleaseMode)
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			if r.server {
				mongotest.NeedSecantus(t)
			}
			if r.history {
				t.Skip("the row builds older versions and takes minutes; its benchmarks run with go test -bench")
			}
			got, err := measure(t.Context(), r, &options{Quick: true, Docs: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Goals)+len(got.Tables)+len(got.Notes) == 0 {
				t.Error("the row measured nothing")
			}
			for _, g := range got.Goals {
				if g.Got < 0 || g.Name == "" || g.Sign != "<=" && g.Sign != ">=" {
					t.Errorf("invalid goal: %+v", g)
				}
			}
			checkSavedTexts(t, got)
			checkHeadlines(t, got)
			if err := got.save(t.TempDir()); err != nil {
				t.Error(err)
			}
			docs := t.TempDir()
			if err := report(docs, []*result{got}); err != nil {
				t.Error(err)
			}
			var text bytes.Buffer
			if err := writeMarkdown(&text, got, ""); err != nil || !strings.Contains(text.String(), "## "+r.name) {
				t.Errorf("%v\n%s", err, &text)
			}
		})
	}
}

// checkSavedTexts compares the names of goals and the heads of tables, without their
// numbers, with those of the saved result: a change of a text has to change both.
func checkSavedTexts(t *testing.T, got *result) {
	t.Helper()
	saved, err := loadResult("../docs/bench", got.Row)
	if err != nil {
		t.Fatal(err)
	}
	if was, is := texts(saved), texts(got); !slices.Equal(was, is) {
		t.Errorf("the saved result has the texts\n%q, want\n%q", was, is)
	}
}

// texts returns the sorted names of goals and heads of tables, without numbers.
func texts(r *result) []string {
	var all []string
	for _, g := range r.Goals {
		all = append(all, g.Name)
	}
	for _, t := range r.Tables {
		all = append(all, t.Head...)
	}
	for i, text := range all {
		all[i] = digits.ReplaceAllString(text, "N")
	}
	slices.Sort(all)
	return slices.Compact(all)
}

var digits = regexp.MustCompile(`[0-9]+( goroutines?\b)?`)

// checkHeadlines checks that the row has the goals that the summary mentions.
func checkHeadlines(t *testing.T, got *result) {
	t.Helper()
	for _, h := range headlines {
		// With --quick the row hit has other numbers of keys, which are in its goals.
		if h.row == got.Row && h.row != hitRow.name && h.find([]*result{got}) == nil {
			t.Errorf("the summary mentions the goal %q, which the row does not have", h.goal)
		}
	}
}

// TestSummaryComesFromTheResults changes a result and looks at the summary.
func TestSummaryComesFromTheResults(t *testing.T) {
	saved, err := loadResult("../docs/bench", authRow.name)
	if err != nil {
		t.Fatal(err)
	}
	for got, want := range map[float64]string{0.5: "meets 1 of its 2 goals and misses 1.", 0.95: "meets 2 of its 2 goals."} {
		saved.Goals[0].Got, saved.Goals[1].Got = got, 1
		var text bytes.Buffer
		writeSummary(&text, []*result{saved})
		if !strings.Contains(text.String(), want) || !strings.Contains(text.String(), "**"+number(got)+" times**") {
			t.Errorf("with %v: %s", got, &text)
		}
	}
}

// TestReportIsCurrent writes the page again from the saved results.
func TestReportIsCurrent(t *testing.T) {
	var all []*result
	for _, r := range rows {
		saved, err := loadResult("../docs/bench", r.name)
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, saved)
	}
	for _, h := range headlines {
		if h.find(all) == nil {
			t.Errorf("the summary mentions the goal %q of the row %s, which is not in the saved results", h.goal, h.row)
		}
	}
	docs := t.TempDir()
	if err := report(docs, all); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(docs, "performance.md"))
	if err != nil {
		t.Fatal(err)
	}
	if have, err := os.ReadFile("../docs/performance.md"); err != nil || !bytes.Equal(have, want) {
		t.Errorf("docs/performance.md is not up to date; run: go -C bench run . report (%v)", err)
	}
}

func TestChooseRefusesUnknownRows(t *testing.T) {
	if _, err := choose([]string{"hit", "none"}); err == nil {
		t.Error("an unknown row was accepted")
	}
	if all, err := choose([]string{"all"}); err != nil || len(all) != len(rows) {
		t.Errorf("%d rows, %v", len(all), err)
	}
}

func TestMedian(t *testing.T) {
	for _, test := range []struct {
		figures []float64
		want    float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 9}, 3}} {
		if got := median(test.figures); got != test.want {
			t.Errorf("median of %v: got %v, want %v", test.figures, got, test.want)
		}
	}
}

// TestComparePairAlternates checks that neither side always runs first.
func TestComparePairAlternates(t *testing.T) {
	var order []string
	side := func(name string, figure float64) func() (float64, error) {
		return func() (float64, error) { order = append(order, name); return figure, nil }
	}
	all, err := comparePair(t.Context(), 2, side("a", 4), side("b", 2))
	if err != nil || len(all) != 2 || all[0] != 2 || all[1] != 2 || strings.Join(order, "") != "abba" {
		t.Errorf("%v %v %v", all, order, err)
	}
}
