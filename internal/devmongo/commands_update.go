package devmongo

import (
	"go.mongodb.org/mongo-driver/v2/bson"
)

// updated is what one update statement did.
type updated struct {
	n, modified int32
	upserted    any // the new _id, or missing
	before      bson.D
	after       bson.D
}

// updateSpec is one update, from update or findAndModify.
type updateSpec struct {
	query
	apply    updater
	replaces bool
	upsert   bool
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
	t := &tally{}
	done, err := o.each(len(list), ordered, func(i int) (any, error) { return o.updateStatement(ns, list[i]) }, func(i int, v any) {
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
	d := bson.D{{Key: "nModified", Value: t.modified}}
	if len(t.upserted) > 0 {
		d = append(d, bson.E{Key: "upserted", Value: t.upserted})
	}
	return append(d, t.reply()...), nil
}

func (o *op) updateStatement(ns namespace, d bson.D) (*updated, error) {
	a := newArgs("update.updates", d)
	u, multi := updateSpec{query: query{filter: a.document("q")}, upsert: a.boolean("upsert")}, a.boolean("multi")
	change := a.value("u")
	if err := o.statementHint(a, ns); err != nil {
		return nil, err
	}
	var err error
	if u.apply, u.replaces, err = compileUpdate(change, o.now(), o.s.variables()); err != nil {
		return nil, err
	}
	if u.replaces && multi {
		return nil, refuse(codeFailedToParse, "multi update is not supported for replacement-style update")
	}
	if !multi {
		u.limit = 1
	}
	return o.update(ns, u)
}

// statementHint takes a statement's hint and ends its reading.
func (o *op) statementHint(a *args, ns namespace) error {
	if hint := a.value("hint"); !isMissing(hint) {
		(&op{s: o.s, view: o.view, txn: o.txn, a: a}).acceptHint(ns)
	}
	return a.finish()
}

func (o *op) now() bson.DateTime { return bson.NewDateTimeFromTime(o.s.cfg.Now()) }

// update changes what the query finds, or inserts when it finds nothing and may.
func (o *op) update(ns namespace, u updateSpec) (*updated, error) {
	if err := o.mayWrite(ns); err != nil {
		return nil, err
	}
	c := o.lookup(ns)
	rows, err := u.run(c, o.s.variables())
	if err != nil {
		return nil, err
	}
	r := &updated{upserted: missing{}}
	if len(rows) == 0 && u.upsert {
		return r, o.upsert(ns, u, r)
	}
	for _, row := range rows {
		r.before = row.decoded()
		if r.after, err = o.change(c, row, u, r); err != nil {
			return nil, err
		}
		r.n++
	}
	return r, nil
}

func (o *op) change(c *collection, row *row, u updateSpec, r *updated) (bson.D, error) {
	before := row.decoded()
	after, diff, err := u.apply(before, false)
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

// upsert inserts a document made of the equalities in the filter and the update.
func (o *op) upsert(ns namespace, u updateSpec, r *updated) error {
	seed := &editor{doc: bson.D{}}
	for _, e := range equalities(u.filter) {
		if len(e.values) == 1 && (!u.replaces || e.path == "_id") {
			err := seed.edit(splitPath(e.path), true, false, func(any) (any, error) { return e.values[0], nil })
			if err != nil {
				return err
			}
		}
	}
	after, _, err := u.apply(seed.doc, true)
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

func remove(o *op) (bson.D, error) {
	ns, err := o.target()
	if err != nil {
		return nil, err
	}
	list, ordered := o.a.documents("deletes"), o.ordered()
	if err := o.a.finish(); err != nil {
		return nil, err
	}
	n := int32(0)
	t, err := o.each(len(list), ordered, func(i int) (any, error) { return o.deleteStatement(ns, list[i]) }, func(_ int, v any) { n += v.(int32) })
	if err != nil {
		return nil, err
	}
	t.n = n
	return t.reply(), nil
}

func (o *op) deleteStatement(ns namespace, d bson.D) (int32, error) {
	a := newArgs("delete.deletes", d)
	q := query{filter: a.document("q"), limit: a.integer("limit", -1)}
	if err := o.statementHint(a, ns); err != nil {
		return 0, err
	}
	if q.limit != 0 && q.limit != 1 {
		return 0, refuse(codeFailedToParse, "The limit field in delete objects must be 0 or 1. Got %d", q.limit)
	}
	rows, err := o.delete(ns, q)
	return int32(len(rows)), err
}

func (o *op) delete(ns namespace, q query) ([]*row, error) {
	if err := o.mayWrite(ns); err != nil {
		return nil, err
	}
	c := o.lookup(ns)
	rows, err := q.run(c, o.s.variables())
	if err != nil {
		return nil, err
	}
	for _, r := range rows {
		r.decoded()
		if err := o.erase(c, r); err != nil {
			return nil, err
		}
	}
	return rows, nil
}

func findAndModify(o *op) (bson.D, error) {
	ns, err := o.target()
	if err != nil {
		return nil, err
	}
	a := o.a
	u := updateSpec{query: query{filter: a.document("query"), sort: a.document("sort"), limit: 1}, upsert: a.boolean("upsert")}
	removes, wantNew, change := a.boolean("remove"), a.boolean("new"), a.value("update")
	project, err := compileProjection(a.document("fields"), o.s.variables())
	if err != nil {
		return nil, err
	}
	o.ordered()
	o.acceptHint(ns)
	if err := a.finish(); err != nil {
		return nil, err
	}
	if removes != isMissing(change) || (removes && (u.upsert || wantNew)) {
		return nil, refuse(codeFailedToParse, "Either an update or remove=true must be specified, and remove takes neither upsert nor new")
	}
	if !removes {
		if u.apply, u.replaces, err = compileUpdate(change, o.now(), o.s.variables()); err != nil {
			return nil, err
		}
	}
	result, err := o.once(0, func() (any, error) { return o.findAndModify(ns, u, removes) })
	if err != nil {
		return nil, err
	}
	return result.(*updated).modifyReply(removes, wantNew, project)
}

func (o *op) findAndModify(ns namespace, u updateSpec, removes bool) (*updated, error) {
	if !removes {
		return o.update(ns, u)
	}
	rows, err := o.delete(ns, u.query)
	r := &updated{n: int32(len(rows)), upserted: missing{}}
	if err == nil && len(rows) > 0 {
		r.before = rows[0].decoded()
	}
	return r, err
}

func (r *updated) modifyReply(removes, wantNew bool, project projection) (bson.D, error) {
	last := bson.D{{Key: "n", Value: r.n}}
	if !removes {
		last = append(last, bson.E{Key: "updatedExisting", Value: r.n > 0 && isMissing(r.upserted)})
	}
	if !isMissing(r.upserted) {
		last = append(last, bson.E{Key: "upserted", Value: r.upserted})
	}
	d := r.before
	if wantNew {
		d = r.after
	}
	value := any(d)
	if d == nil {
		value = nil
	} else if project != nil {
		projected, err := project(d)
		if err != nil {
			return nil, err
		}
		value = projected
	}
	return bson.D{{Key: "lastErrorObject", Value: last}, {Key: "value", Value: value}, {Key: "ok", Value: 1.0}}, nil
}
