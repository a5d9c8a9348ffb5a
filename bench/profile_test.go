package main

import (
	"go/ast"
	"go/parser"
	"go/token"
	"path/filepath"
	"slices"
	"strings"
	"testing"
)

// TestStagesNameFunctionsThatExist: a stage whose functions were renamed would count
// nothing, and its samples would go to another stage.
func TestStagesNameFunctionsThatExist(t *testing.T) {
	ours := []string{"apikey", "keycache", "validator", "forwardauth", "routes"}
	names := map[string][]string{}
	for _, stage := range slices.Concat(hitStages, authStages) {
		for _, function := range stage.functions {
			pkg, _, _ := strings.Cut(function, ".")
			if !slices.Contains(ours, pkg) {
				continue
			}
			if names[pkg] == nil {
				names[pkg] = functionNames(t, pkg)
			}
			if !slices.ContainsFunc(names[pkg], func(name string) bool { return matches(name, function) }) {
				t.Errorf("stage %q: there is no function %s", stage.name, function)
			}
		}
	}
}

// matches reports whether a function is meant by a prefix of names. A closure's name
// is that of its function with a suffix.
func matches(name, prefix string) bool {
	return strings.HasPrefix(name, prefix) || strings.HasPrefix(prefix, name+".")
}

// functionNames are the functions and methods of a package as a profile names them.
func functionNames(t *testing.T, pkg string) []string {
	t.Helper()
	files, err := filepath.Glob(filepath.Join(repository, "internal", pkg, "*.go"))
	if err != nil || len(files) == 0 {
		t.Fatalf("package %s: %d files, %v", pkg, len(files), err)
	}
	var names []string
	for _, file := range files {
		parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
		if err != nil {
			t.Fatal(err)
		}
		for _, declaration := range parsed.Decls {
			function, ok := declaration.(*ast.FuncDecl)
			if !ok {
				continue
			}
			name := pkg + "." + function.Name.Name
			if function.Recv != nil {
				name = pkg + "." + receiver(function.Recv.List[0].Type) + "." + function.Name.Name
			}
			names = append(names, name)
		}
	}
	return names
}

func receiver(expression ast.Expr) string {
	if star, ok := expression.(*ast.StarExpr); ok {
		return "(*" + receiver(star.X) + ")"
	}
	if identifier, ok := expression.(*ast.Ident); ok {
		return identifier.Name
	}
	return ""
}
