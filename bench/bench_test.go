package main

import (
	"bytes"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/internal/mongotest"
)

// TestEveryRowStillWorks measures each row with tiny sizes: whether the figures are
// good is for the report, that there are any is for this.
func TestEveryRowStillWorks(t *testing.T) {
	gin.SetMode(gin.ReleaseMode)
	for _, r := range rows {
		t.Run(r.name, func(t *testing.T) {
			if r.server {
				mongotest.NeedSecantus(t)
			}
			if r.history {
				t.Skip("it builds older versions, and takes minutes; its benchmarks run with all others")
			}
			got, err := measure(t.Context(), r, &options{Quick: true, Docs: t.TempDir()})
			if err != nil {
				t.Fatal(err)
			}
			if len(got.Goals)+len(got.Tables)+len(got.Notes) == 0 {
				t.Error("it measured nothing")
			}
			for _, g := range got.Goals {
				if g.Got < 0 || g.Name == "" || g.Sign != "<=" && g.Sign != ">=" {
					t.Errorf("%+v", g)
				}
			}
			if err := got.keep(t.TempDir()); err != nil {
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

func TestAnUnknownRowIsRefused(t *testing.T) {
	if _, err := choose([]string{"hit", "none"}); err == nil {
		t.Error("no error")
	}
	if all, err := choose([]string{"all"}); err != nil || len(all) != len(rows) {
		t.Errorf("%d rows, %v", len(all), err)
	}
}

func TestTheMedianIsTheMiddle(t *testing.T) {
	for _, test := range []struct {
		figures []float64
		want    float64
	}{{nil, 0}, {[]float64{3}, 3}, {[]float64{9, 1, 2}, 2}, {[]float64{4, 1, 2, 9}, 3}} {
		if got := median(test.figures); got != test.want {
			t.Errorf("%v: %v", test.figures, got)
		}
	}
}

// TestPairsTakeTurns: neither side always goes first.
func TestPairsTakeTurns(t *testing.T) {
	var order []string
	side := func(name string, figure float64) func() (float64, error) {
		return func() (float64, error) { order = append(order, name); return figure, nil }
	}
	all, err := paired(t.Context(), 2, side("a", 4), side("b", 2))
	if err != nil || len(all) != 2 || all[0] != 2 || all[1] != 2 || strings.Join(order, "") != "abba" {
		t.Errorf("%v %v %v", all, order, err)
	}
}
