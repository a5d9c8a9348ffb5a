package devmongo

import "go.mongodb.org/mongo-driver/v2/bson"

// compileGroup compiles the one form of $group that drivers use to count documents:
// {_id: <constant>, <name>: {$sum: 1}}.
func compileGroup(spec bson.D) (stage, error) {
	if len(spec) != 2 || spec[0].Key != "_id" || !isConstant(spec[0].Value) {
		return nil, unsupported(codeNotImplemented, "$group except {_id: 1, n: {$sum: 1}}")
	}
	sum, ok := isOperators(spec[1].Value)
	if !ok || len(sum) != 1 || sum[0].Key != "$sum" || compare(sum[0].Value, int32(1)) != 0 {
		return nil, unsupported(15952, "unknown group operator in '%s'", spec[1].Key)
	}
	return func(docs []bson.D) ([]bson.D, error) {
		if len(docs) == 0 {
			return nil, nil
		}
		return []bson.D{{{Key: "_id", Value: spec[0].Value}, {Key: spec[1].Key, Value: int32(len(docs))}}}, nil
	}, nil
}

// isConstant reports whether an expression is a null or a number.
func isConstant(v any) bool { return v == nil || isNumber(v) }
