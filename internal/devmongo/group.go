package devmongo

import "go.mongodb.org/mongo-driver/v2/bson"

// accumulator folds one value into what it has so far, which is missing at first.
type accumulator func(sofar, v any) (any, error)

func accumulatorNamed(name string) (accumulator, bool) {
	switch name {
	case "$sum":
		return func(sofar, v any) (any, error) {
			if isMissing(sofar) {
				sofar = int32(0)
			}
			if rank(v) != rank(int32(0)) {
				return sofar, nil // only numbers count
			}
			return addNumbers(sofar, v)
		}, true
	case "$min", "$max":
		return func(sofar, v any) (any, error) {
			if isMissing(sofar) || (!nullish(v) && (compare(v, sofar) < 0) == (name == "$min")) {
				return v, nil
			}
			return sofar, nil
		}, true
	case "$first":
		return func(sofar, v any) (any, error) {
			if isMissing(sofar) {
				return v, nil
			}
			return sofar, nil
		}, true
	case "$last":
		return func(_, v any) (any, error) { return v, nil }, true
	case "$push", "$addToSet":
		return func(sofar, v any) (any, error) {
			list, _ := sofar.(bson.A)
			if isMissing(v) || (name == "$addToSet" && contains(list, v)) {
				return append(bson.A{}, list...), nil
			}
			return append(list, v), nil
		}, true
	}
	return nil, false
}

type groupField struct {
	name  string
	value expression
	add   accumulator
}

func compileGroup(d bson.D, names names) (stage, error) {
	if isMissing(field(d, "_id")) {
		return nil, refuse(15955, "a group specification must include an _id")
	}
	id, err := compileExpr(field(d, "_id"), names)
	if err != nil {
		return nil, err
	}
	var list []groupField
	for _, e := range d {
		if e.Key == "_id" {
			continue
		}
		spec, ok := isOperators(e.Value)
		if !ok || len(spec) != 1 {
			return nil, refuse(40234, "The field '%s' must be an accumulator object", e.Key)
		}
		add, ok := accumulatorNamed(spec[0].Key)
		if !ok {
			return nil, refuse(15952, "unknown group operator '%s'", spec[0].Key)
		}
		x, err := compileExpr(spec[0].Value, names)
		if err != nil {
			return nil, err
		}
		list = append(list, groupField{e.Key, x, add})
	}
	return func(docs []bson.D) ([]bson.D, error) { return group(docs, id, list) }, nil
}

func group(docs []bson.D, id expression, list []groupField) ([]bson.D, error) {
	var order []bson.D
	places := map[string]int{}
	for _, d := range docs {
		s := newScope(d)
		key, err := id(s)
		if err != nil {
			return nil, err
		}
		if isMissing(key) {
			key = nil
		}
		i, ok := places[canonical(key)]
		if !ok {
			i = len(order)
			places[canonical(key)] = i
			g := bson.D{{Key: "_id", Value: key}}
			for _, f := range list {
				g = append(g, bson.E{Key: f.name, Value: missing{}})
			}
			order = append(order, g)
		}
		for j, f := range list {
			v, err := f.value(s)
			if err != nil {
				return nil, err
			}
			if order[i][j+1].Value, err = f.add(order[i][j+1].Value, v); err != nil {
				return nil, err
			}
		}
	}
	for _, g := range order {
		for j := range g {
			if isMissing(g[j].Value) {
				g[j].Value = nil
			}
		}
	}
	return order, nil
}
