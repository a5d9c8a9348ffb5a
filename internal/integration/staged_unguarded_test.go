//go:build unguarded

package integration

import (
	"strings"
	"testing"

	"github.com/keytail/keytail/internal/guard"
	"github.com/keytail/keytail/internal/integration/testkit"
)

// runStaged stages an anomaly without the guards that prevent it.
func runStaged(t *testing.T, a anomaly, scope string) {
	for _, guards := range a.shows {
		t.Run("without_"+guards, func(t *testing.T) {
			testkit.TakeOut(t, guards)
			answer := a.stage(t, scope)
			if answer == "" {
				t.Error("all answers are right without the guard, want a wrong one: the stage proves nothing")
			}
			t.Log("wrong, as expected: ", answer)
		})
	}
	for _, guards := range a.covered {
		t.Run("covered_"+guards, func(t *testing.T) {
			testkit.TakeOut(t, guards)
			if answer := a.stage(t, scope); answer != "" {
				t.Error("wrong although another guard should prevent it: ", answer)
			}
		})
	}
}

// TestStagedEveryGuard: each guard needs a stage that fails without it.
func TestStagedEveryGuard(t *testing.T) {
	needed := map[string]bool{}
	for _, a := range anomalies() {
		for _, guards := range a.shows {
			for name := range strings.SplitSeq(guards, "+") {
				needed[name] = true
			}
		}
	}
	for name := range guard.Switches {
		if !needed[name] {
			t.Errorf("no stage needs the guard %s", name)
		}
	}
}
