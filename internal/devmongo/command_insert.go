package devmongo

import (
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func insert(o *op) (bson.D, error) {
	ns, err := o.target()
	if err != nil {
		return nil, err
	}
	docs, ordered := o.a.documents("documents"), o.ordered()
	if err := o.a.finish(); err != nil {
		return nil, err
	}
	c, err := o.writable(ns)
	if err != nil {
		return nil, err
	}
	n := int32(0)
	t, err := o.each(len(docs), ordered, func(i int) (any, error) { return nil, o.insertOne(c, docs[i]) }, func(int, any) { n++ })
	if err != nil {
		return nil, err
	}
	t.n = n
	return t.reply(), nil
}

// insertOne stores a new document with its _id as the first field.
func (o *op) insertOne(c *collection, d bson.D) error {
	d, err := withID(d)
	if err != nil {
		return err
	}
	raw, err := encode(d)
	if err != nil {
		return err
	}
	id := field(d, "_id")
	if c.byID[canonical(id)] != nil {
		return duplicate(c.ns, "_id_", bson.D{{Key: "_id", Value: int32(1)}}, []any{id})
	}
	return o.store(c, d, raw, &logEntry{kind: kindInsert})
}

// withID adds an _id if there is none, and moves it to the front.
func withID(d bson.D) (bson.D, error) {
	i := slices.IndexFunc(d, func(e bson.E) bool { return e.Key == "_id" })
	switch {
	case i < 0:
		return append(bson.D{{Key: "_id", Value: bson.NewObjectID()}}, d...), nil
	case i > 0:
		e := d[i]
		d = append(bson.D{e}, slices.Delete(slices.Clone(d), i, i+1)...)
	}
	return d, checkID(d[0].Value)
}

func checkID(id any) error {
	switch x := id.(type) {
	case bson.A, bson.Regex, bson.Undefined:
		return refuse(codeInvalidIDField, "The '_id' value cannot be of type %s", typeName(id))
	case bson.D:
		if _, bad := isOperators(x); bad {
			return refuse(codeDollarPrefixed, "_id fields may not contain '$'-prefixed fields: %s is not valid for storage.", x[0].Key)
		}
	}
	return nil
}
