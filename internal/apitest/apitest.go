// Package apitest checks the exported API of a package, in tests.
package apitest

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"go/ast"
	"go/importer"
	"go/parser"
	"go/token"
	"go/types"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// NoInternalTypes fails the test if an exported declaration of the package contains a
// type, or a constant's initializer a name, of an internal package: programs outside of
// this module could not name it. The package is an import path, or "." for that of
// the test.
func NoInternalTypes(t *testing.T, pkg string) {
	t.Helper()
	found, err := internalNames(t, pkg)
	if err != nil {
		t.Fatal(err)
	}
	for _, text := range found {
		t.Error(text)
	}
}

// internalNames returns one line for each internal name in the exported API.
func internalNames(t *testing.T, pkg string) ([]string, error) {
	t.Helper()
	target, exports, err := load(t, pkg)
	if err != nil {
		return nil, err
	}
	gc := importer.ForCompiler(token.NewFileSet(), "gc", func(path string) (io.ReadCloser, error) {
		return os.Open(exports[path])
	})
	imported, err := gc.Import(target.ImportPath)
	if err != nil {
		return nil, err
	}
	w := walker{pkg: imported}
	scope := imported.Scope()
	for _, name := range scope.Names() {
		if object := scope.Lookup(name); object.Exported() {
			w.object(object)
		}
	}
	for _, file := range target.GoFiles {
		if err := w.constants(filepath.Join(target.Dir, file)); err != nil {
			return nil, err
		}
	}
	slices.Sort(w.found)
	return slices.Compact(w.found), nil
}

// listed is a package in the output of go list.
type listed struct {
	ImportPath, Dir, Export string
	GoFiles                 []string
	DepOnly                 bool
}

// load returns the package, and the files with the export data of it and of its
// dependencies. It takes the latter from the build cache, so nothing is parsed again.
func load(t *testing.T, pkg string) (target listed, exports map[string]string, err error) {
	t.Helper()
	var stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), "go", "list", "-export", "-deps", "-json=ImportPath,Dir,Export,GoFiles,DepOnly", pkg)
	cmd.Stderr = &stderr
	output, err := cmd.Output()
	if err != nil {
		return target, nil, fmt.Errorf("go list %s: %w\n%s", pkg, err, &stderr)
	}
	exports = map[string]string{}
	for decoder := json.NewDecoder(bytes.NewReader(output)); ; {
		var p listed
		if err := decoder.Decode(&p); errors.Is(err, io.EOF) {
			return target, exports, nil
		} else if err != nil {
			return target, nil, err
		}
		exports[p.ImportPath] = p.Export
		if !p.DepOnly {
			target = p
		}
	}
}

// walker collects the internal names in the declarations of a package.
type walker struct {
	pkg   *types.Package
	found []string
}

func isInternal(path string) bool {
	return strings.Contains(path, "/internal/") || strings.HasSuffix(path, "/internal")
}

// object looks at an exported object.
func (w *walker) object(object types.Object) {
	name, isType := object.(*types.TypeName)
	if !isType {
		w.typ(object.Name(), object.Type())
		return
	}
	if alias, ok := name.Type().(*types.Alias); ok {
		w.typ(name.Name(), alias.Rhs())
		return
	}
	named := name.Type().(*types.Named)
	w.typ(name.Name(), named.Underlying())
	// With the methods that embedded fields promote.
	for method := range types.NewMethodSet(types.NewPointer(named)).Methods() {
		if method.Obj().Exported() {
			w.typ(name.Name()+"."+method.Obj().Name(), method.Type())
		}
	}
}

// typ looks at the parts of a type. The underlying type of a named type is looked at
// in its own declaration, so the walk ends.
func (w *walker) typ(where string, t types.Type) {
	switch t := t.(type) {
	case *types.Alias:
		w.name(where, t.Obj())
		w.typ(where, t.Rhs())
	case *types.Named:
		w.name(where, t.Obj())
		for arg := range t.TypeArgs().Types() {
			w.typ(where, arg)
		}
	case *types.Signature:
		w.typ(where, t.Params())
		w.typ(where, t.Results())
	case *types.Tuple:
		for v := range t.Variables() {
			w.typ(where, v.Type())
		}
	case *types.Struct:
		for field := range t.Fields() {
			if field.Exported() {
				w.typ(where+"."+field.Name(), field.Type())
			}
		}
	case *types.Interface:
		for method := range t.ExplicitMethods() {
			if method.Exported() {
				w.typ(where+"."+method.Name(), method.Type())
			}
		}
		for embedded := range t.EmbeddedTypes() {
			w.typ(where, embedded)
		}
	case *types.Map:
		w.typ(where, t.Key())
		w.typ(where, t.Elem())
	case interface{ Elem() types.Type }: // pointers, slices, arrays, channels
		w.typ(where, t.Elem())
	}
}

func (w *walker) name(where string, object *types.TypeName) {
	if pkg := object.Pkg(); pkg != nil && pkg != w.pkg && isInternal(pkg.Path()) {
		w.found = append(w.found, fmt.Sprintf("%s: %s has the internal type %s.%s", w.pkg.Path(), where, pkg.Path(), object.Name()))
	}
}

// constants looks at the initializers of exported constants, which go doc prints. The
// types do not show where a constant comes from.
func (w *walker) constants(path string) error {
	file, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.SkipObjectResolution)
	if err != nil {
		return err
	}
	internal := internalImports(file)
	for _, decl := range file.Decls {
		group, ok := decl.(*ast.GenDecl)
		if !ok || group.Tok != token.CONST {
			continue
		}
		for _, spec := range group.Specs {
			w.initializer(spec.(*ast.ValueSpec), internal)
		}
	}
	return nil
}

// initializer looks at one specification of constants.
func (w *walker) initializer(spec *ast.ValueSpec, internal map[string]string) {
	if !slices.ContainsFunc(spec.Names, func(name *ast.Ident) bool { return name.IsExported() }) {
		return
	}
	for _, value := range spec.Values {
		ast.Inspect(value, func(node ast.Node) bool {
			selector, ok := node.(*ast.SelectorExpr)
			if !ok {
				return true
			}
			if pkg, ok := selector.X.(*ast.Ident); ok && internal[pkg.Name] != "" {
				w.found = append(w.found, fmt.Sprintf("%s: the constant %s is the internal %s.%s", w.pkg.Path(), spec.Names[0], internal[pkg.Name], selector.Sel))
			}
			return true
		})
	}
}

// internalImports maps the names of a file's internal imports to their paths.
func internalImports(file *ast.File) map[string]string {
	names := map[string]string{}
	for _, spec := range file.Imports {
		path, err := strconv.Unquote(spec.Path.Value)
		if err != nil || !isInternal(path) {
			continue
		}
		name := path[strings.LastIndex(path, "/")+1:]
		if spec.Name != nil {
			name = spec.Name.Name
		}
		names[name] = path
	}
	return names
}
