//go:build unguarded

package changestream

import (
	"testing"

	"github.com/keytail/keytail/internal/guard"
)

// TestGamesFindAGuardOut: a chain that nobody checks, or that is believed to be of a
// history that it may not be of, must show in the games.
func TestGamesFindAGuardOut(t *testing.T) {
	for _, name := range []string{"LossRewound", "VerifiedHistory"} {
		*guard.Switches[name] = false
		all := play(2000)
		*guard.Switches[name] = true
		if len(all.wrong) == 0 {
			t.Errorf("without %s nothing is wrong: the games prove nothing", name)
			continue
		}
		t.Logf("without %s: %d times wrong, first: %s", name, len(all.wrong), all.wrong[0])
	}
}
