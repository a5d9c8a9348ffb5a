package devmongo

import (
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// maxStatements is MongoDB's maxWriteBatchSize.
const maxStatements = 100_000

// tally adds up what the statements of one command did.
type tally struct {
	n, modified int32
	upserted    bson.A
	failed      bson.A
}

// each runs the statements in order; an ordered command stops at the first that
// fails.
func (o *op) each(count int, ordered bool, run func(i int) (any, error), add func(i int, result any)) (*tally, error) {
	t := &tally{}
	if count == 0 || count > maxStatements {
		return nil, refuse(codeInvalidLength, "Write batch sizes must be between 1 and %d. Got %d operations.", maxStatements, count)
	}
	for i := range count {
		result, err := o.once(i, func() (any, error) { return run(i) })
		if err == nil {
			add(i, result)
			continue
		}
		e := asError(err)
		if e.Code == codeNotWritablePrimary || o.txn != nil {
			return nil, e // of the whole command, not of one statement
		}
		failed := bson.D{{Key: "index", Value: int32(i)}, {Key: "code", Value: e.Code}}
		failed = append(append(failed, e.Extra...), bson.E{Key: "errmsg", Value: e.Message})
		if t.failed = append(t.failed, failed); ordered {
			break
		}
	}
	return t, nil
}

// ordered reads what all write commands share.
func (o *op) ordered() bool {
	o.a.accept("bypassDocumentValidation", "stmtId", "stmtIds")
	v := o.a.value("ordered")
	return isMissing(v) || truthy(v)
}

func (t *tally) reply() bson.D {
	d := bson.D{{Key: "n", Value: t.n}}
	if len(t.failed) > 0 {
		d = append(d, bson.E{Key: "writeErrors", Value: t.failed})
	}
	return append(d, bson.E{Key: "ok", Value: 1.0})
}

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

// insertOne stores a new document, its _id first.
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

// withID makes an _id where there is none, and moves it to the front.
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
