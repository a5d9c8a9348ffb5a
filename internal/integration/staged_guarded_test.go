//go:build !unguarded

package integration

import "testing"

// runStaged stages an anomaly with all guards.
func runStaged(t *testing.T, a anomaly, scope string) {
	if answer := a.stage(t, scope); answer != "" {
		t.Error("wrong: ", answer)
	}
}
