// Package doctest tests the repository's documents: what they name exists, and
// the commands that they show work. It has no code but tests.
package doctest

import (
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
)

// root is the repository's, as seen from this package's directory.
const root = "../.."

// tree is every file of the repository but what git ignores.
type tree struct {
	// text maps a path, with slashes and relative to the root, to the file's content.
	text map[string]string
	// dirs are the paths of all directories.
	dirs map[string]bool
}

var loadTree = sync.OnceValues(readTree)

func readTree() (*tree, error) {
	t := &tree{text: map[string]string{}, dirs: map[string]bool{}}
	err := filepath.WalkDir(root, func(name string, entry fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		rel, err := filepath.Rel(root, name)
		if err != nil {
			return err
		}
		rel = filepath.ToSlash(rel)
		switch {
		case rel == ".git" || rel == ".ci/venv" || strings.HasPrefix(entry.Name(), "__pycache__"):
			if entry.IsDir() {
				return fs.SkipDir
			}
			return nil
		case entry.IsDir():
			t.dirs[rel] = true
			return nil
		case !entry.Type().IsRegular():
			return nil
		}
		content, err := os.ReadFile(name)
		t.text[rel] = string(content)
		return err
	})
	return t, err
}

func mustLoadTree(t *testing.T) *tree {
	t.Helper()
	all, err := loadTree()
	if err != nil {
		t.Fatal(err)
	}
	if len(all.text) < 300 {
		t.Fatalf("only %d files were found under %s", len(all.text), root)
	}
	return all
}

// exists reports whether a file or directory has this path.
func (t *tree) exists(name string) bool {
	_, file := t.text[name]
	return file || t.dirs[name]
}

// files are the paths with one of these extensions, sorted.
func (t *tree) files(extensions ...string) []string {
	var names []string
	for name := range t.text {
		if slices.Contains(extensions, path.Ext(name)) {
			names = append(names, name)
		}
	}
	slices.Sort(names)
	return names
}

// find resolves a path that a file mentions: beside that file, from the root, or
// under internal/ or docs/, which comments leave out. In a Markdown document, and
// for files that are no documents, a name without a directory may stand anywhere.
func (t *tree) find(from, mentioned string) (string, bool) {
	mentioned = strings.TrimPrefix(mentioned, "./")
	for _, candidate := range []string{path.Join(path.Dir(from), mentioned), mentioned, "internal/" + mentioned, "docs/" + mentioned} {
		if candidate = path.Clean(candidate); t.exists(candidate) {
			return candidate, true
		}
	}
	if strings.Contains(mentioned, "/") || path.Ext(mentioned) == ".md" && path.Ext(from) != ".md" {
		return "", false
	}
	for name := range t.text {
		if path.Base(name) == mentioned {
			return name, true
		}
	}
	return "", false
}
