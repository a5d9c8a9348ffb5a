//go:build unguarded

package keycache

import (
	"testing"

	"github.com/keytail/keytail/internal/guard"
)

// TestTwoDocumentsNeedEachGuard turns off one guard at a time. Each time there is a
// history that ends in a wrong answer.
func TestTwoDocumentsNeedEachGuard(t *testing.T) {
	for _, name := range []string{"ChangeSole", "RenewSole", "AmbiguousMark", "AmbiguousRevalidate", "SeenTwice", "MarkOverlay", "Provisional"} {
		t.Run(name, func(t *testing.T) {
			on := guard.Switches[name]
			*on = false
			defer func() { *on = true }()
			wrong, _ := runTwins(20_000)
			if wrong == "" {
				t.Fatal("all answers are correct without the guard")
			}
			t.Log(wrong)
		})
	}
}
