package devmongo

import (
	"go.mongodb.org/mongo-driver/v2/bson"
)

// updated is the result of one update statement.
type updated struct {
	n, modified int32
	upserted    any // the new _id, or missing
	before      bson.D
	after       bson.D
}

// updateSpec is one update statement of update or findAndModify.
type updateSpec struct {
	query
	change any
	upsert bool
}

func update(o *op) (bson.D, error) {
	ns, err := o.target()
	if err != nil {
		return nil, err
	}
	list, ordered := o.a.documents("updates"), o.ordered()
	if err := o.a.finish(); err != nil {
		return nil, err
	}
	specs := make([]updateSpec, len(list))
	for i, d := range list {
		if specs[i], err = readUpdate(d); err != nil {
			return nil, err
		}
	}
	t := &tally{}
	done, err := o.each(len(list), ordered, func(i int) (any, error) { return o.update(ns, specs[i]) }, func(i int, v any) {
		r := v.(*updated)
		t.n, t.modified = t.n+r.n, t.modified+r.modified
		if !isMissing(r.upserted) {
			t.upserted = append(t.upserted, bson.D{{Key: "index", Value: int32(i)}, {Key: "_id", Value: r.upserted}})
		}
	})
	if err != nil {
		return nil, err
	}
	t.failed = done.failed
	d := t.reply()
	rest := append(bson.D{{Key: "nModified", Value: t.modified}}, d[1:]...)
	if d = d[:1:1]; len(t.upserted) > 0 {
		d = append(d, bson.E{Key: "upserted", Value: t.upserted})
	}
	return append(d, rest...), nil
}

func readUpdate(d bson.D) (updateSpec, error) {
	a := newArgs("update.updates", d)
	u := updateSpec{query: query{filter: a.required("q"), limit: 1}, change: a.value("u"), upsert: a.boolean("upsert")}
	if a.boolean("multi") {
		u.limit = 0
	}
	return u, a.finish()
}

func (o *op) now() bson.DateTime { return bson.NewDateTimeFromTime(o.s.wallNow()) }

// update changes the documents that the query finds. With upsert it inserts one if
// there are none.
func (o *op) update(ns namespace, u updateSpec) (*updated, error) {
	if err := o.mayWrite(ns); err != nil {
		return nil, err
	}
	apply, replaces, err := compileUpdate(u.change, o.now())
	if err != nil {
		return nil, err
	}
	if replaces && u.limit == 0 {
		return nil, refuse(codeFailedToParse, "multi update is not supported for replacement-style update")
	}
	c := o.lookup(ns)
	rows, err := u.run(c)
	if err != nil {
		return nil, err
	}
	r := &updated{upserted: missing{}}
	if len(rows) == 0 && u.upsert {
		return r, o.upsert(ns, u.filter, apply, replaces, r)
	}
	for _, row := range rows {
		r.before = row.decoded()
		if r.after, err = o.change(c, row, apply, r); err != nil {
			return nil, err
		}
		r.n++
	}
	return r, nil
}

func (o *op) change(c *collection, row *row, apply updater, r *updated) (bson.D, error) {
	before := row.decoded()
	after, diff, err := apply(before)
	if err != nil {
		return nil, err
	}
	if compare(field(before, "_id"), field(after, "_id")) != 0 {
		return nil, refuse(codeImmutableField, "Performing an update on the path '_id' would modify the immutable field '_id'")
	}
	if after, err = withID(after); err != nil {
		return nil, err
	}
	raw, err := encode(after)
	if err != nil {
		return nil, err
	}
	if string(raw) == string(row.raw) {
		return after, nil // no change, no event
	}
	e := &logEntry{kind: kindReplace}
	if diff != nil && !diff.empty() {
		e.kind, e.diff = kindUpdate, diff
	}
	r.modified++
	return after, o.store(c, after, raw, e)
}

// upsert inserts a document with the equalities of the filter, changed by the update.
func (o *op) upsert(ns namespace, filter bson.D, apply updater, replaces bool, r *updated) error {
	seed := &editor{doc: bson.D{}}
	for _, e := range equalities(filter) {
		if len(e.values) == 1 && (!replaces || e.path == "_id") {
			err := seed.edit(splitPath(e.path), true, func(any) (any, error) { return e.values[0], nil })
			if err != nil {
				return err
			}
		}
	}
	after, _, err := apply(seed.doc)
	if err != nil {
		return err
	}
	if id := field(seed.doc, "_id"); !isMissing(id) && compare(id, field(after, "_id")) != 0 {
		return refuse(codeImmutableField, "Performing an update on the path '_id' would modify the immutable field '_id'")
	}
	c, err := o.writable(ns)
	if err != nil {
		return err
	}
	if after, err = withID(after); err != nil {
		return err
	}
	r.n, r.upserted, r.after = 1, field(after, "_id"), after
	return o.insertOne(c, after)
}
