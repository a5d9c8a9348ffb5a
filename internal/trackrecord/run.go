package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// batch is one run of go test.
type batch struct {
	pkgs      []string
	unguarded bool
	patterns  []string
	undos     []undo
}

// testTimeout is for one batch. A test without its repair may hang: then go test prints where.
const testTimeout = 10 * time.Minute

// everyGuard are the tests that switch each guard off, in the gate. Those of the page are among
// them, and nothing runs twice.
var everyGuard = []batch{
	{pkgs: []string{"./internal/integration"}, unguarded: true, patterns: []string{"Staged"}},
	{pkgs: []string{"./internal/changestream"}, unguarded: true, patterns: []string{"WithoutTheGuard", "NeedEachGuard", "Games"}},
	{pkgs: []string{"./internal/keycache"}, unguarded: true, patterns: []string{"TwoDocumentsNeedEachGuard", "TheFrontNeedsEachGuard", "NeedsItsGuard"}},
	{pkgs: []string{"./internal/fleet"}, unguarded: true, patterns: []string{"WithoutTheGuard"}},
}

// goTest runs a batch. The error is that of running it at all; a failed test is in the results.
func goTest(ctx context.Context, b batch) (results, error) {
	root, err := filepath.Abs(".")
	if err != nil {
		return results{}, err
	}
	args := []string{"test", "-json", "-count=1", "-timeout", testTimeout.String(), "-run", strings.Join(b.patterns, "|")}
	if b.unguarded {
		args = append(args, "-tags", "unguarded")
	}
	if len(b.undos) > 0 {
		directory, err := os.MkdirTemp("", "trackrecord-")
		if err != nil {
			return results{}, err
		}
		defer func() { _ = os.RemoveAll(directory) }()
		file, err := overlay(root, directory, b.undos)
		if err != nil {
			return results{}, err
		}
		args = append(args, "-vet=off", "-overlay", file)
	}
	cmd := exec.CommandContext(ctx, "go", append(args, b.pkgs...)...)
	output, err := cmd.CombinedOutput()
	if ctx.Err() != nil {
		return results{}, ctx.Err() // what has ended until then says nothing
	}
	if exit := (*exec.ExitError)(nil); err != nil && !errors.As(err, &exit) {
		return results{}, fmt.Errorf("go test: %w", err)
	}
	return readResults(bytes.NewReader(output))
}

// batches puts the commands of the page together: one run for each package with guards switched
// off, one for all tests without, and one with all repairs taken back at the same time. (The page's
// own commands take them back one by one.)
func batches(entries []entry) ([]batch, error) {
	all := slices.Clone(everyGuard)
	var plain, undone batch
	for _, e := range entries {
		if e.fields[fieldCommand] == "" {
			continue
		}
		c, err := e.command()
		if err != nil {
			return nil, err
		}
		switch i := slices.IndexFunc(undos(), func(u undo) bool { return u.name == c.undo }); {
		case c.undo != "" && i < 0:
			return nil, fmt.Errorf("%s: there is no undo %q", e.id, c.undo)
		case c.undo != "":
			u := undos()[i]
			undone.add(u.pkg, u.test)
			undone.undos = append(undone.undos, u)
		case !c.unguarded:
			plain.add(c.dir, c.pattern)
		case !isAmong(everyGuard, c.dir):
			return nil, fmt.Errorf("%s: no run of the gate switches off guards in %s: add it to everyGuard", e.id, c.dir)
		}
	}
	return append(all, plain, undone), nil
}

// add adds tests of a package.
func (b *batch) add(pkg, pattern string) {
	if !slices.Contains(b.pkgs, pkg) {
		b.pkgs = append(b.pkgs, pkg)
	}
	b.patterns = append(b.patterns, pattern)
}

func isAmong(batches []batch, pkg string) bool {
	return slices.ContainsFunc(batches, func(b batch) bool { return slices.Contains(b.pkgs, pkg) })
}

// showAll runs every command of the page, and every test that switches a guard off.
func showAll(ctx context.Context, out io.Writer) error {
	text, err := os.ReadFile(pagePath)
	if err != nil {
		return fmt.Errorf("run it in the root of the repository: %w", err)
	}
	entries, err := parsePage(string(text))
	if err != nil {
		return err
	}
	all, err := batches(entries)
	if err != nil {
		return err
	}
	var problems []error
	done := map[bool]results{}
	for _, b := range all {
		began := time.Now()
		got, err := goTest(ctx, b)
		if err != nil {
			return err
		}
		_, _ = fmt.Fprintf(out, "%s: %d tests, %d repairs taken back, guards switched off: %v (%.0f s)\n",
			strings.Join(b.pkgs, " "), len(got.tests), len(b.undos), b.unguarded, time.Since(began).Seconds())
		isUndo := len(b.undos) > 0
		if !isUndo {
			problems = append(problems, got.mustPass(b.pkgs))
		}
		done[isUndo] = done[isUndo].and(got)
	}
	for _, e := range entries {
		shown, err := e.shown(done)
		if err != nil {
			problems = append(problems, err)
			continue
		}
		_, _ = fmt.Fprintf(out, "%-5s %s\n", e.id, shown)
	}
	return errors.Join(problems...)
}

// mustPass is an error unless all tests of a run have passed, and there was one in each package.
func (all results) mustPass(pkgs []string) error {
	var problems []error
	for _, pkg := range pkgs {
		ran, bad := false, false
		for _, t := range all.tests {
			ran = ran || t.pkg == pkg
			bad = bad || t.pkg == pkg && t.action != "pass" && t.action != "skip"
		}
		if !ran || bad {
			problems = append(problems, fmt.Errorf("%s: not every test has passed:\n%s", pkg, all.outputOf(pkg)))
		}
	}
	return errors.Join(problems...)
}

// shown is the line that shows the entry's defect.
func (e entry) shown(done map[bool]results) (string, error) {
	if reason := e.fields[fieldNone]; reason != "" {
		return "NOT SHOWN: " + reason, nil
	}
	c, err := e.command()
	if err != nil {
		return "", err
	}
	if c.undo != "" {
		i := slices.IndexFunc(undos(), func(u undo) bool { return u.name == c.undo })
		return undos()[i].evaluate(done[true])
	}
	return c.evaluate(e.id, done[false])
}

// expected is what a staged anomaly prints when it shows (staged_unguarded_test.go).
const expected = "wrong, as expected: "

// evaluate returns the line that shows the anomaly, or the name of the test that does.
func (c command) evaluate(id string, all results) (string, error) {
	line := ""
	for _, t := range all.matching(c.dir, c.pattern) {
		switch t.action {
		case "pass":
		case "skip":
			continue // on a server that is not here; another one must have shown it
		default:
			return "", fmt.Errorf("%s: %s has not passed", id, t.name)
		}
		switch shown, ok := t.lineWith(expected); {
		case line != "":
		case ok:
			_, line, _ = strings.Cut(shown, expected)
		case !c.isOfTheStages:
			line = t.name + " passes"
		}
	}
	if line == "" {
		return "", fmt.Errorf("%s: no test has shown it: %s in %s", id, c.pattern, c.dir)
	}
	return line, nil
}
