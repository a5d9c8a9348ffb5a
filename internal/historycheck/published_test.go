package historycheck

import (
	"bytes"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/keytail/keytail/internal/history"
)

var update = flag.Bool("update", false, "draw the picture of docs/history-format.md again")

const (
	published = "../../testdata/histories"
	picture   = "../../docs/images/violation.svg"
)

// TestPublishedHistories: those of keytail pass, and the one of a keytail without a guard
// is found to lie.
func TestPublishedHistories(t *testing.T) {
	in := func(name string) string { return filepath.Join(published, name) }
	for name, c := range map[string]struct {
		in      Input
		answers int
		broken  map[Rule]int
		applied []Rule
	}{
		"nemesis": {
			in: Input{History: in("nemesis.jsonl")}, answers: 459,
			applied: []Rule{BoundedStaleness, ReportedStaleness, ExactExpiry, FleetAcknowledged, OutageIsNoRefusal},
		},
		"without a guard": {
			in: Input{History: in("without-a-guard.jsonl")}, answers: 205, broken: map[Rule]int{ReportedStaleness: 10},
			applied: []Rule{BoundedStaleness, ReportedStaleness},
		},
		"over HTTP": {
			in: Input{History: in("http.jsonl")}, answers: 573,
			applied: []Rule{BoundedStaleness, ReportedStaleness, ExactExpiry, FleetAcknowledged, RequiredRevision, ReportedRevision},
		},
		"decision logs": {
			in: Input{
				Decisions: []string{in("decisions.jsonl")}, Writes: in("writes.jsonl"),
				MaxStale: 15_000_000_000, ClockUncertainty: 5_000_000,
			}, answers: 572,
			applied: []Rule{BoundedStaleness, ReportedStaleness, ExactExpiry, FleetAcknowledged, ReportedRevision},
		},
	} {
		r := judged(t, c.in)
		broken, applied := map[Rule]int{}, map[Rule]bool{}
		for _, u := range r.Rules {
			applied[u.Rule] = u.Applied > 0
			if u.Broken > 0 {
				broken[u.Rule] = u.Broken
			}
		}
		if !maps.Equal(broken, c.broken) || r.Totals.Answers != c.answers || r.OK != (len(c.broken) == 0) {
			t.Errorf("%s: %d answers break %v, want %d and %v", name, r.Totals.Answers, broken, c.answers, c.broken)
		}
		for _, rule := range c.applied {
			if !applied[rule] {
				t.Errorf("%s: %q was applied to no answer", name, rule)
			}
		}
	}
}

// TestOneFalseAnswerIsFound: each answer of the histories that pass is replaced by its
// opposite, one at a time.
func TestOneFalseAnswerIsFound(t *testing.T) {
	opposite := map[string]string{history.Valid: history.Disabled, history.Disabled: history.Valid, history.NotFound: history.Valid, history.Expired: history.Valid}
	// Both answers are right while a write is on its way, for as long as the answer may be
	// old, and after a write of unknown outcome.
	for name, least := range map[string]int{"nemesis.jsonl": 65, "http.jsonl": 95} {
		whole, err := os.ReadFile(filepath.Join(published, name))
		if err != nil {
			t.Fatal(err)
		}
		altered := filepath.Join(t.TempDir(), name)
		lines := slices.Collect(strings.Lines(string(whole)))
		tried, found := 0, 0
		for i, line := range lines {
			code := codeOf(line)
			if opposite[code] == "" || i%3 > 0 { // each third is enough
				continue
			}
			lines[i] = strings.Replace(line, `"code":"`+code+`"`, `"code":"`+opposite[code]+`"`, 1)
			if err := os.WriteFile(altered, []byte(strings.Join(lines, "")), 0o600); err != nil {
				t.Fatal(err)
			}
			lines[i] = line
			tried++
			switch r := judged(t, Input{History: altered}); {
			case r.Wrong == 1 && r.Violations[0].Line == i+1:
				found++
			case r.Wrong > 0:
				t.Errorf("%s, line %d is false, and the checker accuses line %d", name, i+1, r.Violations[0].Line)
			}
		}
		t.Logf("%s: of %d false answers %d are found", name, tried, found)
		if tried < 100 || found*100 < tried*least {
			t.Errorf("%s: of %d false answers only %d are found", name, tried, found)
		}
	}
}

// codeOf is the code of the answer on a line, or "".
func codeOf(line string) string {
	_, rest, ok := strings.Cut(line, `"code":"`)
	if !ok {
		return ""
	}
	code, _, _ := strings.Cut(rest, `"`)
	return code
}

// pictured is the violation of the picture: a key that was deleted more than a second ago.
const pictured = 8

// TestThePictureOfTheDocumentation is the one that the command draws.
func TestThePictureOfTheDocumentation(t *testing.T) {
	in := Input{History: filepath.Join(published, "without-a-guard.jsonl")}
	r := judged(t, in)
	var got bytes.Buffer
	if err := Plot(t.Context(), in, &r.Violations[pictured], &got); err != nil {
		t.Fatal(err)
	}
	if *update {
		if err := os.WriteFile(picture, got.Bytes(), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(picture)
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.Equal(got.Bytes(), want) {
		t.Errorf("%s is another picture: go test ./internal/historycheck -run Picture -update", picture)
	}
}
