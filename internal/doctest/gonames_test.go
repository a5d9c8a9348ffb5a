package doctest

import (
	"path"
	"regexp"
	"strings"
	"testing"
)

var (
	// goName is a name of a package of this repository, as in auth.Scopes.
	goName = regexp.MustCompile(`\b([a-z]+)\.([A-Z]\w*)`)
	// declaration is the name that a line of a Go file declares: at the beginning of
	// the line, or in a group, where a field of a struct looks the same.
	declaration = regexp.MustCompile(`(?m)^(?:(?:func|type|var|const) (?:\([^)]*\) )?|\t)([A-Z]\w*)`)
	// history has the names of the past.
	history = "CHANGELOG.md"
)

// TestGoNamesExist: each exported name with its package, as in auth.Scopes, in the
// code spans of a document is declared there.
func TestGoNamesExist(t *testing.T) {
	all := mustLoadTree(t)
	declared := declaredNames(all)
	checked := 0
	for _, name := range all.files(".md") {
		if name == history {
			continue
		}
		for i, line := range strings.Split(all.text[name], "\n") {
			for _, span := range codeSpan.FindAllStringSubmatch(line, -1) {
				for _, m := range goName.FindAllStringSubmatch(span[1], -1) {
					if names := declared[m[1]]; names != nil {
						checked++
						if !names[m[2]] {
							t.Errorf("%s:%d: there is no Go name %q", name, i+1, m[0])
						}
					}
				}
			}
		}
	}
	if checked < 20 {
		t.Errorf("only %d names were found", checked)
	}
}

// declaredNames maps the last part of a package's path to the names that the package
// declares. Packages with the same last part are one.
func declaredNames(all *tree) map[string]map[string]bool {
	declared := map[string]map[string]bool{}
	for _, file := range all.files(".go") {
		if strings.HasSuffix(file, "_test.go") || strings.Contains(file, "testdata/") {
			continue
		}
		name := path.Base(path.Dir(file))
		if name == "." {
			name = "keytail"
		}
		if declared[name] == nil {
			declared[name] = map[string]bool{}
		}
		for _, m := range declaration.FindAllStringSubmatch(all.text[file], -1) {
			declared[name][m[1]] = true
		}
	}
	return declared
}
