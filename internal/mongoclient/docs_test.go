package mongoclient

import (
	"flag"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the table in docs/mongodb-uri.md anew")

const (
	root       = "../.."
	page       = root + "/docs/mongodb-uri.md"
	tableBegin = "<!-- options:begin -->\n"
	tableEnd   = "<!-- options:end -->"
)

// TestDocsTableIsGenerated compares the page with the table; with -update it
// writes the page.
func TestDocsTableIsGenerated(t *testing.T) {
	content, err := os.ReadFile(page)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(content), tableBegin)
	have, tail, closed := strings.Cut(rest, tableEnd)
	if !found || !closed {
		t.Fatalf("%s lacks the markers %q and %q", page, tableBegin, tableEnd)
	}
	if have == Markdown() {
		return
	}
	if !*update {
		t.Fatalf("the table in %s differs; write it anew with\n\n\tgo test ./internal/mongoclient -run Docs -update", page)
	}
	if err := os.WriteFile(page, []byte(head+tableBegin+Markdown()+tableEnd+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestAllHandlesComeFromDatabase: no code of keytail takes a handle from the
// client itself, because it would inherit the concerns of a connection string.
func TestAllHandlesComeFromDatabase(t *testing.T) {
	handle := regexp.MustCompile(`\.Database\([^)]`) // Collection.Database takes no argument
	var files int
	err := filepath.WalkDir(root, func(path string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, _ := filepath.Rel(root, path)
		if entry.IsDir() {
			switch filepath.ToSlash(rel) {
			case ".git", ".ci", "bench", "examples", "tools", "internal/mongoclient", "internal/mongotest", "internal/devmongo":
				return fs.SkipDir
			}
			return nil
		}
		if !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
			return nil
		}
		files++
		source, err := os.ReadFile(path)
		if err != nil {
			return err
		}
		for i, line := range strings.Split(string(source), "\n") {
			code, _, _ := strings.Cut(line, "//")
			if handle.MatchString(code) && !strings.Contains(code, "mongoclient.Database(") {
				t.Errorf("%s:%d: take the handle from mongoclient.Database: %s", rel, i+1, strings.TrimSpace(line))
			}
		}
		return nil
	})
	if err != nil || files < 100 {
		t.Fatalf("%d files were read: %v", files, err)
	}
}
