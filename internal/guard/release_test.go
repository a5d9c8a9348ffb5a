//go:build !unguarded

package guard

import (
	"go/ast"
	"go/parser"
	"go/token"
	"maps"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestGuardsAreConstants compares the two files. Without the tag there are constants, all of them
// true, and nothing else; with it there is a variable for each.
func TestGuardsAreConstants(t *testing.T) {
	constants := declared(t, "guarded.go", token.CONST)
	variables := declared(t, "unguarded.go", token.VAR)
	delete(variables, "Switches")
	if names, others := slices.Sorted(maps.Keys(constants)), slices.Sorted(maps.Keys(variables)); !slices.Equal(names, others) {
		t.Errorf("guarded.go and unguarded.go differ:\n%q\n%q", names, others)
	}
	for name, value := range constants {
		if value != "true" {
			t.Errorf("%s is %q without the tag", name, value)
		}
	}
	if len(constants) < 20 {
		t.Errorf("only %d guards were found", len(constants))
	}
}

// declared maps the names that a file declares to their values. It fails if the file declares
// anything of another kind.
func declared(t *testing.T, file string, kind token.Token) map[string]string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	values := map[string]string{}
	for _, d := range parsed.Decls {
		general, ok := d.(*ast.GenDecl)
		if !ok || general.Tok != kind {
			t.Fatalf("%s has more than declarations with %q", file, kind)
		}
		for _, s := range general.Specs {
			spec := s.(*ast.ValueSpec)
			for i, name := range spec.Names {
				values[name.Name] = ""
				if literal, ok := spec.Values[i].(*ast.Ident); ok {
					values[name.Name] = literal.Name
				}
			}
		}
	}
	return values
}

// TestReleaseContainsNoSwitch builds the binary as it is released and searches it for symbols of this
// package.
func TestReleaseContainsNoSwitch(t *testing.T) {
	for _, c := range []struct {
		tags  string
		holds bool
	}{
		{"", false},
		{"unguarded", true}, // otherwise this test looks for the wrong name
	} {
		binary := filepath.Join(t.TempDir(), "keytail")
		run(t, "go", "build", "-tags", c.tags, "-o", binary, "../../cmd/server")
		if got := strings.Contains(run(t, "go", "tool", "nm", binary), "keytail/internal/guard."); got != c.holds {
			t.Errorf("with tags %q the binary contains a switch: %v", c.tags, got)
		}
	}
}

func run(t *testing.T, name string, args ...string) string {
	t.Helper()
	output, err := exec.Command(name, args...).CombinedOutput()
	if err != nil {
		t.Fatalf("%s %q: %v\n%s", name, args, err, output)
	}
	return string(output)
}
