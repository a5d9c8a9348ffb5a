//go:build unguarded

package resume

import (
	"flag"
	"strings"
	"testing"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
)

// The guards whose removal each search finds, with the default seed. Guards joined by + are removed
// together.
var (
	timeGuards  = flag.String("resume.timeguards", "AfterClusterTime,OpenFloor,ChangeFloor,SeqBeforeRead,ByID,ByHash,AbsentByHash,ChangeSole,SeenTwice,TwoDocuments", "guards that TestEveryTimeFindsAGuardOut takes out, one at a time")
	errorGuards = flag.String("resume.errorguards", "LossHistory+LossNoToken,LossPosition+LossNoToken,LossUnknownCode+LossNoToken", "guards that TestEveryPointFindsAGuardOut takes out, one at a time")
)

// TestEveryTimeFindsAGuardOut expects that resuming from every time finds a wrong entry or answer
// when a guard is off. Only without the unique index does the first scan read the documents of the
// stream's beginning: with it, the scan reads what is at least as new as its look at the index.
func TestEveryTimeFindsAGuardOut(t *testing.T) {
	for name := range strings.SplitSeq(*timeGuards, ",") {
		t.Run(name, func(t *testing.T) {
			testkit.TakeOut(t, name)
			r := recordOnDevmongo(t, true)
			found := r.search(t.Context(), r.starts(), true)
			if len(found.wrong) == 0 {
				t.Fatalf("nothing was wrong in %d starts", found.tried)
			}
			t.Logf("after %d starts: %s", found.tried, found.wrong[0])
		})
	}
}

// TestEveryPointFindsAGuardOut expects that some error at some point leads to a wrong answer when a
// guard is off.
func TestEveryPointFindsAGuardOut(t *testing.T) {
	d := mongotest.StartDevmongo(t, devmongo.Config{})
	cases := allCases(t, &d.Server)
	for name := range strings.SplitSeq(*errorGuards, ",") {
		t.Run(name, func(t *testing.T) {
			testkit.TakeOut(t, name)
			for n, at := range cases {
				if out := follow(t, &d.Server, at); len(out.wrong) > 0 {
					t.Logf("after %d runs: %v: %s", n+1, at, out.wrong[0])
					return
				}
			}
			t.Fatalf("nothing was wrong in %d runs", len(cases))
		})
	}
}
