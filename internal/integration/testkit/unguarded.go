//go:build unguarded

package testkit

import (
	"strings"
	"testing"

	"github.com/keytail/keytail/internal/guard"
)

// TakeOut switches guards off, whose names + joins, until everything has stopped that
// the test starts later.
func TakeOut(t *testing.T, guards string) {
	for name := range strings.SplitSeq(guards, "+") {
		on, ok := guard.Switches[name]
		if !ok {
			t.Fatalf("there is no guard %s", name)
		}
		*on = false
		t.Cleanup(func() { *on = true })
	}
}
