package doctest

import (
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

var (
	testRun    = regexp.MustCompile("go test ([^`\n]*)")
	ownFlag    = regexp.MustCompile(`^-([a-z][a-z.]*)`)
	definition = regexp.MustCompile(`flag\.\w+\((?:&\w+, )?"([a-z.]+)"`)
)

// goTestFlags are the flags of go test that documents use.
var goTestFlags = []string{"args", "bench", "count", "fuzz", "fuzztime", "p", "parallel", "race", "run", "short", "shuffle", "tags", "timeout", "v"}

// TestFlagsOfTestsExist: every package that a command names has the command's flags. go test gives
// each flag to all of them, and one that does not know it fails.
func TestFlagsOfTestsExist(t *testing.T) {
	all, r, checked := mustLoadTree(t), &report{t}, 0
	known := flagsOfTests(all)
	for _, name := range all.files(".md") {
		for i, line := range strings.Split(all.text[name], "\n") {
			for _, command := range testRun.FindAllStringSubmatch(line, -1) {
				packages, flags := testArguments(command[1])
				for _, pkg := range packages {
					for _, flag := range flags {
						if checked++; !slices.Contains(known[pkg], flag) {
							r.fail(name, i+1, "flag of the tests in "+pkg, "-"+flag)
						}
					}
				}
			}
		}
	}
	if checked < 10 {
		t.Errorf("only %d flags were checked", checked)
	}
}

// flagsOfTests maps a directory to the flags that its tests define.
func flagsOfTests(all *tree) map[string][]string {
	known := map[string][]string{}
	for name, text := range all.text {
		if strings.HasSuffix(name, "_test.go") {
			for _, m := range definition.FindAllStringSubmatch(text, -1) {
				known[path.Dir(name)] = append(known[path.Dir(name)], m[1])
			}
		}
	}
	return known
}

// testArguments are the packages of a command, and its flags that are not those of go test.
func testArguments(arguments string) (packages, flags []string) {
	arguments, _, _ = strings.Cut(arguments, " # ")
	for _, word := range strings.Fields(arguments) {
		if m := testPackage.FindStringSubmatch(" " + word); m != nil {
			packages = append(packages, m[1])
		} else if m := ownFlag.FindStringSubmatch(word); m != nil && !slices.Contains(goTestFlags, m[1]) {
			flags = append(flags, m[1])
		}
	}
	return packages, flags
}
