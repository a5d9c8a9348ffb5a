package devmongo

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func compileCount(v any) (stage, error) {
	name, ok := v.(string)
	if !ok || name == "" || strings.HasPrefix(name, "$") || strings.Contains(name, ".") {
		return nil, refuse(40156, "the count field must be a non-empty string without '$' and '.'")
	}
	return func(docs []bson.D) ([]bson.D, error) {
		if len(docs) == 0 {
			return nil, nil
		}
		return []bson.D{{{Key: name, Value: int32(len(docs))}}}, nil
	}, nil
}

// compileGroup reads a $group whose only accumulator is $sum: what counting
// needs.
func compileGroup(d bson.D, names names) (stage, error) {
	if len(d) == 0 || d[0].Key != "_id" {
		return nil, refuse(15955, "a group specification must include an _id, here as its first field")
	}
	values := make(bson.A, len(d))
	for i, e := range d {
		if values[i] = e.Value; i == 0 {
			continue
		}
		spec, ok := isOperators(e.Value)
		if !ok || len(spec) != 1 {
			return nil, refuse(40234, "The field '%s' must be an accumulator object", e.Key)
		}
		if spec[0].Key != "$sum" {
			return nil, refuse(15952, "unknown group operator '%s'", spec[0].Key)
		}
		values[i] = spec[0].Value
	}
	list, err := compileAllExprs(values, names)
	return func(docs []bson.D) ([]bson.D, error) { return group(docs, d, list) }, err
}

func group(docs []bson.D, spec bson.D, list []expression) ([]bson.D, error) {
	var out []bson.D
	places := map[string]int{}
	for _, d := range docs {
		s := newScope(d)
		key, err := list[0](s)
		if err != nil {
			return nil, err
		}
		if isMissing(key) {
			key = nil
		}
		i, ok := places[canonical(key)]
		if !ok {
			i = len(out)
			places[canonical(key)] = i
			g := bson.D{{Key: "_id", Value: key}}
			for _, e := range spec[1:] {
				g = append(g, bson.E{Key: e.Key, Value: int32(0)})
			}
			out = append(out, g)
		}
		for j, x := range list[1:] {
			v, err := x(s)
			if err != nil {
				return nil, err
			}
			if !isNumber(v) {
				continue // only numbers count
			}
			if out[i][j+1].Value, err = addNumbers(out[i][j+1].Value, v); err != nil {
				return nil, err
			}
		}
	}
	return out, nil
}
