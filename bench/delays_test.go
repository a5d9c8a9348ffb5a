package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/bench/child"
	"github.com/keytail/keytail/bench/delays"
	"github.com/keytail/keytail/internal/mongotest"
)

// TestEveryFaultIsMade makes each fault once with tiny sizes, on each server that can make
// it in a way of its own. It checks that there are figures, not what they are.
func TestEveryFaultIsMade(t *testing.T) {
	binary, err := child.Build(t.Context(), repository, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	for server, only := range map[string][]string{
		mongotest.NameDevmongo: {faultNone, faultPausedPrimary, faultLostMajority, faultHistoryLost, faultServerKilled, faultKeytailKilled, faultSlowDisk, faultNetworkCut},
		mongotest.NameSecantus: {faultElection, faultPausedPrimary, faultLostMajority, faultHistoryLost, faultServerKilled, faultSlowDisk},
	} {
		t.Run(server, func(t *testing.T) {
			if server == mongotest.NameSecantus {
				mongotest.NeedSecantus(t)
			}
			c := delaysCommand{Servers: []string{server}, Only: only, MaxStale: quickMaxStale, For: quickFor, Rounds: 1, Rate: 30, Binary: binary}
			r, err := c.measure(t.Context(), &options{}, server)
			if err != nil {
				t.Fatal(err)
			}
			if broken := r.Outcome.Failures(); len(broken) > 0 {
				t.Errorf("answers broke a guarantee: %q", broken)
			}
			for _, m := range r.Outcome.Measurements {
				switch possible := !strings.HasPrefix(m.How, "not possible"); {
				case possible != (m.Rounds == 1):
					t.Errorf("%s: %d rounds, %s", m.Fault, m.Rounds, m.How)
				case possible && (m.Answers == 0 || m.Revocations == 0 || len(m.Histograms) < 3):
					t.Errorf("%s: nothing was measured: %v", m.Fault, m)
				}
			}
			checkDelaysPage(t, r)
		})
	}
	t.Run("late", func(t *testing.T) { checkLateDaemon(t, binary) })
}

// lateDaemon is a program that runs the daemon with a larger bound than it is told.
const lateDaemon = `#!/bin/sh
for argument; do
  shift
  case $argument in --max-stale=*) argument=--max-stale=10s ;; esac
  set -- "$@" "$argument"
done
exec '%s' "$@"
`

// checkLateDaemon: a daemon that exceeds the bound is found.
func checkLateDaemon(t *testing.T, binary string) {
	t.Helper()
	late := filepath.Join(t.TempDir(), "late")
	if err := os.WriteFile(late, fmt.Appendf(nil, lateDaemon, binary), 0o700); err != nil { //nolint:gosec // a program
		t.Fatal(err)
	}
	c := delaysCommand{Only: []string{faultNetworkCut}, MaxStale: quickMaxStale, For: 2 * quickMaxStale, Rounds: 1, Rate: 30, Binary: late}
	r, err := c.measure(t.Context(), &options{}, mongotest.NameDevmongo)
	if err != nil {
		t.Fatal(err)
	}
	const want = "network-cut: a key was accepted"
	if broken := strings.Join(r.Outcome.Failures(), "\n"); !strings.Contains(broken, want) {
		t.Errorf("%q is not in %q", want, broken)
	}
}

// checkDelaysPage saves the result, and writes the page with it.
func checkDelaysPage(t *testing.T, r *delaysResult) {
	t.Helper()
	docs := t.TempDir()
	if err := errors.Join(r.save(delaysDir(docs)), writeDelaysPage(docs)); err != nil {
		t.Fatal(err)
	}
	page, err := os.ReadFile(filepath.Join(docs, "delays.md"))
	if err != nil || !bytes.Contains(page, []byte("## "+r.Title+"\n\n"+r.markdown())) {
		t.Errorf("the page lacks the section of %s: %v", r.Title, err)
	}
	for _, d := range delaysCharts[:3] {
		if _, err := os.Stat(filepath.Join(delaysDir(docs), r.ID+"-"+d.distribution+".svg")); err != nil {
			t.Error(err)
		}
	}
}

// TestDelaysPageIsCurrent writes the page again from the saved results.
func TestDelaysPageIsCurrent(t *testing.T) {
	docs := t.TempDir()
	if err := os.CopyFS(delaysDir(docs), os.DirFS(delaysDir("../docs"))); err != nil {
		t.Fatal(err)
	}
	if err := writeDelaysPage(docs); err != nil {
		t.Fatal(err)
	}
	want, err := os.ReadFile(filepath.Join(docs, "delays.md"))
	if err != nil {
		t.Fatal(err)
	}
	if have, err := os.ReadFile("../docs/delays.md"); err != nil || !bytes.Equal(have, want) {
		t.Errorf("docs/delays.md is not up to date; run: go -C bench run . report (%v)", err)
	}
}

// TestDelaysPageNamesEveryServer: a server without a result says how to measure it.
func TestDelaysPageNamesEveryServer(t *testing.T) {
	docs := t.TempDir()
	other := &delaysResult{ID: "mongodb-8.2-5", Title: place{productMongoDB, "8.2", 5}.title(), Outcome: &delays.Outcome{}}
	if err := errors.Join(other.save(delaysDir(docs)), writeDelaysPage(docs)); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(docs, "delays.md"))
	if err != nil {
		t.Fatal(err)
	}
	page := string(text)
	for _, p := range places() {
		if !strings.Contains(page, "## "+p.heading()+"\n\nNot run.") || !strings.Contains(page, p.command()+"   # "+p.title()+"\n") {
			t.Errorf("the page does not say how to measure %s", p.title())
		}
	}
	if !strings.Contains(page, "## MongoDB 8.2, 5 nodes\n") {
		t.Error("the page lacks a result of a server that it has no place for")
	}
}

// TestDelaysPlots: a line ends at its largest value, and the limit is in the plot.
func TestDelaysPlots(t *testing.T) {
	file := filepath.Join(t.TempDir(), "plot.svg")
	h := newLatency()
	for _, d := range []time.Duration{0, time.Millisecond, time.Second} {
		if err := h.RecordValue(d.Nanoseconds()); err != nil {
			t.Fatal(err)
		}
	}
	o := &delays.Outcome{MaxStale: 5 * time.Second, Measurements: []*delays.Measurement{{Fault: faultNetworkCut, Histograms: delays.Histograms{}}}}
	for _, d := range delays.Distributions {
		o.Measurements[0].Histograms[d] = h
	}
	for _, d := range delaysCharts {
		c := d.chart(o)
		line := c.Series[0]
		first, last := line.Y[0], line.Y[len(line.Y)-1]
		if want := 0.0; d.logarithmic && first != shortestTime.Seconds() || !d.logarithmic && first != want || last < 1 || last > 1.001 {
			t.Errorf("%s is from %v to %v", c.Name, first, last)
		}
		if err := draw(&c, file); err != nil {
			t.Fatal(err)
		}
		text, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		if bytes.Contains(text, []byte(">max_stale<")) != d.limited {
			t.Errorf("%s: the limit is missing, or has no place there", c.Name)
		}
	}
}

func TestDelaysRefuseWhatCannotBeMeasured(t *testing.T) {
	good := func() delaysCommand {
		return delaysCommand{MaxStale: time.Second, For: time.Second, Rounds: 1, Rate: 1}
	}
	c := good()
	if err := c.check(); err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*delaysCommand){
		"no time":                func(c *delaysCommand) { c.For = 0 },
		"no rounds":              func(c *delaysCommand) { c.Rounds = 0 },
		"an unknown fault":       func(c *delaysCommand) { c.Only = []string{"flood"} },
		"an unknown command":     func(c *delaysCommand) { c.Fault = map[string]string{"flood": "true"} },
		"nothing that is healed": func(c *delaysCommand) { c.Heal = map[string]string{faultNetworkCut: "true"} },
	} {
		c := good()
		change(&c)
		if err := c.check(); err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

// TestUserCommandsMakeFaults: the commands run at the beginning and at the end, and know the
// primary.
func TestUserCommandsMakeFaults(t *testing.T) {
	e, err := newEnv(&options{}, "delays")
	if err != nil {
		t.Fatal(err)
	}
	defer e.close()
	s, err := startDelaysServer(t.Context(), e, mongotest.NameDevmongo)
	if err != nil {
		t.Fatal(err)
	}
	defer s.close()
	file := filepath.Join(e.dir, "done")
	c := delaysCommand{Fault: map[string]string{faultServerKilled: "echo begin $PRIMARY >" + file}, Heal: map[string]string{faultServerKilled: "echo end $PRIMARY >>" + file}, Only: []string{faultServerKilled}}
	faults := c.chooseFaults(s)
	end, err := faults[0].Begin(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if err := end(); err != nil {
		t.Fatal(err)
	}
	host := strings.TrimSuffix(strings.TrimPrefix(strings.SplitN(s.uri, "?", 2)[0], "mongodb://"), "/")
	if text, err := os.ReadFile(file); err != nil || string(text) != "begin "+host+"\nend "+host+"\n" {
		t.Errorf("got %q, %v; the primary is %s", text, err, host)
	}
	if _, err := s.commandFault("exit 3", "").Begin(t.Context()); err == nil || errors.Is(err, delays.ErrNotPossible) {
		t.Errorf("a command that fails: got %v", err)
	}
}

// TestBrokenGuaranteeFailsTheRun: the command fails, and the result that it saves says why.
func TestBrokenGuaranteeFailsTheRun(t *testing.T) {
	docs := t.TempDir()
	r := &delaysResult{ID: devmongoPlace.id(), Title: devmongoPlace.title(), Outcome: &delays.Outcome{
		Measurements: []*delays.Measurement{{Fault: faultNetworkCut, Violations: []string{"accepted too late"}}},
	}}
	if err := (&delaysCommand{}).finish(r, &options{Docs: docs}); !errors.Is(err, errDelays) {
		t.Errorf("got %v, want %v", err, errDelays)
	}
	page, err := os.ReadFile(filepath.Join(docs, "delays.md"))
	if err != nil || !strings.Contains(string(page), "**A guarantee was broken**: network-cut: accepted too late.") {
		t.Errorf("the page does not say what is wrong: %v", err)
	}
	r.Outcome.Measurements[0].Violations = nil
	if err := (&delaysCommand{}).finish(r, &options{Docs: docs}); err != nil {
		t.Error(err)
	}
}

func TestDaemonHasItsOwnApplicationName(t *testing.T) {
	for uri, want := range map[string]string{
		"mongodb://a:1,b":                         "mongodb://a:1,b/?appName=keytail-delays",
		"mongodb://u:p@a,b:2/x?appName=y&w=1":     "mongodb://u:p@a,b:2/x?appName=keytail-delays&w=1",
		"mongodb+srv://a/?replicaSet=rs&tls=true": "mongodb+srv://a/?appName=keytail-delays&replicaSet=rs&tls=true",
	} {
		if got, err := withAppName(uri); err != nil || got != want {
			t.Errorf("%s: got %s, %v, want %s", uri, got, err, want)
		}
	}
	if _, err := withAppName("mongodb://a/?x=%zz"); err == nil {
		t.Error("an option that cannot be decoded was accepted")
	}
}
