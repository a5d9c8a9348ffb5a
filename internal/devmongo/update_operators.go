package devmongo

import (
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func isModifier(name string) bool {
	return slices.Contains([]string{"$set", "$unset", "$inc", "$max", "$currentDate", "$pull"}, name)
}

// compileModifier checks the argument of an operator and returns the function that
// computes the new value from the old one, which may be missing.
func compileModifier(m *modifier, now bson.DateTime) (func(any) (any, error), error) {
	arg := m.arg
	switch m.op {
	case "$set":
		return func(any) (any, error) { return arg, nil }, nil
	case "$unset":
		return func(any) (any, error) { return missing{}, nil }, nil
	case "$inc":
		return compileInc(arg)
	case "$max":
		return func(old any) (any, error) {
			if isMissing(old) || compare(arg, old) > 0 {
				return arg, nil
			}
			return old, nil
		}, nil
	case "$currentDate":
		if arg != true {
			return nil, unsupported(codeBadValue, "$currentDate with another argument than true")
		}
		return func(any) (any, error) { return now, nil }, nil
	}
	return compilePull(arg)
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

// compilePull removes the elements that equal the argument.
func compilePull(arg any) (func(any) (any, error), error) {
	if _, ok := arg.(bson.D); ok {
		return nil, unsupported(codeBadValue, "$pull with a condition")
	}
	return func(old any) (any, error) {
		list, ok := old.(bson.A)
		if isMissing(old) {
			return old, nil
		} else if !ok {
			return nil, refuse(codeBadValue, "Cannot apply $pull to a non-array value")
		}
		return slices.DeleteFunc(slices.Clone(list), func(v any) bool { return compare(v, arg) == 0 }), nil
	}, nil
}
