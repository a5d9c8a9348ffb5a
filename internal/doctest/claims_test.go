package doctest

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
)

const guaranteesPage = "docs/guarantees.md"

// claim is a section "### G1" of docs/guarantees.md, with its fields.
type claim struct {
	id     string
	title  string
	fields map[string]string
}

var claimFields = []string{"Bound", "Assumes", "Does not claim", "Tests", "Model", "Watch"}

var (
	claimHeading = regexp.MustCompile(`^### (G\d+)$`)
	claimTitle   = regexp.MustCompile(`^\*\*([^*]+)\.\*\* `)
	claimField   = regexp.MustCompile(`^- \*\*([^*]+):\*\* (.+)$`)
	claimRow     = regexp.MustCompile(`^\| \[(G\d+)\]\(#(g\d+)\) \| \*\*([^*]+)\.\*\* .*\| ([^|]+) \|$`)
	metricName   = regexp.MustCompile("`(keytail_[a-z_]+)`")
	alertName    = regexp.MustCompile("`(Keytail[A-Za-z]+)`")
)

func claimsOf(p *page) []claim {
	var claims []claim
	for _, l := range p.lines {
		if m := claimHeading.FindStringSubmatch(l.text); m != nil {
			claims = append(claims, claim{id: m[1], fields: map[string]string{}})
			continue
		}
		if len(claims) == 0 {
			continue
		}
		c := &claims[len(claims)-1]
		if m := claimTitle.FindStringSubmatch(l.text); m != nil && c.title == "" {
			c.title = m[1]
		}
		if m := claimField.FindStringSubmatch(l.text); m != nil {
			c.fields[m[1]] = m[2]
		}
	}
	return claims
}

// TestClaimsAreWhole: each claim has a row in the table at the top, and each field. Its metrics and
// alerts exist. TestReferences checks the names of tests.
func TestClaimsAreWhole(t *testing.T) {
	all := mustLoadTree(t)
	p := parsePage(guaranteesPage, all.text[guaranteesPage])
	claims := claimsOf(p)
	if len(claims) < 17 {
		t.Fatalf("only %d claims were found: is the page read as it should be?", len(claims))
	}
	rows := map[string][]string{}
	for _, l := range p.lines {
		if m := claimRow.FindStringSubmatch(l.text); m != nil {
			rows[m[1]] = m
		}
	}
	for i, c := range claims {
		if want := fmt.Sprint("G", i+1); c.id != want {
			t.Errorf("%s comes where %s has to be: numbers are for ever", c.id, want)
		}
		if row := rows[c.id]; row == nil || row[2] != strings.ToLower(c.id) || row[3] != c.title || strings.TrimSpace(row[4]) == "" {
			t.Errorf("%s: the table has %q, want a link to #%s, the title %q and a bound", c.id, row, strings.ToLower(c.id), c.title)
		}
		for _, field := range claimFields {
			if c.fields[field] == "" {
				t.Errorf("%s has no field %q", c.id, field)
			}
		}
		if len(c.fields) != len(claimFields) {
			t.Errorf("%s has the fields %q, want %q", c.id, fieldsIn(c.fields), claimFields)
		}
		if !strings.Contains(c.fields["Tests"], "`Test") {
			t.Errorf("%s: no test stands for it", c.id)
		}
		checkWatch(t, all, c)
	}
	if len(rows) != len(claims) {
		t.Errorf("the table has %d rows, want %d", len(rows), len(claims))
	}
}

// checkWatch: a claim is watched by metrics that a daemon has, or the page says that nothing can.
func checkWatch(t *testing.T, all *tree, c claim) {
	t.Helper()
	watch := c.fields["Watch"]
	metrics := metricName.FindAllStringSubmatch(watch, -1)
	if len(metrics) == 0 && !strings.HasPrefix(watch, "none: ") {
		t.Errorf("%s: no metric watches it; write \"none: \" and why", c.id)
	}
	for _, m := range metrics {
		if !strings.Contains(all.text["docs/metrics.md"], "| `"+m[1]+"` |") {
			t.Errorf("%s: there is no metric %q", c.id, m[1])
		}
	}
	for _, m := range alertName.FindAllStringSubmatch(watch, -1) {
		if !strings.Contains(all.text["deploy/prometheus/alerts.yaml"], "alert: "+m[1]+"\n") {
			t.Errorf("%s: there is no alert %q", c.id, m[1])
		}
	}
}

func fieldsIn(fields map[string]string) []string {
	var names []string
	for name := range fields {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// TestStatesAreThoseOfTheModel: the numbers of states that the claims name are in the table of
// internal/keycache/MODEL.md.
func TestStatesAreThoseOfTheModel(t *testing.T) {
	all := mustLoadTree(t)
	number := regexp.MustCompile(`\b\d{1,3}(?:,\d{3})+\b`)
	found := 0
	for _, c := range claimsOf(parsePage(guaranteesPage, all.text[guaranteesPage])) {
		for _, n := range number.FindAllString(c.fields["Model"], -1) {
			found++
			if !strings.Contains(all.text["internal/keycache/MODEL.md"], "| "+n+" |") {
				t.Errorf("%s: internal/keycache/MODEL.md has no search with %s states", c.id, n)
			}
		}
	}
	if found < 5 {
		t.Errorf("only %d numbers of states were found", found)
	}
}
