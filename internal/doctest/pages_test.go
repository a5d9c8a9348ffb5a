package doctest

import (
	"path"
	"slices"
	"strings"
	"testing"
)

// languages are those that a fenced block may have: the language must be named,
// so that no command hides in a block without a language. Blocks of python and ts are
// run by internal/integration/clients.
var languages = []string{"sh", "console", "text", "go", "yaml", "json", "js", "nginx", "python", "ts"}

// userPages are README.md, the pages of docs/, and others with commands.
func userPages(all *tree) []*page {
	var pages []*page
	for _, name := range []string{"README.md", "CONTRIBUTING.md", "examples/README.md"} {
		pages = append(pages, parsePage(name, all.text[name]))
	}
	for _, name := range all.files(".md") {
		if path.Dir(name) == "docs" {
			pages = append(pages, parsePage(name, all.text[name]))
		}
	}
	return pages
}

// TestREADMEIsShort: what does not fit belongs into docs/.
func TestREADMEIsShort(t *testing.T) {
	if n := strings.Count(mustLoadTree(t).text["README.md"], "\n"); n > 150 {
		t.Errorf("README.md has %d lines, 150 at most", n)
	}
}

// TestPagesNameTheirReader in the first line after the title.
func TestPagesNameTheirReader(t *testing.T) {
	all := mustLoadTree(t)
	for _, p := range userPages(all) {
		if path.Dir(p.name) != "docs" {
			continue
		}
		lines := strings.SplitN(all.text[p.name], "\n", 4)
		if len(lines) < 3 || !strings.HasPrefix(lines[2], "*For ") {
			t.Errorf("%s: the first line after the title has to name the reader: *For …*", p.name)
		}
	}
}

// TestIndexListsAllPages of docs/.
func TestIndexListsAllPages(t *testing.T) {
	all := mustLoadTree(t)
	for _, p := range userPages(all) {
		if base := path.Base(p.name); path.Dir(p.name) == "docs" && base != "README.md" && !strings.Contains(all.text["docs/README.md"], "]("+base+")") {
			t.Errorf("docs/README.md does not list %s", base)
		}
	}
}

// TestBlocksHaveALanguage, and no page has code by indentation alone.
func TestBlocksHaveALanguage(t *testing.T) {
	for _, p := range userPages(mustLoadTree(t)) {
		for _, b := range p.blocks {
			if !slices.Contains(languages, b.language) {
				t.Errorf("%s:%d: the block has the language %q, want one of %v", p.name, b.line, b.language, languages)
			}
			if (b.language == "python" || b.language == "ts") && p.name != "docs/other-languages.md" {
				t.Errorf("%s:%d: no test runs a block of %s on this page", p.name, b.line, b.language)
			}
		}
		for i, l := range p.lines {
			if strings.HasPrefix(l.text, "    ") && i > 0 && p.lines[i-1].text == "" {
				t.Errorf("%s:%d: put the code into a fenced block with a language", p.name, l.number)
			}
		}
	}
}

// TestArchitectureNamesAllPackages: a new package gets a line in ARCHITECTURE.md.
func TestArchitectureNamesAllPackages(t *testing.T) {
	all := mustLoadTree(t)
	packages := map[string]bool{}
	for _, name := range all.files(".go") {
		if dir := path.Dir(name); dir != "." && !strings.HasPrefix(dir, "examples/") && !strings.HasPrefix(dir, "tools") {
			packages[dir] = true
		}
	}
	for dir := range packages {
		if !strings.Contains(all.text["ARCHITECTURE.md"], "`"+dir+"`") {
			t.Errorf("ARCHITECTURE.md does not name %s", dir)
		}
	}
}
