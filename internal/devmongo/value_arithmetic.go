package devmongo

import "math"

// addNumbers adds as $inc does: the result has the wider type, and a sum that does not
// fit into 32 bits becomes a 64-bit integer. It does not add decimals.
func addNumbers(a, b any) (any, error) {
	if typeName(a) == "decimal" || typeName(b) == "decimal" {
		return nil, unsupported(codeNotImplemented, "$inc of a decimal")
	}
	if typeName(a) == "double" || typeName(b) == "double" {
		return float(a) + float(b), nil
	}
	x, _ := number(a)
	y, _ := number(b)
	sum := x + y
	if (sum > x) != (y > 0) {
		return nil, refuse(codeBadValue, "the sum of %d and %d does not fit into 64 bits", x, y)
	}
	if typeName(a) == "int" && typeName(b) == "int" && sum >= math.MinInt32 && sum <= math.MaxInt32 {
		return int32(sum), nil
	}
	return sum, nil
}
