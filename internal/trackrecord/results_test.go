package main

import (
	"strings"
	"testing"
)

// output is that of go test -json, with one line for each result.
func output(t *testing.T, lines ...string) results {
	t.Helper()
	got, err := readResults(strings.NewReader(strings.Join(lines, "\n")))
	if err != nil {
		t.Fatal(err)
	}
	return got
}

const inPackage = `"Package":"github.com/keytail/keytail/internal/a"`

func printed(test, text string) string {
	return `{"Action":"output",` + inPackage + `,"Test":"` + test + `","Output":"` + text + `\n"}`
}

func ended(test, action string) string {
	return `{"Action":"` + action + `",` + inPackage + `,"Test":"` + test + `"}`
}

// TestAnUndoMustFailAsItSays: an undo whose test passes, does not run or fails for another reason shows
// nothing.
func TestAnUndoMustFailAsItSays(t *testing.T) {
	t.Parallel()
	u := undo{name: "x", pkg: "./internal/a", test: "TestX", shows: "got VALID"}
	for _, test := range []struct {
		name    string
		results results
		want    string
	}{
		{"shows it", output(t, printed("TestX", "    x_test.go:1: got VALID"), ended("TestX", "fail")), ""},
		{"passes", output(t, printed("TestX", "got VALID"), ended("TestX", "pass")), "passes without the repair"},
		{"another reason", output(t, printed("TestX", "timeout"), ended("TestX", "fail")), `does not print "got VALID"`},
		{"printed by one that passes", output(t, printed("TestX/a", "got VALID"), ended("TestX/a", "pass"), ended("TestX/b", "fail"), ended("TestX", "fail")), `does not print "got VALID"`},
		{"does not run", output(t, ended("TestY", "fail")), "did not run"},
		{"does not compile", output(t, "./a.go:1: undefined: b", `{"Action":"fail",`+inPackage+`}`), "undefined: b"},
	} {
		got, err := u.evaluate(test.results)
		if test.want == "" {
			if err != nil || got != "x_test.go:1: got VALID" {
				t.Errorf("%s: %q, %v", test.name, got, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

// TestAStageMustShowItsAnomaly: it has to run, pass, and print what was wrong.
func TestAStageMustShowItsAnomaly(t *testing.T) {
	t.Parallel()
	c := command{pattern: "TestStagedAnomalies/hole", dir: "./internal/a", unguarded: true, isOfTheStages: true}
	const name = "TestStagedAnomalies/hole_at_open/database/without_OpenFloor"
	const line = "    staged_unguarded_test.go:27: wrong, as expected:  got VALID"
	for _, test := range []struct {
		name    string
		results results
		want    string
	}{
		{"shows it", output(t, printed(name, line), ended(name, "pass")), ""},
		{"fails", output(t, printed(name, line), ended(name, "fail")), "has not passed"},
		{"is skipped", output(t, ended(name, "skip")), "no test has shown it"},
		{"prints nothing", output(t, ended(name, "pass")), "no test has shown it"},
		{"does not run", output(t, ended("TestStagedAnomalies", "pass")), "no test has shown it"},
	} {
		got, err := c.evaluate("T1", test.results)
		if test.want == "" {
			if err != nil || strings.TrimSpace(got) != "got VALID" {
				t.Errorf("%s: %q, %v", test.name, got, err)
			}
		} else if err == nil || !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s: %v, want %q", test.name, err, test.want)
		}
	}
}

func TestARunMustPass(t *testing.T) {
	t.Parallel()
	if err := output(t, ended("TestX", "pass"), ended("TestY", "skip")).mustPass([]string{"./internal/a"}); err != nil {
		t.Error(err)
	}
	for _, bad := range []results{output(t), output(t, ended("TestX", "fail")), output(t, printed("TestX", "panic"))} {
		if err := bad.mustPass([]string{"./internal/a"}); err == nil {
			t.Errorf("%+v is taken for a success", bad)
		}
	}
}

func TestMatches(t *testing.T) {
	t.Parallel()
	for pattern, name := range map[string]string{"TestA": "TestA/b", "TestA/b": "TestA/bc/d", "TestA/x/1.1$": "TestA/x/1.1"} {
		if !matches(pattern, name) {
			t.Errorf("%s does not select %s", pattern, name)
		}
	}
	for pattern, name := range map[string]string{"TestA/b": "TestA", "TestA/c": "TestA/b", "TestB": "TestA/TestB"} {
		if matches(pattern, name) {
			t.Errorf("%s selects %s", pattern, name)
		}
	}
}

// TestEditsAreExact: a text that is missing, or there twice, is an error and no other change.
func TestEditsAreExact(t *testing.T) {
	t.Parallel()
	e := edit{"a.go", "old", "new"}
	if got, err := e.apply("an old text"); err != nil || got != "an new text" {
		t.Errorf("%q, %v", got, err)
	}
	for _, text := range []string{"", "old and old"} {
		if _, err := e.apply(text); err == nil {
			t.Errorf("%q is changed", text)
		}
	}
}
