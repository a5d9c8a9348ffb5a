package devmongo

import (
	"math"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// addNumbers adds as MongoDB does: the wider type wins, and a sum that does not
// fit 32 bits becomes 64. A date plus milliseconds is a date. Decimals are not
// added here.
func addNumbers(a, b any) (any, error) {
	if _, ok := a.(bson.DateTime); ok {
		a, b = b, a
	}
	x, okX := number(a)
	y, okY := number(b)
	if t, ok := b.(bson.DateTime); ok && okX {
		return t + bson.DateTime(x), nil
	}
	if !isNumber(a) || !isNumber(b) || typeName(a) == "decimal" || typeName(b) == "decimal" {
		return nil, refuse(codeTypeMismatch, "devmongo cannot add a value of type %s to one of type %s", typeName(b), typeName(a))
	}
	if typeName(a) == "double" || typeName(b) == "double" {
		return float(a) + float(b), nil
	}
	sum := x + y
	if !okX || !okY || (sum > x) != (y > 0) {
		return nil, refuse(codeBadValue, "the sum of %d and %d does not fit 64 bits", x, y)
	}
	if typeName(a) == "int" && typeName(b) == "int" && sum >= math.MinInt32 && sum <= math.MaxInt32 {
		return int32(sum), nil
	}
	return sum, nil
}
