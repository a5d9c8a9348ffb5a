package devmongo

import "go.mongodb.org/mongo-driver/v2/bson"

// kind is a BSON type: its alias, its number, and its rank in the order of all values.
// Sources: the pages "BSON Types" and "Comparison/Sort Order" of MongoDB's manual.
type kind struct {
	name string
	code int32
	rank int
}

// kinds are all kinds, indexed by kindOf.
var kinds = [...]kind{
	{"missing", 0, 0},
	{"double", 1, 10},
	{"string", 2, 15},
	{"object", 3, 20},
	{"array", 4, 25},
	{"binData", 5, 30},
	{"undefined", 6, 0},
	{"objectId", 7, 35},
	{"bool", 8, 40},
	{"date", 9, 45},
	{"null", 10, 5},
	{"regex", 11, 50},
	{"dbPointer", 12, 55},
	{"javascript", 13, 60},
	{"symbol", 14, 15},
	{"javascriptWithScope", 15, 65},
	{"int", 16, 10},
	{"timestamp", 17, 47},
	{"long", 18, 10},
	{"decimal", 19, 10},
	{"minKey", -1, -1},
	{"maxKey", 127, 127},
}

// kindOf returns the index of a value's kind. It panics for a Go value that decode does
// not produce, which is a bug in this package.
func kindOf(v any) int {
	switch v.(type) {
	case missing:
		return 0
	case float64:
		return 1
	case string:
		return 2
	case bson.D:
		return 3
	case bson.A:
		return 4
	case bson.Binary:
		return 5
	case bson.Undefined:
		return 6
	case bson.ObjectID:
		return 7
	case bool:
		return 8
	case bson.DateTime:
		return 9
	case nil:
		return 10
	case int32:
		return 16
	case bson.Timestamp:
		return 17
	case int64:
		return 18
	}
	return rareKindOf(v)
}

func rareKindOf(v any) int {
	switch v.(type) {
	case bson.Regex:
		return 11
	case bson.DBPointer:
		return 12
	case bson.JavaScript:
		return 13
	case bson.Symbol:
		return 14
	case bson.CodeWithScope:
		return 15
	case bson.Decimal128:
		return 19
	case bson.MinKey:
		return 20
	case bson.MaxKey:
		return 21
	}
	panic("devmongo: not a BSON value")
}

func rank(v any) int { return kinds[kindOf(v)].rank }

// typeName returns the alias of a value's type, or "missing".
func typeName(v any) string { return kinds[kindOf(v)].name }

func isNumber(v any) bool { return rank(v) == kinds[1].rank }
