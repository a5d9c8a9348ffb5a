package devmongo

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// projection picks fields; nil leaves documents as they are.
type projection func(bson.D) bson.D

// raws applies the projection to what a query has found.
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

// fields is a projection as a tree; a leaf has no children.
type fields map[string]fields

// compileProjection reads a projection of find or $project that keeps or drops
// fields; computed fields are refused.
func compileProjection(spec bson.D) (projection, error) {
	if len(spec) == 0 {
		return nil, nil
	}
	root, keep, id := fields{}, -1, -1 // not said yet
	for _, e := range spec {
		switch e.Value.(type) {
		case bool, int32, int64, float64:
		default:
			return nil, refuse(codeNotImplemented, "devmongo projects with 0 and 1 only, in '%s'", e.Key)
		}
		said := 0
		if truthy(e.Value) {
			said = 1
		}
		if e.Key == "_id" {
			id = said
			continue
		}
		if keep >= 0 && keep != said {
			return nil, refuse(31254-int32(said), "Cannot mix inclusion and exclusion in a projection, at field %s", e.Key)
		}
		keep = said
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
		return refuse(codeNotImplemented, "devmongo has no projection like '%s'", key)
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

// pickValue goes into documents, and into those in arrays.
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
