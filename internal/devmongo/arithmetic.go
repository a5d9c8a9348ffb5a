package devmongo

import (
	"math"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// addNumbers adds as MongoDB does: the wider type wins, and a sum that does not
// fit 32 bits becomes 64. A date plus milliseconds is a date. Decimals are not
// added here.
func addNumbers(a, b any) (any, error) {
	if t, ok := a.(bson.DateTime); ok {
		a, b = b, t
	}
	if t, ok := b.(bson.DateTime); ok {
		ms, ok := number(a)
		if !ok {
			return nil, refuse(codeTypeMismatch, "only numbers can be added to a date, not %s", typeName(a))
		}
		return t + bson.DateTime(ms), nil
	}
	return combine(a, b, func(x, y int64) (int64, bool) {
		sum := x + y
		return sum, (sum > x) == (y > 0)
	}, func(x, y float64) float64 { return x + y })
}

func multiplyNumbers(a, b any) (any, error) {
	return combine(a, b, func(x, y int64) (int64, bool) {
		if x == 0 || y == 0 {
			return 0, true
		}
		p := x * y
		return p, p/y == x && (x != math.MinInt64 || y != -1) && (y != math.MinInt64 || x != -1)
	}, func(x, y float64) float64 { return x * y })
}

func combine(a, b any, whole func(x, y int64) (int64, bool), real func(x, y float64) float64) (any, error) {
	for _, v := range []any{a, b} {
		switch v.(type) {
		case int32, int64, float64:
		case bson.Decimal128:
			return nil, refuse(codeNotImplemented, "devmongo does not calculate with decimals")
		default:
			return nil, refuse(codeTypeMismatch, "cannot calculate with a value of type %s", typeName(v))
		}
	}
	_, floatA := a.(float64)
	_, floatB := b.(float64)
	if floatA || floatB {
		return real(float(a), float(b)), nil
	}
	x, _ := number(a)
	y, _ := number(b)
	r, fits := whole(x, y)
	if !fits {
		return nil, refuse(codeBadValue, "Failed to apply an arithmetic operation to (%s) values %d and %d: the result does not fit 64 bits", typeName(a), x, y)
	}
	_, smallA := a.(int32)
	_, smallB := b.(int32)
	if smallA && smallB && r >= math.MinInt32 && r <= math.MaxInt32 {
		return int32(r), nil
	}
	return r, nil
}
