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
			if r.manual {
				t.Skip("the row builds other services, which takes minutes; the tests of bench/peers check its parts")
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
// numbers, with those of the saved result: a change of a text has to change both. A result that
// is older than its row, and one that is missing, is marked in the report instead.
func checkSavedTexts(t *testing.T, got *result) {
	t.Helper()
	saved, err := loadResult("../docs/bench", got.Row)
	if errors.Is(err, os.ErrNotExist) {
		return
	}
	if err != nil {
		t.Fatal(err)
	}
	if saved.Said != (description{}) && saved.Said != got.Said {
		t.Log("the saved result is older than the row: measure it again")
		return
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
	saved := &result{Row: authRow.name, Goals: []goal{
		{Name: requestsRelativeTo(sideSame), Sign: ">=", Want: 0.9},
		{Name: "another", Sign: "<=", Want: 1.2},
	}}
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
	all, err := loadResults("../docs/bench")
	if err != nil {
		t.Fatal(err)
	}
	for _, h := range headlines {
		i := slices.IndexFunc(rows, func(r row) bool { return r.name == h.row })
		if h.find(all) == nil && all[i].isMeasured() && len(changes(all[i], &rows[i])) == 0 {
			t.Errorf("the summary mentions the goal %q of the row %s, which is not in the saved results", h.goal, h.row)
		}
	}
	docs := t.TempDir()
	if err := report(docs, all); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(docs, "BENCHMARKS.md"))
	if err != nil {
		t.Fatal(err)
	}
	if have, err := os.ReadFile("../docs/BENCHMARKS.md"); err != nil || !bytes.Equal(have, want) {
		t.Errorf("docs/BENCHMARKS.md is not up to date; run: go -C bench run . report (%v)", err)
	}
}

// TestReportMarksWhatIsOldOrMissing writes the section of a row that has changed since it was
// measured, and of one that was never measured.
func TestReportMarksWhatIsOldOrMissing(t *testing.T) {
	old := &result{Row: authRow.name, Said: authRow.description(), At: time.Unix(1, 0)}
	old.Said.Goals = "half as fast"
	for _, test := range []struct {
		result   *result
		contents string
		section  string
	}{
		{old, "no goals, *old*", "older than the row.** When they were measured, the row had:\n\n- **Goals**: half as fast.\n"},
		{&result{Row: authRow.name}, "not measured yet", "This row has not been measured yet."},
		{&result{Row: authRow.name, Said: authRow.description(), At: time.Unix(1, 0)}, "| no goals |", "<sub>Measured on"},
	} {
		var contents, section bytes.Buffer
		if err := errors.Join(writeContents(&contents, []*result{test.result}), writeMarkdown(&section, test.result, "")); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(contents.String(), test.contents) || !strings.Contains(section.String(), test.section) {
			t.Errorf("%q and %q are not in: %s%s", test.contents, test.section, &contents, &section)
		}
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
