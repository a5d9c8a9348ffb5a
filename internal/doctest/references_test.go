package doctest

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path"
	"regexp"
	"strconv"
	"strings"
	"testing"
)

// elsewhere are names of files that documents mention and that are not in the
// repository: those of readers, and of other programs.
var elsewhere = map[string]bool{
	"error_codes.yml": true,                                                                                  // mongod's
	"checksums.txt":   true, "checksums.txt.sigstore.json": true, "keytail_0.1.0_linux_amd64.cdx.json": true, // of a release
}

// report fails the test for each dangling reference.
type report struct{ t *testing.T }

// fail reports that a file names something that does not exist.
func (r *report) fail(file string, line int, kind, name string) {
	r.t.Helper()
	r.t.Errorf("%s:%d: there is no %s %q", file, line, kind, name)
}

var (
	link      = regexp.MustCompile(`\]\(([^()\s]+)\)`)
	codeSpan  = regexp.MustCompile("`([^`]+)`")
	fileName  = regexp.MustCompile(`^\.?[\w][\w./-]*\.(md|go|ya?ml|json|js|conf|sh|py|svg|txt)$`)
	directory = regexp.MustCompile(`^(internal|cmd|docs|examples|deploy|bench|client|auth|api|tools|testdata|keytailtest|tests)(/[\w.-]+)+/?$`)
	testName  = regexp.MustCompile(`^(Test|Fuzz|Benchmark)[A-Z]\w+$`)
	runFlag   = regexp.MustCompile(`-(?:run|bench) '?([\w|.^$]+)`)
	testFunc  = regexp.MustCompile(`(?m)^func ((?:Test|Fuzz|Benchmark)\w+)\(`)
	mdMention = regexp.MustCompile(`[\w./-]*\w\.md\b`)
	quoted    = regexp.MustCompile(`^(?:,| \(|,? under) ?"([^"]+)"`)
	bare      = regexp.MustCompile(`^, ([A-Z][\w ]+)\)`)
	section   = regexp.MustCompile(`^,? sections? \d`)
	makeRule  = regexp.MustCompile(`(?m)^\s*make ([a-z]+)\b`)
	// testPackage is the one package of a command: not a pattern with "...".
	testPackage = regexp.MustCompile(`\s\./([\w/]*\w)/?(?:\s|$)`)
)

// TestReferences: what documents, comments, messages and configurations name exists.
func TestReferences(t *testing.T) {
	for name, test := range map[string]func(*report, *tree){"Markdown": markdownReferences, "Go": goReferences, "other files": otherReferences} {
		t.Run(name, func(t *testing.T) { test(&report{t}, mustLoadTree(t)) })
	}
}

// markdownReferences looks at links, and at headings, files, directories and tests
// that a Markdown document names.
func markdownReferences(r *report, all *tree) {
	pages := map[string]*page{}
	for _, name := range all.files(".md") {
		pages[name] = parsePage(name, all.text[name])
	}
	tests := allTests(all)
	for _, p := range pages {
		for _, l := range p.lines {
			for _, m := range link.FindAllStringSubmatch(l.text, -1) {
				checkLink(r, all, pages, p, l.number, m[1])
			}
			for _, m := range codeSpan.FindAllStringSubmatch(l.text, -1) {
				checkSpan(r, all, p.name, l.number, m[1], tests)
			}
		}
		for _, b := range p.blocks {
			checkRunFlags(r, all, p.name, b.line, b.text(), tests)
			checkMake(r, all, p.name, b.line, b.text())
		}
	}
}

func checkLink(r *report, all *tree, pages map[string]*page, p *page, line int, target string) {
	if strings.Contains(target, "://") || strings.HasPrefix(target, "mailto:") {
		return
	}
	file, anchor, _ := strings.Cut(target, "#")
	to := p.name
	if file != "" {
		to = path.Join(path.Dir(p.name), file)
	}
	switch {
	case !all.exists(to):
		r.fail(p.name, line, "file", target)
	case anchor != "" && pages[to] != nil && !pages[to].anchors[anchor]:
		r.fail(p.name, line, "heading", target)
	}
}

func checkSpan(r *report, all *tree, from string, line int, span string, tests []string) {
	switch {
	case elsewhere[span]:
	case fileName.MatchString(span), directory.MatchString(span):
		if _, found := all.find(from, strings.TrimSuffix(span, "/")); !found {
			r.fail(from, line, "file", span)
		}
	case testName.MatchString(span):
		checkPattern(r, from, line, "^"+span+"$", tests)
	default:
		checkRunFlags(r, all, from, line, span, tests)
		checkMake(r, all, from, line, span)
	}
}

// checkMake looks for the rules that commands of make name.
func checkMake(r *report, all *tree, from string, line int, commands string) {
	for _, m := range makeRule.FindAllStringSubmatch(commands, -1) {
		if !strings.Contains(all.text["Makefile"], "\n"+m[1]+":") {
			r.fail(from, line, "rule of make", m[1])
		}
	}
}

// checkRunFlags looks at the patterns of go test -run and -bench in commands. Where a
// line names one package, the tests must be in it.
func checkRunFlags(r *report, all *tree, from string, line int, commands string, tests []string) {
	for command := range strings.Lines(commands) {
		if !strings.Contains(command, "go test") {
			continue
		}
		within := tests
		if m := testPackage.FindStringSubmatch(command); m != nil {
			within = testsIn(all, m[1])
		}
		for _, m := range runFlag.FindAllStringSubmatch(command, -1) {
			for pattern := range strings.SplitSeq(m[1], "|") {
				checkPattern(r, from, line, pattern, within)
			}
		}
	}
}

func checkPattern(r *report, from string, line int, pattern string, tests []string) {
	if pattern == "^$" || pattern == "." {
		return
	}
	matches, err := regexp.Compile(pattern)
	if err != nil {
		r.fail(from, line, "pattern", pattern)
		return
	}
	for _, test := range tests {
		if matches.MatchString(test) {
			return
		}
	}
	r.fail(from, line, "test", pattern)
}

func allTests(all *tree) []string {
	var names []string
	for _, file := range all.files(".go") {
		names = append(names, testsOf(all, file)...)
	}
	return names
}

// testsIn are the tests of the package in a directory.
func testsIn(all *tree, directory string) []string {
	var names []string
	for _, file := range all.files(".go") {
		if path.Dir(file) == directory {
			names = append(names, testsOf(all, file)...)
		}
	}
	return names
}

func testsOf(all *tree, file string) []string {
	if !strings.HasSuffix(file, "_test.go") {
		return nil
	}
	var names []string
	for _, m := range testFunc.FindAllStringSubmatch(all.text[file], -1) {
		names = append(names, m[1])
	}
	return names
}

// goReferences looks at documents, and headings in them, that a comment or a string
// of the code names.
func goReferences(r *report, all *tree) {
	for _, name := range all.files(".go") {
		files := token.NewFileSet()
		file, err := parser.ParseFile(files, name, all.text[name], parser.ParseComments)
		if err != nil {
			r.t.Fatal(err)
		}
		for _, group := range file.Comments {
			checkProse(r, all, name, files.Position(group.Pos()).Line, strings.Join(strings.Fields(group.Text()), " "))
		}
		if strings.HasSuffix(name, "_test.go") {
			continue
		}
		ast.Inspect(file, func(node ast.Node) bool {
			if literal, ok := node.(*ast.BasicLit); ok && literal.Kind == token.STRING {
				text, err := strconv.Unquote(literal.Value)
				if err != nil {
					r.t.Fatal(err)
				}
				checkProse(r, all, name, files.Position(literal.Pos()).Line, text)
			}
			return true
		})
	}
}

// otherReferences looks at the same in configurations and scripts.
func otherReferences(r *report, all *tree) {
	names := all.files(".yml", ".yaml", ".conf", ".js", ".sh", ".py")
	for name := range all.text {
		if path.Ext(name) == "" && (path.Dir(name) == ".ci" || path.Base(name) == "Dockerfile" || path.Base(name) == "Caddyfile" || name == "Makefile") {
			names = append(names, name)
		}
	}
	for _, name := range names {
		for i, line := range strings.Split(all.text[name], "\n") {
			checkProse(r, all, name, i+1, line)
		}
	}
}

// published is where the files of this repository can be read, without the scheme.
const published = "//github.com/keytail/keytail/blob/main/"

// checkProse looks at the documents that a text names.
func checkProse(r *report, all *tree, from string, line int, text string) {
	if strings.Contains(text, "project's design") {
		r.fail(from, line, "document", "the project's design")
	}
	for _, at := range mdMention.FindAllStringIndex(text, -1) {
		name, rest := strings.TrimPrefix(text[at[0]:at[1]], published), text[at[1]:]
		to, found := all.find(from, strings.TrimPrefix(name, "/"))
		switch {
		case strings.HasPrefix(name, "//"), strings.Contains(lastField(text[:at[0]]), "://"): // another site's
		case !found:
			r.fail(from, line, "file", name)
		case section.MatchString(rest):
			r.fail(from, line, "heading", name+section.FindString(rest))
		default:
			checkHeading(r, all, from, line, to, rest)
		}
	}
}

func lastField(text string) string {
	fields := strings.Fields(text)
	if len(fields) == 0 || strings.HasSuffix(text, " ") {
		return ""
	}
	return fields[len(fields)-1]
}

// checkHeading looks for the heading, or another text, that is quoted after a
// document's name.
func checkHeading(r *report, all *tree, from string, line int, to, rest string) {
	m := quoted.FindStringSubmatch(rest)
	if m == nil {
		m = bare.FindStringSubmatch(rest)
	}
	if m != nil && !parsePage(to, all.text[to]).hasHeading(m[1]) && !strings.Contains(all.text[to], m[1]) {
		r.fail(from, line, "heading", to+", "+m[1])
	}
}
