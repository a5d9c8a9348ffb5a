//go:build unguarded

package changestream

import (
	"testing"

	"github.com/keytail/keytail/internal/guard"
)

// TestGamesFindAGuardOut: the games must find a chain that is not checked, a chain that
// counts as verified although it may belong to another history, and a position that
// proves heartbeats of another history.
func TestGamesFindAGuardOut(t *testing.T) {
	for _, name := range []string{"LossRewound", "VerifiedHistory", "SameCursor"} {
		*guard.Switches[name] = false
		all := play(2000)
		*guard.Switches[name] = true
		if len(all.wrong) == 0 {
			t.Errorf("without %s there is no wrong answer: the games prove nothing", name)
			continue
		}
		t.Logf("without %s: %d times wrong, first: %s", name, len(all.wrong), all.wrong[0])
	}
}
