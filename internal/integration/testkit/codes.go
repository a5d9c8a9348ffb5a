package testkit

import (
	"os"
	"regexp"
	"strconv"
	"testing"
)

// Code is an error code of the server, with its class in the table of
// internal/changestream/DESIGN.md: transient, operator, request or loss.
type Code struct {
	Code  int
	Class string
}

var codeRow = regexp.MustCompile(`(?m)^\| (\d+) \| \w+ \| (transient|operator|request|loss)\b`)

// Codes returns the codes of that table.
func Codes(t *testing.T) []Code {
	t.Helper()
	text, err := os.ReadFile(ModulePath(t, "internal/changestream/DESIGN.md"))
	if err != nil {
		t.Fatal(err)
	}
	var all []Code
	for _, row := range codeRow.FindAllSubmatch(text, -1) {
		code, err := strconv.Atoi(string(row[1]))
		if err != nil {
			t.Fatal(err)
		}
		all = append(all, Code{code, string(row[2])})
	}
	if len(all) < 100 {
		t.Fatalf("the table of error codes: got only %d readable rows", len(all))
	}
	return all
}
