package devmongo

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// projection shapes documents; nil leaves them as they are.
type projection func(bson.D) (bson.D, error)

// raws applies the projection to what a query has found.
func (p projection) raws(rows []*row) ([]bson.Raw, error) {
	out := make([]bson.Raw, 0, len(rows))
	for _, r := range rows {
		raw := r.raw
		if p != nil || raw == nil {
			d := r.decoded()
			if p != nil {
				var err error
				if d, err = p(d); err != nil {
					return nil, err
				}
			}
			encoded, err := encode(d)
			if err != nil {
				return nil, err
			}
			raw = encoded
		}
		out = append(out, raw)
	}
	return out, nil
}

// fields is a projection as a tree: a leaf is true or false for in and out, an
// expression for a computed field, and a subtree for a nested path.
type fields struct {
	names    []string
	children map[string]*fields
	leaf     bool
	keep     bool
	compute  expression
}

func (f *fields) child(name string) *fields {
	if f.children == nil {
		f.children = map[string]*fields{}
	}
	if f.children[name] == nil {
		f.children[name] = &fields{}
		f.names = append(f.names, name)
	}
	return f.children[name]
}

// compileProjection reads the projection of find and of $project.
func compileProjection(spec bson.D, names names) (projection, error) {
	if len(spec) == 0 {
		return nil, nil
	}
	root := &fields{}
	keeps, drops, err := root.add("", spec, names)
	if err != nil {
		return nil, err
	}
	id := root.children["_id"]
	if keeps > 0 && drops > 0 {
		return nil, refuse(31254, "Cannot do exclusion in an inclusion projection, nor the other way round")
	}
	if keeps == 0 && (drops > 0 || (id != nil && id.leaf && !id.keep)) {
		return func(d bson.D) (bson.D, error) { return root.exclude(d), nil }, nil
	}
	if id == nil {
		first := root.child("_id")
		first.leaf, first.keep = true, true
	}
	return func(d bson.D) (bson.D, error) { return root.include(d, newScope(d)) }, nil
}

// add reads one level and counts the fields other than _id that are kept or
// computed, and those that are dropped.
func (f *fields) add(prefix string, spec bson.D, names names) (keeps, drops int, err error) {
	for _, e := range spec {
		if e.Key == "" || strings.HasPrefix(e.Key, "$") || strings.Contains(e.Key, "$") {
			return 0, 0, refuse(codeNotImplemented, "devmongo has no projection like '%s'", e.Key)
		}
		node := f
		for _, name := range splitPath(e.Key) {
			if node.leaf {
				return 0, 0, refuse(31249, "Path collision at %s", e.Key)
			}
			node = node.child(name)
		}
		if node.leaf || node.children != nil {
			return 0, 0, refuse(31250, "Path collision at %s", e.Key)
		}
		if nested, ok := e.Value.(bson.D); ok && len(nested) > 0 && !strings.HasPrefix(nested[0].Key, "$") {
			k, d, err := node.add(prefix+e.Key+".", nested, names)
			if err != nil {
				return 0, 0, err
			}
			keeps, drops = keeps+k, drops+d
			continue
		}
		if err := node.set(e.Value, names); err != nil {
			return 0, 0, err
		}
		switch {
		case prefix+e.Key == "_id" && node.compute == nil:
		case node.keep:
			keeps++
		default:
			drops++
		}
	}
	return keeps, drops, nil
}

func (f *fields) set(v any, names names) (err error) {
	f.leaf = true
	switch v.(type) {
	case bool, int32, int64, float64, bson.Decimal128:
		f.keep = truthy(v)
		return nil
	}
	f.keep = true
	f.compute, err = compileExpr(v, names)
	return err
}

func (f *fields) exclude(d bson.D) bson.D {
	out := make(bson.D, 0, len(d))
	for _, e := range d {
		child := f.children[e.Key]
		switch {
		case child == nil:
			out = append(out, e)
		case child.leaf:
			if child.keep {
				out = append(out, e)
			}
		default:
			out = append(out, bson.E{Key: e.Key, Value: each(e.Value, func(x bson.D) any { return child.exclude(x) }, true)})
		}
	}
	return out
}

func (f *fields) include(d bson.D, s *scope) (bson.D, error) {
	out := make(bson.D, 0, len(f.names))
	var failed error
	for _, e := range d {
		child := f.children[e.Key]
		switch {
		case child == nil || child.compute != nil:
		case child.leaf:
			if child.keep {
				out = append(out, e)
			}
		default:
			v := each(e.Value, func(x bson.D) any {
				inner, err := child.include(x, s)
				if err != nil {
					failed = err
				}
				return inner
			}, false)
			if !isMissing(v) {
				out = append(out, bson.E{Key: e.Key, Value: v})
			}
		}
	}
	return f.addComputed(out, d, s, failed)
}

func (f *fields) addComputed(out, d bson.D, s *scope, err error) (bson.D, error) {
	for _, name := range f.names {
		child := f.children[name]
		if err != nil {
			return nil, err
		}
		switch {
		case child.compute != nil:
			v, e := child.compute(s)
			if err = e; err == nil && !isMissing(v) {
				out = append(out, bson.E{Key: name, Value: v})
			}
		case !child.leaf && isMissing(field(d, name)):
			inner, e := child.include(nil, s)
			if err = e; len(inner) > 0 {
				out = append(out, bson.E{Key: name, Value: inner})
			}
		}
	}
	return out, err
}

// each maps a document, or every document in an array; other values stay or go.
func each(v any, f func(bson.D) any, keepOthers bool) any {
	switch x := v.(type) {
	case bson.D:
		return f(x)
	case bson.A:
		out := bson.A{}
		for _, e := range x {
			if r := each(e, f, keepOthers); !isMissing(r) {
				out = append(out, r)
			}
		}
		return out
	}
	if keepOthers {
		return v
	}
	return missing{}
}
