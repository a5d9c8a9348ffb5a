package keycache_test

import (
	"go/ast"
	"go/parser"
	"go/token"
	"slices"
	"testing"
)

// TestTheCodeHasTheModelsOrder holds the order of the loads and stores in the
// source against the one that the models search. It sees no branches, only
// what is written before what.
func TestTheCodeHasTheModelsOrder(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		file, function string
		order          []string
	}{
		{"epoch.go", "Open", []string{"c.raiseFloor", "epoch.Store"}},
		{"change.go", "Apply", []string{"c.raiseFloor", "seq.Add", "c.ownership", "c.noteRefusal", "c.stamp", "c.storeChanged"}},
		{"change.go", "stamp", []string{"aside.Load", "current.Load", "c.stampIn", "c.stampIn"}},
		{"change.go", "stampIn", []string{"byID.stamp", "byHash.stamp"}},
		{"ownership.go", "ownership", []string{"current.Load", "complete.Load", "g.get", "overlay.get", "c.isAbsent"}},
		{"scan.go", "Finish", []string{"s.failure", "complete.Store", "current.Store", "front.end"}},
		{"scan.go", "Abandon", []string{"into.openAt", "front.end"}},
		{"fill.go", "Begin", []string{"epoch.Load", "seq.Load", "floor.Load"}},
		{"get.go", "Get", []string{"fresh.Load", "era.Load", "current.Load", "complete.Load", "c.getFront", "c.lookUp", "front.put", "c.isAbsent", "c.getRefused"}},
		{"overlay.go", "lookUp", []string{"g.find", "overlay.find"}},
		{"overlay.go", "withdraw", []string{"c.put", "g.end", "front.end"}},
		{"front.go", "getFront", []string{"front.get", "c.isValid", "c.answerNow"}},
		{"front.go", "get", []string{"entry.Load", "era.Load"}},
		{"front.go", "putMarker", []string{"c.put", "front.end"}},
		{"front.go", "setMarker", []string{"overlay.set", "s.mark", "base.flush", "front.end"}},
		{"rebuild.go", "FillOnDemand", []string{"current.Store", "front.end"}},
		{"get.go", "isValid", []string{"c.isOfEpoch", "slots.lastOfID", "c.isOfHash"}},
		{"get.go", "isOfEpoch", []string{"epoch.Load"}},
		{"get.go", "isOfHash", []string{"slots.lastOfHash"}},
		{"refusal.go", "noteRefusal", []string{"fresh.Load", "floor.Load", "current.Load", "slots.lastOfID", "place.Load", "place.Store"}},
		{"refusal.go", "getRefused", []string{"overlay.find", "c.refuse", "g.find", "ended.Load", "c.refuse"}},
		{"refusal.go", "refuse", []string{"c.isOfEpoch", "slots.lastOfID", "refusals.of", "c.isOfHash", "c.answerNow"}},
		{"get.go", "Revalidate", []string{"fresh.Load", "current.Load", "c.isValid", "c.answerNow"}},
		{"generation.go", "isAbsent", []string{"epoch.Load", "slots.lastOfHash", "unreadable.Load"}},
		{"scan.go", "BeginScan", []string{"s.makeGeneration", "unreadable.Load", "c.Begin"}},
		{"scan.go", "makeGeneration", []string{"current.Store", "front.end", "aside.Store", "tables.begin"}},
		{"../validator/read.go", "fill", []string{"Cache.Begin", "v.readLimited", "Cache.Store"}},
		{"../validator/read.go", "runAlone", []string{"Cache.Freshness", "Cache.Begin", "v.readLimited", "v.readTwice", "Store.FindByHash"}},
		// The models stop at the first look. What is read after it is later.
		{"../validator/read.go", "readTwice", []string{"read", "Store.Inspect", "read", "Store.Inspect"}},
	} {
		t.Run(test.function, func(t *testing.T) {
			if got := callsIn(t, test.file, test.function, test.order); !slices.Equal(got, test.order) {
				t.Errorf("%s in %s has the order %v, the model has %v", test.function, test.file, got, test.order)
			}
		})
	}
}

// callsIn lists the calls of a function that are wanted, as they are written.
func callsIn(t *testing.T, file, function string, wanted []string) []string {
	t.Helper()
	parsed, err := parser.ParseFile(token.NewFileSet(), file, nil, 0)
	if err != nil {
		t.Fatal(err)
	}
	var calls []string
	for _, declared := range parsed.Decls {
		f, ok := declared.(*ast.FuncDecl)
		if !ok || f.Name.Name != function {
			continue
		}
		ast.Inspect(f.Body, func(n ast.Node) bool {
			if call, ok := n.(*ast.CallExpr); ok {
				if name := lastTwo(call.Fun); slices.Contains(wanted, name) {
					calls = append(calls, name)
				}
			}
			return true
		})
	}
	return calls
}

// lastTwo is "seq.Load" of c.seq.Load, and the name of a plain function.
func lastTwo(e ast.Expr) string {
	if name, ok := e.(*ast.Ident); ok {
		return name.Name
	}
	selector, ok := e.(*ast.SelectorExpr)
	if !ok {
		return ""
	}
	switch x := selector.X.(type) {
	case *ast.Ident:
		return x.Name + "." + selector.Sel.Name
	case *ast.SelectorExpr:
		return x.Sel.Name + "." + selector.Sel.Name
	default:
		return ""
	}
}
