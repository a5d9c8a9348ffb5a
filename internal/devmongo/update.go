package devmongo

import (
	"slices"
	"strconv"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// updater computes what a document becomes. The description is nil when the
// document is replaced as a whole. inserting is set for the new document of an
// upsert.
type updater func(d bson.D, inserting bool) (bson.D, *description, error)

// compileUpdate reads the three forms of an update: operators, a pipeline, or a
// replacement.
func compileUpdate(u any, now bson.DateTime, names names) (up updater, replaces bool, err error) {
	switch x := u.(type) {
	case bson.A:
		up, err = compilePipelineUpdate(x, names)
		return up, false, err
	case bson.D:
		if _, ok := isOperators(x); ok {
			up, err = compileModifiers(x, now)
			return up, false, err
		}
		return replacement(x), true, nil
	}
	return nil, false, refuse(codeFailedToParse, "Update argument must be either an object or an array")
}

func replacement(next bson.D) updater {
	return func(d bson.D, _ bool) (bson.D, *description, error) {
		for _, e := range next {
			if strings.HasPrefix(e.Key, "$") {
				return nil, nil, refuse(codeDollarPrefixed, "The dollar ($) prefixed field '%s' in '%s' is not allowed in the context of an update's replacement document.", e.Key, e.Key)
			}
		}
		if isMissing(field(next, "_id")) && !isMissing(field(d, "_id")) {
			return append(bson.D{{Key: "_id", Value: field(d, "_id")}}, next...), nil, nil
		}
		return next, nil, nil
	}
}

// modifier is one operator on one path.
type modifier struct {
	op    string
	path  []string
	arg   any
	apply func(old any) (any, error)
}

func compileModifiers(u bson.D, now bson.DateTime) (updater, error) {
	var mods []*modifier
	for _, e := range u {
		targets, ok := e.Value.(bson.D)
		if !isModifier(e.Key) {
			return nil, refuse(codeFailedToParse, "Unknown modifier: %s. Expected a valid update modifier or pipeline-style update specified as an array", e.Key)
		}
		if !ok {
			return nil, refuse(codeFailedToParse, "Modifiers operate on fields but we found type %s instead.", typeName(e.Value))
		}
		for _, t := range targets {
			path, err := splitUpdatePath(t.Key)
			if err != nil {
				return nil, err
			}
			m := &modifier{op: e.Key, path: path, arg: t.Value}
			if m.apply, err = compileModifier(m, now); err != nil {
				return nil, err
			}
			mods = append(mods, m)
		}
	}
	// MongoDB applies them in the order of their paths
	slices.SortStableFunc(mods, func(a, b *modifier) int { return slices.Compare(a.path, b.path) })
	if err := checkConflicts(mods); err != nil {
		return nil, err
	}
	return func(d bson.D, inserting bool) (bson.D, *description, error) {
		return applyModifiers(mods, d, inserting)
	}, nil
}

func checkConflicts(mods []*modifier) error {
	var paths [][]string
	for _, m := range mods {
		paths = append(paths, m.path)
		if m.op == "$rename" {
			paths = append(paths, splitPath(m.arg.(string)))
		}
	}
	for i, a := range paths {
		for _, b := range paths[i+1:] {
			if n := min(len(a), len(b)); slices.Equal(a[:n], b[:n]) {
				return refuse(codeConflictingOperators, "Updating the path '%s' would create a conflict at '%s'", strings.Join(b, "."), strings.Join(a[:n], "."))
			}
		}
	}
	return nil
}

func applyModifiers(mods []*modifier, d bson.D, inserting bool) (bson.D, *description, error) {
	e := &editor{doc: d}
	for _, m := range mods {
		if m.op == "$setOnInsert" && !inserting {
			continue
		}
		if err := e.run(m); err != nil {
			return nil, nil, err
		}
	}
	return e.doc, e.describe(), nil
}

// editor changes a document in place and notes the paths that it has touched.
type editor struct {
	doc     bson.D
	touched []string
	made    int // how many elements of the path led to what was there; -1: all
}

func (e *editor) run(m *modifier) error {
	if m.op == "$rename" {
		return e.rename(m)
	}
	removes := m.op == "$unset" || m.op == "$pull"
	return e.edit(m.path, !removes, m.op == "$push" || m.op == "$addToSet", m.apply)
}

func (e *editor) rename(m *modifier) error {
	v := lookup(e.doc, m.path)
	if isMissing(v) {
		return nil
	}
	if err := e.edit(m.path, false, false, func(any) (any, error) { return missing{}, nil }); err != nil {
		return err
	}
	return e.edit(splitPath(m.arg.(string)), true, false, func(any) (any, error) { return v, nil })
}

// edit changes the value at one path; create makes the documents on the way.
func (e *editor) edit(path []string, create, appends bool, change func(any) (any, error)) error {
	e.made = -1
	var before, after any = missing{}, missing{}
	changed := false
	doc, err := e.descend(e.doc, path, 0, create, func(old any) (any, error) {
		next, err := change(old)
		before, after = old, next
		changed = err == nil && !(isMissing(old) && isMissing(next)) && (isMissing(old) != isMissing(next) || !identical(old, next))
		return next, err
	})
	if err != nil || !changed {
		return err
	}
	e.doc = doc.(bson.D)
	e.note(path, appends, before, after)
	return nil
}

// note remembers what to log: the topmost thing that was made, the elements that
// were appended to an array, or the path itself.
func (e *editor) note(path []string, appends bool, before, after any) {
	name := strings.Join(path, ".")
	if e.made >= 0 {
		name = strings.Join(path[:e.made+1], ".")
	}
	old, wasArray := before.(bson.A)
	list, isArray := after.(bson.A)
	if appends && wasArray && isArray && len(list) > len(old) && identical(list[:len(old)], old) {
		for i := len(old); i < len(list); i++ {
			e.touched = append(e.touched, name+"."+strconv.Itoa(i))
		}
		return
	}
	e.touched = append(e.touched, name)
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
		if e.made < 0 {
			e.made = depth - 1
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
		next = nil // an array keeps its length
	}
	a = slices.Clone(a)
	for len(a) <= i {
		a = append(a, nil)
	}
	a[i] = next
	return a, nil
}

// describe lists the touched paths with what is there now.
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
