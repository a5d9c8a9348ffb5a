//go:build unguarded

package changestream

import (
	"math/rand/v2"
	"strings"
	"testing"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/guard"
	"github.com/keytail/keytail/internal/mongotest"
)

// TestRandomUpdatesNeedEachGuard: without a guard the random updates must include one that changed
// what its document decodes to, and was dropped.
func TestRandomUpdatesNeedEachGuard(t *testing.T) {
	for _, name := range []string{"NestedFields", "RemovedFields"} {
		t.Run(name, func(t *testing.T) {
			*guard.Switches[name] = false
			defer func() { *guard.Switches[name] = true }()
			samples := randomSamples(rand.New(rand.NewPCG(1, 0)))
			runSamples(t, &mongotest.StartDevmongo(t, devmongo.Config{}).Server, samples)
			in := newInterpreter(&schema, own)
			for _, sample := range samples {
				if wrong := sample.check(t, in); strings.HasPrefix(wrong, "dropped, but it changed") {
					t.Logf("%v by %v: %s", sample.document, sample.update, wrong)
					return
				}
			}
			t.Error("no update is wrong without the guard: the samples prove nothing")
		})
	}
}
