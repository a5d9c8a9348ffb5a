package doctest

import (
	"strings"
	"testing"
)

// TestEachThreatHasATest: in the tables of docs/security.md whose last column is a test,
// each row names one. TestReferences checks that it exists.
func TestEachThreatHasATest(t *testing.T) {
	p := parsePage("docs/security.md", mustLoadTree(t).text["docs/security.md"])
	threats, inTable := 0, false
	for _, l := range p.lines {
		cells := strings.Split(strings.Trim(strings.TrimSpace(l.text), "|"), "|")
		last := strings.TrimSpace(cells[len(cells)-1])
		switch {
		case !strings.HasPrefix(l.text, "|"):
			inTable = false
		case last == "test" || last == "test or check":
			inTable = true
		case !inTable || last == "---":
		case last == "the gate, `.ci/run`":
		case !strings.Contains(last, "`Test") && !strings.Contains(last, "`Fuzz"):
			t.Errorf("docs/security.md:%d: no test stands for the threat: %s", l.number, strings.TrimSpace(cells[0]))
		default:
			threats++
		}
	}
	if threats < 50 {
		t.Errorf("only %d threats have a test: is the page read as it should be?", threats)
	}
}
