//go:build !unguarded

package keytail_test

import "testing"

// runStaged stages an anomaly against all guards.
func runStaged(t *testing.T, a anomaly) {
	if answer := a.stage(t); answer != "" {
		t.Error("wrong: ", answer)
	}
}
