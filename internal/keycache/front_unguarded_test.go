//go:build unguarded

package keycache

import (
	"testing"

	"github.com/keytail/keytail/internal/guard"
)

func without(name string, run func()) {
	on := guard.Switches[name]
	*on = false
	defer func() { *on = true }()
	run()
}

// TestTheFrontNeedsEachGuard: without its guard, the front answers from an entry that has ended.
func TestTheFrontNeedsEachGuard(t *testing.T) {
	for _, e := range frontEnds() {
		without(e.guard, func() {
			if !e.stillAnswers(t) {
				t.Errorf("after %s the front does not answer, although %s is off", e.name, e.guard)
			}
		})
	}
}

func TestTheAuditOfTheFrontNeedsItsGuard(t *testing.T) {
	without("FrontAudit", func() {
		for name, defect := range frontDefects() {
			r, _ := afterAudit(t, defect)
			if n := r.Stats().Mismatches; n != 0 {
				t.Errorf("%s: %d mismatches are found", name, n)
			}
		}
	})
}
