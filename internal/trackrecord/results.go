package main

import (
	"bufio"
	"encoding/json"
	"io"
	"maps"
	"regexp"
	"strings"
)

// module is the module's path, before the directory in the name of a package.
const module = "github.com/keytail/keytail"

// result is what became of one test or subtest.
type result struct {
	pkg, name string
	// action is "pass", "fail" or "skip". Empty: it has not ended.
	action string
	output strings.Builder
}

// results are those of one or more runs of go test.
type results struct {
	tests []*result
	// outputs are those that belong to no test, of each package: errors of the compiler, panics.
	outputs map[string]*strings.Builder
}

// event is a line of go test -json.
type event struct{ Action, Package, ImportPath, Test, Output string }

// readResults reads the output of go test -json.
func readResults(r io.Reader) (results, error) {
	all := results{outputs: map[string]*strings.Builder{}}
	byName := map[string]*result{}
	lines := bufio.NewScanner(r)
	lines.Buffer(nil, 1<<24)
	for lines.Scan() {
		var e event
		if json.Unmarshal(lines.Bytes(), &e) != nil {
			e = event{Output: lines.Text() + "\n"} // go itself says something
		}
		pkg, _, _ := strings.Cut("."+strings.TrimPrefix(e.Package+e.ImportPath, module), " ")
		if e.Test == "" {
			if all.outputs[pkg] == nil {
				all.outputs[pkg] = &strings.Builder{}
			}
			all.outputs[pkg].WriteString(e.Output)
			continue
		}
		t := byName[pkg+" "+e.Test]
		if t == nil {
			t = &result{pkg: pkg, name: e.Test}
			byName[pkg+" "+e.Test] = t
			all.tests = append(all.tests, t)
		}
		switch e.Action {
		case "output":
			t.output.WriteString(e.Output)
		case "pass", "fail", "skip":
			t.action = e.Action
		}
	}
	return all, lines.Err()
}

// and are the results of both.
func (all results) and(more results) results {
	outputs := map[string]*strings.Builder{}
	maps.Copy(outputs, all.outputs)
	maps.Copy(outputs, more.outputs)
	return results{tests: append(all.tests, more.tests...), outputs: outputs}
}

// matching are the tests of a package that a pattern of go test -run selects, with their subtests.
func (all results) matching(pkg, pattern string) []*result {
	var found []*result
	for _, t := range all.tests {
		if t.pkg == pkg && matches(pattern, t.name) {
			found = append(found, t)
		}
	}
	return found
}

// matches reports whether a pattern selects a test. Each part between slashes is for a level of
// subtests. A test that only contains the selected ones does not count.
func matches(pattern, name string) bool {
	parts, levels := strings.Split(pattern, "/"), strings.Split(name, "/")
	if len(levels) < len(parts) {
		return false
	}
	for i, part := range parts {
		if !regexp.MustCompile(part).MatchString(levels[i]) {
			return false
		}
	}
	return true
}

// outputOf is all that the tests of a package have printed.
func (all results) outputOf(pkg string) string {
	var b strings.Builder
	for _, name := range []string{".", pkg} {
		if o := all.outputs[name]; o != nil {
			b.WriteString(o.String())
		}
	}
	for _, t := range all.tests {
		if t.pkg == pkg && t.action != "pass" {
			b.WriteString(t.output.String())
		}
	}
	return b.String()
}

// longestLine is what is printed of a line.
const longestLine = 220

// lineWith returns the first printed line that contains a text.
func (r *result) lineWith(text string) (string, bool) {
	for line := range strings.Lines(r.output.String()) {
		if strings.Contains(line, text) {
			line = strings.TrimSpace(line)
			return line[:min(len(line), longestLine)], true
		}
	}
	return "", false
}
