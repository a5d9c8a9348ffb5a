package devmongo

import (
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func isModifier(name string) bool {
	return slices.Contains([]string{"$set", "$setOnInsert", "$unset", "$inc", "$mul", "$min", "$max", "$currentDate", "$push", "$addToSet", "$pull", "$pullAll", "$pop", "$rename"}, name)
}

// compileModifier checks an operator's argument and makes what turns the old
// value, which may be missing, into the new one.
func compileModifier(m *modifier, now bson.DateTime, names names) (func(any) (any, error), error) {
	arg := m.arg
	switch m.op {
	case "$set", "$setOnInsert":
		return func(any) (any, error) { return arg, nil }, nil
	case "$unset":
		return func(any) (any, error) { return missing{}, nil }, nil
	case "$inc", "$mul":
		return compileArithmetic(m)
	case "$min", "$max":
		return func(old any) (any, error) {
			if c := compare(arg, old); isMissing(old) || (m.op == "$min" && c < 0) || (m.op == "$max" && c > 0) {
				return arg, nil
			}
			return old, nil
		}, nil
	case "$currentDate":
		return compileCurrentDate(arg, now)
	case "$push", "$addToSet":
		return compileAppend(m)
	case "$rename":
		to, ok := arg.(string)
		if !ok {
			return nil, refuse(codeBadValue, "The 'to' field for $rename must be a string")
		}
		if slices.Equal(splitPath(to), m.path) {
			return nil, refuse(codeBadValue, "The source and target field for $rename must differ")
		}
		_, err := splitUpdatePath(to)
		return nil, err
	}
	return compileRemoval(m, names)
}

func compileArithmetic(m *modifier) (func(any) (any, error), error) {
	if rank(m.arg) != rank(int32(0)) {
		return nil, refuse(codeTypeMismatch, "Cannot %s with non-numeric argument", m.op[1:])
	}
	return func(old any) (any, error) {
		switch {
		case isMissing(old) && m.op == "$inc":
			return m.arg, nil
		case isMissing(old):
			return multiplyNumbers(m.arg, int32(0))
		case rank(old) != rank(int32(0)):
			return nil, refuse(codeTypeMismatch, "Cannot apply %s to a value of non-numeric type %s", m.op, typeName(old))
		case m.op == "$inc":
			return addNumbers(old, m.arg)
		}
		return multiplyNumbers(old, m.arg)
	}, nil
}

// compileCurrentDate makes dates; a timestamp is the same moment with the
// increment 1, since the log's own time is not yet known.
func compileCurrentDate(arg any, now bson.DateTime) (func(any) (any, error), error) {
	kind := any("date")
	switch x := arg.(type) {
	case bool:
	case bson.D:
		if kind = field(x, "$type"); len(x) != 1 || (kind != "date" && kind != "timestamp") {
			return nil, refuse(codeBadValue, "The '$type' string field is required to be 'date' or 'timestamp'")
		}
	default:
		return nil, refuse(codeBadValue, "%s is not valid type for $currentDate. Please use a boolean ('true') or a $type expression", typeName(arg))
	}
	return func(any) (any, error) {
		if kind == "timestamp" {
			return bson.Timestamp{T: uint32(now / 1000), I: 1}, nil
		}
		return now, nil
	}, nil
}

func compileAppend(m *modifier) (func(any) (any, error), error) {
	add, position, slice := bson.A{m.arg}, int64(1<<40), int64(1<<40)
	if d, ok := isOperators(m.arg); ok {
		a := newArgs(m.op, d)
		add = a.array("$each")
		if m.op == "$push" {
			position, slice = a.integer("$position", position), a.integer("$slice", slice)
		}
		if err := a.finish(); err != nil {
			return nil, refuse(codeBadValue, "%s", asError(err).Message)
		}
		if position < 0 || slice < -1<<40 {
			return nil, refuse(codeNotImplemented, "devmongo has no negative $position")
		}
	}
	return func(old any) (any, error) {
		list, ok := old.(bson.A)
		if !ok && !isMissing(old) {
			return nil, refuse(codeBadValue, "The field must be an array but is of type %s", typeName(old))
		}
		if m.op == "$addToSet" {
			return addToSet(list, add), nil
		}
		return cutSlice(slices.Insert(append(bson.A{}, list...), int(min(position, int64(len(list)))), add...), slice), nil
	}, nil
}

func addToSet(list, add bson.A) bson.A {
	out := append(bson.A{}, list...)
	for _, v := range add {
		if !contains(out, v) {
			out = append(out, v)
		}
	}
	return out
}

func cutSlice(a bson.A, n int64) bson.A {
	switch {
	case n >= 0 && n < int64(len(a)):
		return a[:n]
	case n < 0 && -n < int64(len(a)):
		return a[int64(len(a))+n:]
	}
	return a
}

// compileRemoval reads $pull, $pullAll and $pop.
func compileRemoval(m *modifier, names names) (func(any) (any, error), error) {
	var drop func(any) (bool, error)
	switch m.op {
	case "$pull":
		if cond, ok := m.arg.(bson.D); ok {
			p, err := compileElement(cond, names)
			if err != nil {
				return nil, err
			}
			drop = p
		} else {
			drop = func(v any) (bool, error) { return compare(v, m.arg) == 0, nil }
		}
	case "$pullAll":
		list, ok := m.arg.(bson.A)
		if !ok {
			return nil, refuse(codeBadValue, "$pullAll requires an array argument but was given a %s", typeName(m.arg))
		}
		drop = func(v any) (bool, error) { return contains(list, v), nil }
	default:
		if n, ok := number(m.arg); !ok || (n != 1 && n != -1) {
			return nil, refuse(codeFailedToParse, "$pop expects 1 or -1")
		}
	}
	return func(old any) (any, error) { return removeElements(m, old, drop) }, nil
}

func removeElements(m *modifier, old any, drop func(any) (bool, error)) (any, error) {
	list, ok := old.(bson.A)
	switch {
	case isMissing(old) || (ok && len(list) == 0):
		return old, nil
	case !ok:
		return nil, refuse(codeBadValue, "Cannot apply %s to a non-array value", m.op)
	case drop == nil && compare(m.arg, int32(1)) == 0:
		return list[:len(list)-1], nil
	case drop == nil:
		return list[1:], nil
	}
	out := bson.A{}
	for _, v := range list {
		gone, err := drop(v)
		if err != nil {
			return nil, err
		}
		if !gone {
			out = append(out, v)
		}
	}
	return out, nil
}
