package devmongo

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// projection selects fields. nil does not change documents.
type projection func(bson.D) bson.D

// raws applies the projection to the documents of a query.
func (p projection) raws(rows []*row) ([]bson.Raw, error) {
	out := make([]bson.Raw, len(rows))
	for i, r := range rows {
		if out[i] = r.raw; p == nil {
			continue
		}
		raw, err := encode(p(r.decoded()))
		if err != nil {
			return nil, err
		}
		out[i] = raw
	}
	return out, nil
}

// fields is a projection as a tree. A leaf has no children.
type fields map[string]fields

// compileProjection compiles a projection of find or $project that includes or
// excludes fields. Computed fields are not supported.
func compileProjection(spec bson.D) (projection, error) {
	if len(spec) == 0 {
		return nil, nil
	}
	root, keep, id := fields{}, -1, -1 // -1: not known yet
	for _, e := range spec {
		switch e.Value.(type) {
		case bool, int32, int64, float64:
		default:
			return nil, unsupported(codeNotImplemented, "a projection other than 0 and 1, in '%s'", e.Key)
		}
		include := 0
		if isTrue(e.Value) {
			include = 1
		}
		if e.Key == "_id" {
			id = include
			continue
		}
		if keep >= 0 && keep != include {
			return nil, refuse(31254-int32(include), "Cannot mix inclusion and exclusion in a projection, at field %s", e.Key)
		}
		keep = include
		if err := root.add(e.Key); err != nil {
			return nil, err
		}
	}
	keeps := keep == 1 || (keep < 0 && id == 1)
	if (id != 0) == keeps {
		root["_id"] = fields{}
	}
	if !keeps && id == 1 {
		delete(root, "_id")
	}
	return func(d bson.D) bson.D { return root.pick(d, keeps) }, nil
}

func (f fields) add(key string) error {
	if strings.Contains(key, "$") || key == "" {
		return unsupported(codeNotImplemented, "the projection '%s'", key)
	}
	path := splitPath(key)
	for i, name := range path {
		next, ok := f[name]
		if ok && (len(next) == 0 || i == len(path)-1) {
			return refuse(31249, "Path collision at %s", key)
		}
		if !ok {
			next = fields{}
			f[name] = next
		}
		f = next
	}
	return nil
}

func (f fields) pick(d bson.D, keeps bool) bson.D {
	out := make(bson.D, 0, len(d))
	for _, e := range d {
		child, listed := f[e.Key]
		if listed && len(child) > 0 {
			if e.Value = child.pickValue(e.Value, keeps); !isMissing(e.Value) {
				out = append(out, e)
			}
		} else if listed == keeps {
			out = append(out, e)
		}
	}
	return out
}

// pickValue applies the fields to a document, or to the documents in an array.
func (f fields) pickValue(v any, keeps bool) any {
	switch x := v.(type) {
	case bson.D:
		return f.pick(x, keeps)
	case bson.A:
		out := bson.A{}
		for _, e := range x {
			if r := f.pickValue(e, keeps); !isMissing(r) {
				out = append(out, r)
			}
		}
		return out
	}
	if keeps {
		return missing{}
	}
	return v
}
