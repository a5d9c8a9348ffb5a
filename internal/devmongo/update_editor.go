package devmongo

import (
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// editor changes a document and records the paths that it has changed.
type editor struct {
	doc     bson.D
	touched []string
	// created is the number of leading path elements that existed before the last edit;
	// -1: all of them.
	created int
}

// edit changes the value at one path. With create it adds missing documents on the
// way.
func (e *editor) edit(path []string, create bool, change func(any) (any, error)) error {
	e.created = -1
	changed := false
	doc, err := e.descend(e.doc, path, 0, create, func(old any) (any, error) {
		next, err := change(old)
		changed = err == nil && !(isMissing(old) && isMissing(next)) && (isMissing(old) != isMissing(next) || !identical(old, next))
		return next, err
	})
	if err != nil || !changed {
		return err
	}
	e.doc = doc.(bson.D)
	if e.created >= 0 {
		path = path[:e.created+1] // the topmost field that was added
	}
	e.touched = append(e.touched, strings.Join(path, "."))
	return nil
}

func (e *editor) descend(v any, path []string, depth int, create bool, change func(any) (any, error)) (any, error) {
	if depth == len(path) {
		return change(v)
	}
	switch x := v.(type) {
	case bson.D:
		return e.descendDocument(x, path, depth, create, change)
	case bson.A:
		return e.descendArray(x, path, depth, create, change)
	case missing:
		if !create {
			return v, nil
		}
		if e.created < 0 {
			e.created = depth - 1
		}
		return e.descendDocument(bson.D{}, path, depth, create, change)
	}
	if !create {
		return v, nil
	}
	return nil, refuse(codePathNotViable, "Cannot create field '%s' in element {%s: %v}", path[depth], path[depth-1], v)
}

func (e *editor) descendDocument(d bson.D, path []string, depth int, create bool, change func(any) (any, error)) (any, error) {
	i := slices.IndexFunc(d, func(f bson.E) bool { return f.Key == path[depth] })
	old := any(missing{})
	if i >= 0 {
		old = d[i].Value
	}
	next, err := e.descend(old, path, depth+1, create, change)
	switch {
	case err != nil:
		return nil, err
	case i < 0 && isMissing(next):
		return d, nil
	case i < 0:
		return append(slices.Clip(d), bson.E{Key: path[depth], Value: next}), nil
	case isMissing(next):
		return slices.Delete(slices.Clone(d), i, i+1), nil
	}
	d = slices.Clone(d)
	d[i].Value = next
	return d, nil
}

func (e *editor) descendArray(a bson.A, path []string, depth int, create bool, change func(any) (any, error)) (any, error) {
	i, ok := arrayIndex(path[depth])
	if !ok && !create {
		return a, nil
	}
	if !ok {
		return nil, refuse(codePathNotViable, "Cannot create field '%s' in element {%s: [...]}", path[depth], path[max(0, depth-1)])
	}
	old := any(missing{})
	if i < len(a) {
		old = a[i]
	}
	next, err := e.descend(old, path, depth+1, create, change)
	if err != nil || (i >= len(a) && isMissing(next)) {
		return a, err
	}
	if isMissing(next) {
		next = nil // the array keeps its length
	}
	a = slices.Clone(a)
	for len(a) <= i {
		a = append(a, nil)
	}
	a[i] = next
	return a, nil
}

// describe returns the changed paths with their new values.
func (e *editor) describe() *description {
	diff := &description{}
	seen := map[string]bool{}
	for _, name := range e.touched {
		if seen[name] || slices.ContainsFunc(e.touched, func(up string) bool { return strings.HasPrefix(name, up+".") }) {
			continue
		}
		seen[name] = true
		if v := lookup(e.doc, splitPath(name)); isMissing(v) {
			diff.removed = append(diff.removed, name)
		} else {
			diff.updated = append(diff.updated, bson.E{Key: name, Value: v})
		}
	}
	return diff
}
