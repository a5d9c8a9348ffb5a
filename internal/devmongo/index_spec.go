package devmongo

import (
	"fmt"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func compileIndex(spec bson.D) (*index, error) {
	a := newArgs("createIndexes.indexes", spec)
	x := &index{name: a.str("name"), key: a.document("key"), unique: a.boolean("unique"), sparse: a.boolean("sparse")}
	x.expireAfter, x.partial = a.integer("expireAfterSeconds", -1), a.document("partialFilterExpression")
	if err := a.finish(); err != nil {
		e := *asError(err)
		if e.Code == codeUnknownField {
			e.Code = 197 // InvalidIndexSpecificationOption
		}
		return nil, &e
	}
	if err := x.checkKey(); err != nil {
		return nil, err
	}
	if err := x.compilePartial(); err != nil {
		return nil, err
	}
	x.spec = x.describe()
	return x, nil
}

func (x *index) checkKey() error {
	if len(x.key) == 0 {
		return refuse(codeCannotCreateIndex, "Index keys cannot be an empty object.")
	}
	var name []string
	for _, e := range x.key {
		n, ok := number(e.Value)
		if !ok || n == 0 || strings.Contains(e.Key, "$") || e.Key == "" {
			return unsupported(codeCannotCreateIndex, "index type '%s: %v'", e.Key, e.Value)
		}
		name = append(name, fmt.Sprintf("%s_%d", e.Key, n))
	}
	if x.name == "" {
		x.name = strings.Join(name, "_")
	}
	if x.expireAfter >= 0 && len(x.key) > 1 {
		return refuse(codeCannotCreateIndex, "TTL indexes are single-field indexes, compound indexes do not support TTL.")
	}
	return nil
}

// compilePartial supports filters of $exists alone.
func (x *index) compilePartial() error {
	for _, e := range x.partial {
		if ops, ok := isOperators(e.Value); !ok || len(ops) != 1 || ops[0].Key != "$exists" || !isTrue(ops[0].Value) {
			return unsupported(codeCannotCreateIndex, "a partial index with another filter than {field: {$exists: true}}")
		}
	}
	if x.sparse && x.partial != nil {
		return refuse(codeCannotCreateIndex, "cannot mix \"partialFilterExpression\" and \"sparse\" options")
	}
	var err error
	x.partialFilter, err = compileFilter(x.partial)
	return err
}

// describe returns the index as listIndexes shows it.
func (x *index) describe() bson.D {
	d := bson.D{{Key: "v", Value: int32(2)}, {Key: "key", Value: x.key}, {Key: "name", Value: x.name}}
	if x.unique {
		d = append(d, bson.E{Key: "unique", Value: true})
	}
	if x.sparse {
		d = append(d, bson.E{Key: "sparse", Value: true})
	}
	if x.partial != nil {
		d = append(d, bson.E{Key: "partialFilterExpression", Value: x.partial})
	}
	if x.expireAfter >= 0 {
		d = append(d, bson.E{Key: "expireAfterSeconds", Value: int32(min(x.expireAfter, 1<<31-1))})
	}
	return d
}
