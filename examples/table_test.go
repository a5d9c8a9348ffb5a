//go:build linux

package examples_test

import (
	"cmp"
	"flag"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
)

// update writes the columns of the proxies that ran and keeps the others. Use it with
// complete runs: go test ./examples -run Proxies -update
var update = flag.Bool("update", false, "write the columns of TABLE.md for the proxies that are installed")

// The table is between these lines of tableFile.
const (
	tableFile  = "TABLE.md"
	tableBegin = "<!-- table:begin -->\n"
	tableEnd   = "<!-- table:end -->"
)

// table has the responses that clients got, by case and by proxy.
type table struct {
	mu    sync.Mutex
	cases []string // in the order of the first run
	cells map[string]map[string]string
}

func (tb *table) set(name, proxy, cell string) {
	tb.mu.Lock()
	defer tb.mu.Unlock()
	if tb.cells == nil {
		tb.cells = map[string]map[string]string{}
	}
	if tb.cells[name] == nil {
		tb.cells[name] = map[string]string{}
		tb.cases = append(tb.cases, name)
	}
	tb.cells[name][proxy] = cell
}

// cell describes the response that a client got, and whether the API got the request.
func cell(w want, r *reply, reached bool) string {
	if w.anyRefusal && !reached {
		return "refused"
	}
	parts := []string{cmp.Or(strings.TrimPrefix(fmt.Sprint(r.status), "0"), "no response")}
	if code := r.header.Get("X-Auth-Result"); code != "" {
		parts[0] += " " + code
	}
	if values := r.header.Values("WWW-Authenticate"); len(values) > 0 {
		challenge := "Bearer"
		if _, rest, found := strings.Cut(strings.Join(values, ""), `error="`); found {
			challenge, _, _ = strings.Cut(rest, `"`)
		}
		parts = append(parts, challenge)
	}
	switch {
	case r.code() != "":
		parts = append(parts, "problem")
	case reached:
		parts = append(parts, "API")
	}
	return strings.Join(parts, ", ")
}

// String returns the table in Markdown.
func (tb *table) String() string {
	proxies := tb.proxies()
	var b strings.Builder
	fmt.Fprintf(&b, "| case | %s |\n|%s\n", strings.Join(proxies, " | "), strings.Repeat("---|", len(proxies)+1))
	for _, name := range tb.cases {
		fmt.Fprintf(&b, "| %s |", strings.ReplaceAll(name, "*", `\*`))
		for _, proxy := range proxies {
			fmt.Fprintf(&b, " %s |", tb.cells[name][proxy])
		}
		b.WriteString("\n")
	}
	return b.String()
}

// proxies returns the names of the proxies with a cell, in the order of all.
func (tb *table) proxies() []string {
	var names []string
	for _, p := range proxies() {
		if slices.ContainsFunc(tb.cases, func(name string) bool { return tb.cells[name][p.name] != "" }) {
			names = append(names, p.name)
		}
	}
	return names
}

// readTable parses the output of String.
func readTable(text string) *table {
	tb := &table{}
	var names []string
	for i, line := range strings.Split(strings.TrimSpace(text), "\n") {
		cells := strings.Split(strings.Trim(line, "| "), "|")
		for j := range cells {
			cells[j] = strings.TrimSpace(cells[j])
		}
		switch i {
		case 0:
			names = cells[1:]
		case 1: // the line below the head
		default:
			for j, text := range cells[1:] {
				tb.set(strings.ReplaceAll(cells[0], `\*`, "*"), names[j], text)
			}
		}
	}
	return tb
}

// compareTable compares the table with TABLE.md, or writes it with -update.
func compareTable(t *testing.T, seen *table) {
	t.Helper()
	content, err := os.ReadFile(tableFile)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(content), tableBegin)
	text, tail, closed := strings.Cut(rest, tableEnd)
	if !found || !closed {
		t.Fatalf("%s does not have the lines %q and %q", tableFile, tableBegin, tableEnd)
	}
	have := readTable(text)
	if *update {
		ran := seen.proxies()
		for _, name := range have.cases {
			for proxy, cell := range have.cells[name] {
				if seen.cells[name] != nil && !slices.Contains(ran, proxy) {
					seen.set(name, proxy, cell)
				}
			}
		}
		if err := os.WriteFile(tableFile, []byte(head+tableBegin+seen.String()+tableEnd+tail), 0o644); err != nil {
			t.Fatal(err)
		}
		return
	}
	for _, name := range seen.cases {
		for proxy, cell := range seen.cells[name] {
			if was := have.cells[name][proxy]; was != cell {
				t.Errorf("%s, %s: got %s, but %s has %q; to update it run\n\n\tgo test ./examples -run Proxies -update", proxy, name, cell, tableFile, was)
			}
		}
	}
}
