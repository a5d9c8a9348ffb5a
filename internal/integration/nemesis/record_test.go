package nemesis

import (
	"bufio"
	"context"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/history"
	"github.com/keytail/keytail/internal/historycheck"
	"github.com/keytail/keytail/internal/nemesis"
)

var nemesisHistory = flag.String("nemesis.history", "", "a directory for the history of each test, which keytail check judges; empty: none is written")

// record writes the history into a file, if the flag names a directory. The file ends, and
// the checker must find in it what the oracle finds, when the test ends.
func record(t *testing.T, h *nemesis.History, maxStale time.Duration) {
	t.Helper()
	if *nemesisHistory == "" {
		return
	}
	name := filepath.Join(*nemesisHistory, strings.NewReplacer("/", "_", ",", "").Replace(t.Name())+".jsonl")
	file, err := os.Create(name)
	if err != nil {
		t.Fatal(err)
	}
	to := bufio.NewWriter(file)
	err = h.Record(to, history.Header{
		MaxStaleMS:  history.Milliseconds(maxStale),
		Description: t.Name() + " of internal/integration/nemesis",
		Topology:    "three instances, each behind a proxy, and one MongoDB server, in one process",
		Clock:       "the monotonic clock of that process, from its time of day at the start",
	})
	if err != nil {
		t.Fatal(err)
	}
	// Cleanups run in reverse order, so the callers have stopped.
	t.Cleanup(func() {
		if err := errors.Join(h.EndRecord(), to.Flush(), file.Close()); err != nil {
			t.Errorf("recording the history: %v", err)
			return
		}
		report, err := historycheck.Check(context.Background(), historycheck.Input{History: name})
		if err != nil {
			t.Error(err)
			return
		}
		wrong := map[nemesis.Answer]bool{}
		for _, v := range h.Check(maxStale) {
			if v.Rule != nemesis.Withheld {
				wrong[v.Answer] = true
			}
		}
		t.Logf("keytail check %s: %d of %d answers break a promise, by the oracle %d", name, report.Wrong, report.Totals.Answers, len(wrong))
		if report.Wrong != len(wrong) {
			t.Error("the checker and the oracle disagree")
		}
	})
}
