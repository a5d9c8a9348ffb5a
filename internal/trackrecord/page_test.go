package main

import (
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

const root = "../.."

func readPage(t *testing.T) (string, []entry) {
	t.Helper()
	text, err := os.ReadFile(filepath.Join(root, pagePath))
	if err != nil {
		t.Fatal(err)
	}
	entries, err := parsePage(string(text))
	if err != nil {
		t.Fatal(err)
	}
	return string(text), entries
}

var tableRow = regexp.MustCompile(`(?m)^\| \[(T\d+)\]\(#(t\d+)\) \| (.+) \| [^|]+ \| ([^|]+) \| (guard|undo|test|no) \|$`)

// TestThePageIsWhole: the entries are numbered in their order, and the table has each of them, with
// its title and the kind of its command.
func TestThePageIsWhole(t *testing.T) {
	t.Parallel()
	text, entries := readPage(t)
	rows := tableRow.FindAllStringSubmatch(text, -1)
	if len(entries) < 80 || len(rows) != len(entries) {
		t.Fatalf("%d entries and %d rows", len(entries), len(rows))
	}
	for i, e := range entries {
		id := fmt.Sprint("T", i+1)
		title := "### " + id + "\n\n**" + rows[i][3] + "**\n"
		if e.id != id || rows[i][1] != id || rows[i][2] != strings.ToLower(id) || !strings.Contains(text, title) {
			t.Errorf("%s: the row is %q", e.id, rows[i][0])
		}
		if kind := kindOf(t, e); rows[i][5] != kind {
			t.Errorf("%s: the row says %q, its command is %q", e.id, rows[i][5], kind)
		}
	}
}

var (
	totalRow  = regexp.MustCompile(`(?m)^\| \[([^\]]+)\]\(#[^)]+\) \| (\d+) \| (\d+) \| (\d+) \|$`)
	totalLine = regexp.MustCompile(`(?m)^- \*\*(\d+) entries\.\*\* (\d+) of them `)
)

// TestTheNumbersOfThePageAreCounted: for each effect, the entries, those that were known before the first
// commit, and those with a command; and the first two for the whole page.
func TestTheNumbersOfThePageAreCounted(t *testing.T) {
	t.Parallel()
	text, entries := readPage(t)
	want, known := map[string][3]int{}, 0
	rows := tableRow.FindAllStringSubmatch(text, -1)
	if len(rows) != len(entries) {
		t.Fatalf("%d entries and %d rows", len(entries), len(rows))
	}
	for i, e := range entries {
		n := want[e.group]
		n[0]++
		if rows[i][4] == "design" {
			n[1]++
			known++
		}
		if e.fields[fieldNone] == "" {
			n[2]++
		}
		want[e.group] = n
	}
	got := map[string][3]int{}
	for _, m := range totalRow.FindAllStringSubmatch(text, -1) {
		got[m[1]] = [3]int{number(t, m[2]), number(t, m[3]), number(t, m[4])}
	}
	if !maps.Equal(got, want) {
		t.Errorf("the page has the numbers\n%v, and its entries are\n%v", got, want)
	}
	m := totalLine.FindStringSubmatch(text)
	if m == nil || number(t, m[1]) != len(entries) || number(t, m[2]) != known {
		t.Errorf("the page says %q, want %d entries, of them %d from before the first commit", m, len(entries), known)
	}
}

func number(t *testing.T, text string) int {
	t.Helper()
	n, err := strconv.Atoi(text)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func kindOf(t *testing.T, e entry) string {
	t.Helper()
	if e.fields[fieldNone] != "" {
		return "no"
	}
	switch c, err := e.command(); {
	case err != nil:
		t.Fatal(err)
		return ""
	case c.undo != "":
		return "undo"
	case c.unguarded:
		return "guard"
	default:
		return "test"
	}
}

// TestEachUndoHasAnEntry, exactly one, and each entry's undo exists.
func TestEachUndoHasAnEntry(t *testing.T) {
	t.Parallel()
	_, entries := readPage(t)
	if _, err := batches(entries); err != nil {
		t.Error(err)
	}
	users := map[string]int{}
	for _, e := range entries {
		if e.fields[fieldCommand] == "" {
			continue
		}
		c, err := e.command()
		if err != nil {
			t.Fatal(err)
		}
		users[c.undo]++
	}
	for _, u := range undos() {
		if users[u.name] != 1 {
			t.Errorf("the undo %s has %d entries, want one", u.name, users[u.name])
		}
	}
}

// TestUndosFit: the text that an undo replaces is in the file, once. If this fails, the repaired lines have
// changed: bring the undo up to date, and run it.
func TestUndosFit(t *testing.T) {
	t.Parallel()
	for _, u := range undos() {
		if len(u.shows) < 5 || u.test == "" {
			t.Errorf("%s has no test, or nothing that it prints", u.name)
		}
		if _, err := overlay(root, t.TempDir(), []undo{u}); err != nil {
			t.Error(err)
		}
	}
}

func TestMistakesOfAPageAreNamed(t *testing.T) {
	t.Parallel()
	fields := "- **Found:** a\n- **Where:** a\n- **How it shows:** a\n- **Repair:** a\n"
	for text, want := range map[string]string{
		"### T1\n\n- **Found:** a\n":                            `no field "Where"`,
		"### T1\n\n" + fields:                                   `needs either "Command"`,
		"### T1\n\n" + fields + "- **Command:** `make it fail`": "has none of the forms",
		"### T1\n\n" + fields + "- **Command:** go test":        "must be in backquotes",
		"### T1\n\n" + fields + "- **Found:** b\n":              `"Found" occurs twice`,
		"### T1\n\n" + fields + "- **Command:** `go test -v -run 'TestX' ./a`\n- **Not reproducible here:** because": "needs either",
	} {
		if _, err := parsePage(text); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	entries, err := parsePage("## Wrong\n\n### T1\n\n" + fields + "- **Command:** `go test -tags unguarded -v -run 'TestStagedAnomalies/a' ./internal/integration`\n")
	if err != nil || len(entries) != 1 || entries[0].group != "Wrong" {
		t.Fatalf("%+v, %v", entries, err)
	}
	if c, err := entries[0].command(); err != nil || !c.unguarded || !c.isOfTheStages || c.dir != "./internal/integration" {
		t.Errorf("%+v, %v", c, err)
	}
}
