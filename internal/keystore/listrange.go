package keystore

import (
	"math"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// typeClass is a group of BSON types in MongoDB's order of values, from the least to
// the greatest (the page "Comparison/Sort Order" of its manual). A sort orders values
// of all classes. A query compares values of one class only: {$lt: 7} finds no date.
type typeClass int

const (
	classMinKey typeClass = iota
	classUndefined
	classNull // and absent fields
	classNaN  // the least number for a sort, and less than no number for a query
	classNumber
	classString
	classObject
	classArray
	classBinary
	classObjectID
	classBoolean
	classDate
	classTimestamp
	classRegex
	classDBPointer
	classCode
	classScopedCode
	classMaxKey
	typeClasses // how many there are
)

// types returns the types of the class as aliases for $type. classNull has none: $type
// does not find absent fields. classNaN has none of its own. classArray has none: MongoDB
// sorts an array by one of its elements, and {$type: "array"} reads a whole index.
func (c typeClass) types() []string {
	return [typeClasses][]string{
		classMinKey: {"minKey"}, classUndefined: {"undefined"}, classNumber: {"number"}, classString: {"string", "symbol"},
		classObject: {"object"}, classBinary: {"binData"}, classObjectID: {"objectId"}, classBoolean: {"bool"},
		classDate: {"date"}, classTimestamp: {"timestamp"}, classRegex: {"regex"}, classDBPointer: {"dbPointer"},
		classCode: {"javascript"}, classScopedCode: {"javascriptWithScope"}, classMaxKey: {"maxKey"},
	}[c]
}

// isCompared reports whether $lt of a query compares values of the class as a sort does.
func (c typeClass) isCompared() bool {
	switch c {
	case classNumber, classString, classObject, classBinary, classObjectID, classBoolean, classDate, classTimestamp:
		return true
	default:
		return false
	}
}

// classOf expects a valid value.
func classOf(v bson.RawValue) typeClass {
	switch v.Type {
	case bson.TypeNull:
		return classNull
	case bson.TypeDouble:
		if math.IsNaN(v.Double()) {
			return classNaN
		}
		return classNumber
	case bson.TypeDecimal128:
		if v.Decimal128().IsNaN() {
			return classNaN
		}
		return classNumber
	case bson.TypeInt32, bson.TypeInt64:
		return classNumber
	case bson.TypeString, bson.TypeSymbol:
		return classString
	case bson.TypeEmbeddedDocument:
		return classObject
	case bson.TypeArray:
		return classArray
	case bson.TypeBinary:
		return classBinary
	case bson.TypeObjectID:
		return classObjectID
	case bson.TypeBoolean:
		return classBoolean
	case bson.TypeDateTime:
		return classDate
	case bson.TypeTimestamp:
		return classTimestamp
	}
	return rareClassOf(v.Type)
}

func rareClassOf(t bson.Type) typeClass {
	switch t {
	case bson.TypeMinKey:
		return classMinKey
	case bson.TypeRegex:
		return classRegex
	case bson.TypeDBPointer:
		return classDBPointer
	case bson.TypeJavaScript:
		return classCode
	case bson.TypeCodeWithScope:
		return classScopedCode
	case bson.TypeMaxKey:
		return classMaxKey
	default:
		return classUndefined
	}
}

// isPosition reports whether rangesBefore and sameAs find exactly what a sort has
// before, and beside, this value. They do not for an array, which is sorted by one of
// its elements and compared by each of them, nor for undefined, beside which an empty
// array is.
func isPosition(v bson.RawValue) bool {
	if v.Validate() != nil {
		return false
	}
	c := classOf(v)
	return c != classArray && c != classUndefined
}

// rangesBefore returns filters that together find the values of a field that a sort has
// before this one. Each filter is a range of an index, or several.
func rangesBefore(field string, v bson.RawValue) []bson.D {
	class := classOf(v)
	var ranges []bson.D
	switch {
	case class.isCompared():
		ranges = append(ranges, condition(field, "$lt", v))
	case len(class.types()) > 0:
		ranges = append(ranges, withinClass(field, "$lt", v))
	}
	if points := pointsBefore(class); len(points) > 0 {
		ranges = append(ranges, condition(field, "$in", points))
	}
	var types bson.A
	for lower := range class {
		for _, name := range lower.types() {
			types = append(types, name)
		}
	}
	if len(types) > 0 {
		ranges = append(ranges, condition(field, "$type", types))
	}
	return ranges
}

// pointsBefore returns the values before a class that $type does not find.
func pointsBefore(class typeClass) bson.A {
	var points bson.A
	if class > classUndefined {
		points = append(points, bson.A{}) // sorted like undefined
	}
	if class > classNull {
		points = append(points, nil)
	}
	if class == classNumber { // {$type: "number"} finds it for the others
		points = append(points, math.NaN())
	}
	return points
}

// sameAs returns a filter for the values of a field that a sort has beside this one.
func sameAs(field string, v bson.RawValue) bson.D {
	switch class := classOf(v); {
	case class == classNull:
		return bson.D{{Key: field, Value: nil}}
	case class == classNaN || class.isCompared():
		return condition(field, "$eq", v)
	default:
		return withinClass(field, "$eq", v)
	}
}

// withinClass compares values of a class that queries do not compare. An expression
// compares all, and uses no index: the type is what bounds the read.
func withinClass(field, operator string, v bson.RawValue) bson.D {
	exactly := bson.D{{Key: "$expr", Value: bson.D{{Key: operator, Value: bson.A{"$" + field, bson.D{{Key: "$literal", Value: v}}}}}}}
	return allOf(condition(field, "$type", classOf(v).types()), exactly)
}

func condition(field, operator string, value any) bson.D {
	return bson.D{{Key: field, Value: bson.D{{Key: operator, Value: value}}}}
}

// allOf returns a filter that meets all of these filters. Empty ones are left out.
func allOf(filters ...bson.D) bson.D {
	filters = slices.DeleteFunc(filters, func(f bson.D) bool { return len(f) == 0 })
	if len(filters) == 0 {
		return bson.D{}
	}
	return combined("$and", filters)
}

// anyOf returns a filter that meets one of these filters, of which there is at least one.
func anyOf(filters []bson.D) bson.D { return combined("$or", filters) }

func combined(operator string, filters []bson.D) bson.D {
	if len(filters) == 1 {
		return filters[0]
	}
	return bson.D{{Key: operator, Value: filters}}
}
