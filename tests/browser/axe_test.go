package browser

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/chromedp/chromedp"

	"github.com/keytail/keytail/internal/testprogram"
)

// axeVariable names the script of axe-core.
const axeVariable = "KEYTAIL_TEST_AXE"

// finding is a rule of axe-core that the page breaks.
type finding struct {
	ID    string
	Help  string
	Nodes []struct{ HTML, FailureSummary string }
}

// mustBeAccessible checks the page in the look that it has now with all rules of axe-core.
// Without axe-core it checks nothing, and the test is skipped at its end.
func (b *browser) mustBeAccessible(where string) {
	b.t.Helper()
	path := os.Getenv(axeVariable)
	if path == "" {
		b.t.Cleanup(func() {
			testprogram.SkipIfMissing(b.t, "axe", errors.Join(testprogram.ErrMissing, errors.New(axeVariable+" is not set")))
		})
		return
	}
	script, err := os.ReadFile(path)
	if err != nil {
		b.t.Fatal(err)
	}
	type results struct {
		Violations []finding
		Passes     int
	}
	evaluate[bool](b, string(script)+";true")
	result := evaluate[results](b, `axe.run().then(r => ({violations: r.violations, passes: r.passes.length}))`, chromedp.EvalAwaitPromise)
	for _, v := range result.Violations {
		var places []string
		for _, n := range v.Nodes {
			places = append(places, fmt.Sprintf("%s: %s", n.HTML, n.FailureSummary))
		}
		b.t.Errorf("%s: %s (%s):\n%s", where, v.Help, v.ID, strings.Join(places, "\n"))
	}
	if result.Passes < 15 {
		b.t.Errorf("%s: axe-core checked only %d rules", where, result.Passes)
	}
}
