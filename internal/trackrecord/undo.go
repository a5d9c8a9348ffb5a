package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
)

// undo takes one repair back.
type undo struct {
	// name is for the command line and the page.
	name string
	// edits replace the repair by what was there before. Some make a test wait for less time for
	// what will not come.
	edits []edit
	// test is a pattern for go test -run in the package pkg, such as ./internal/keycache. It must
	// fail, and shows must be a part of what it prints.
	pkg, test, shows string
}

// edit replaces old, which occurs exactly once in the file, by new.
type edit struct{ file, old, new string }

// undos are all that there are.
func undos() []undo { return slices.Concat(coreUndos, databaseUndos, surfaceUndos) }

// apply replaces old by new in the text of the file.
func (e edit) apply(text string) (string, error) {
	if n := strings.Count(text, e.old); n != 1 {
		return "", fmt.Errorf("%s has %d times the text of an undo, want once: %q", e.file, n, e.old)
	}
	return strings.Replace(text, e.old, e.new, 1), nil
}

// overlay writes the changed files, and the file for go test -overlay, to a directory. root is the
// repository's.
func overlay(root, directory string, undone []undo) (string, error) {
	texts, done := map[string]string{}, map[edit]bool{}
	for _, u := range undone {
		for _, e := range u.edits {
			if done[e] {
				continue // two undos have it in common
			}
			done[e] = true
			text, ok := texts[e.file]
			if !ok {
				content, err := os.ReadFile(filepath.Join(root, e.file))
				if err != nil {
					return "", err
				}
				text = string(content)
			}
			var err error
			if texts[e.file], err = e.apply(text); err != nil {
				return "", fmt.Errorf("undo %s: %w", u.name, err)
			}
		}
	}
	replaced := map[string]string{}
	for file, text := range texts {
		copied := filepath.Join(directory, strings.ReplaceAll(file, "/", "_"))
		if err := os.WriteFile(copied, []byte(text), 0o600); err != nil {
			return "", err
		}
		replaced[filepath.Join(root, file)] = copied
	}
	content, err := json.Marshal(map[string]any{"Replace": replaced})
	if err != nil {
		return "", err
	}
	name := filepath.Join(directory, "overlay.json")
	return name, os.WriteFile(name, content, 0o600)
}

// evaluate returns the line that shows the defect. It is an error if the test passes, does not run,
// or fails for another reason. What a subtest that passes prints shows nothing.
func (u undo) evaluate(results results) (string, error) {
	matched := results.matching(u.pkg, u.test)
	failed := slices.ContainsFunc(matched, func(r *result) bool { return r.action == "fail" })
	switch {
	case len(matched) == 0:
		return "", fmt.Errorf("undo %s: %s did not run in %s:\n%s", u.name, u.test, u.pkg, results.outputOf(u.pkg))
	case !failed:
		return "", fmt.Errorf("undo %s: %s passes without the repair, so it proves nothing", u.name, u.test)
	}
	for _, r := range matched {
		if line, ok := r.lineWith(u.shows); ok && r.action != "pass" {
			return line, nil
		}
	}
	return "", fmt.Errorf("undo %s: %s fails, and does not print %q:\n%s", u.name, u.test, u.shows, results.outputOf(u.pkg))
}

// marked puts a sign in front of each line.
func marked(sign, text string) string {
	var b strings.Builder
	for line := range strings.Lines(strings.TrimSuffix(text, "\n") + "\n") {
		b.WriteString(sign + line)
	}
	return b.String()
}
