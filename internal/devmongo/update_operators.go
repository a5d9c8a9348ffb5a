package devmongo

import (
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func isModifier(name string) bool {
	return slices.Contains([]string{"$set", "$setOnInsert", "$unset", "$inc", "$min", "$max", "$currentDate", "$push", "$addToSet", "$pull", "$rename"}, name)
}

// compileModifier checks an operator's argument and makes what turns the old
// value, which may be missing, into the new one.
func compileModifier(m *modifier, now bson.DateTime) (func(any) (any, error), error) {
	arg := m.arg
	switch m.op {
	case "$set", "$setOnInsert":
		return func(any) (any, error) { return arg, nil }, nil
	case "$unset":
		return func(any) (any, error) { return missing{}, nil }, nil
	case "$inc":
		return compileInc(arg)
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
	case "$pull":
		return compilePull(arg)
	}
	return nil, m.checkRename()
}

func (m *modifier) checkRename() error {
	to, ok := m.arg.(string)
	if !ok {
		return refuse(codeBadValue, "The 'to' field for $rename must be a string")
	}
	if slices.Equal(splitPath(to), m.path) {
		return refuse(codeBadValue, "The source and target field for $rename must differ")
	}
	_, err := splitUpdatePath(to)
	return err
}

func compileInc(arg any) (func(any) (any, error), error) {
	if !isNumber(arg) {
		return nil, refuse(codeTypeMismatch, "Cannot increment with non-numeric argument")
	}
	return func(old any) (any, error) {
		switch {
		case isMissing(old):
			return arg, nil
		case !isNumber(old):
			return nil, refuse(codeTypeMismatch, "Cannot apply $inc to a value of non-numeric type %s", typeName(old))
		}
		return addNumbers(old, arg)
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
	add := bson.A{m.arg}
	if d, ok := isOperators(m.arg); ok {
		list, ok := field(d, "$each").(bson.A)
		if !ok || len(d) != 1 {
			return nil, refuse(codeBadValue, "devmongo has only $each, with an array, in %s", m.op)
		}
		add = list
	}
	return func(old any) (any, error) {
		list, ok := old.(bson.A)
		if !ok && !isMissing(old) {
			return nil, refuse(codeBadValue, "The field must be an array but is of type %s", typeName(old))
		}
		if m.op == "$addToSet" {
			return addToSet(list, add), nil
		}
		return append(append(bson.A{}, list...), add...), nil
	}, nil
}

// compilePull removes the elements that equal the argument or pass its
// operators.
func compilePull(arg any) (func(any) (any, error), error) {
	drop := predicate(func(d bson.D) (bool, error) { return compare(d[0].Value, arg) == 0, nil })
	if ops, ok := isOperators(arg); ok {
		p, err := compileField([]string{"v"}, ops)
		if err != nil {
			return nil, err
		}
		drop = p
	} else if _, ok := arg.(bson.D); ok {
		return nil, refuse(codeNotImplemented, "devmongo pulls values, not documents by their fields")
	}
	return func(old any) (any, error) {
		list, ok := old.(bson.A)
		if isMissing(old) {
			return old, nil
		} else if !ok {
			return nil, refuse(codeBadValue, "Cannot apply $pull to a non-array value")
		}
		out := bson.A{}
		for _, v := range list {
			gone, err := drop(bson.D{{Key: "v", Value: v}})
			if err != nil {
				return nil, err
			}
			if !gone {
				out = append(out, v)
			}
		}
		return out, nil
	}, nil
}
