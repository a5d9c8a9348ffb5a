package devmongo

import (
	"go.mongodb.org/mongo-driver/v2/bson"
)

// row is a document that a query has found; d is nil while nobody had to look
// inside.
type row struct {
	doc *document
	raw bson.Raw
	d   bson.D
}

func (r *row) decoded() bson.D {
	if r.d == nil {
		r.d, _ = decode(r.raw)
	}
	return r.d
}

// query is what find, count, update, delete and findAndModify select by.
type query struct {
	filter      bson.D
	sort        bson.D
	skip, limit int64
}

// run selects from a collection, which may be nil.
func (q query) run(c *collection, names names) ([]*row, error) {
	match, err := compileFilter(q.filter, names)
	if err != nil {
		return nil, err
	}
	order, err := compileSort(q.sort)
	if err != nil || c == nil {
		return nil, err
	}
	var rows []*row
	for _, doc := range c.candidates(q.filter) {
		if doc.dead {
			continue
		}
		if q.limit > 0 && len(q.sort) == 0 && int64(len(rows)) >= q.skip+q.limit {
			break
		}
		r := &row{doc: doc, raw: doc.raw}
		if len(q.filter) > 0 {
			if ok, err := match(r.decoded()); err != nil {
				return nil, err
			} else if !ok {
				continue
			}
		}
		rows = append(rows, r)
	}
	order(rows)
	return window(rows, q.skip, q.limit), nil
}

// window cuts skip and limit; a limit of zero is none.
func window[T any](list []T, skip, limit int64) []T {
	list = list[min(skip, int64(len(list))):]
	if limit > 0 {
		list = list[:min(limit, int64(len(list)))]
	}
	return list
}

func find(o *op) (bson.D, error) {
	ns, err := o.target()
	if err != nil {
		return nil, err
	}
	a := o.a
	q := query{filter: a.document("filter"), sort: a.document("sort"), skip: a.integer("skip", 0), limit: a.integer("limit", 0)}
	projection, batch, single := a.document("projection"), a.integer("batchSize", defaultBatch), a.boolean("singleBatch")
	a.accept("noCursorTimeout", "allowDiskUse", "allowPartialResults")
	o.acceptHint(ns)
	if err := a.finish(); err != nil {
		return nil, err
	}
	if q.skip < 0 || q.limit < 0 || batch < 0 {
		return nil, refuse(51024, "BSON field 'skip', 'limit' or 'batchSize' value must be >= 0")
	}
	project, err := compileProjection(projection, o.s.variables())
	if err != nil {
		return nil, err
	}
	rows, err := q.run(o.lookup(ns), o.s.variables())
	if err != nil {
		return nil, err
	}
	docs, err := project.raws(rows)
	if err != nil {
		return nil, err
	}
	return o.openCursor(ns, docs, batch, single), nil
}

// acceptHint takes a hint that names an index which exists; what an index finds
// is the same as what a scan finds.
func (o *op) acceptHint(ns namespace) {
	hint := o.a.value("hint")
	if isMissing(hint) || o.a.err != nil {
		return
	}
	if d, ok := hint.(bson.D); ok && len(d) == 0 {
		return
	}
	if compare(hint, "_id_") == 0 || compare(hint, bson.D{{Key: "_id", Value: 1}}) == 0 {
		return
	}
	if c := o.lookup(ns); c != nil {
		for _, x := range c.indexes {
			if compare(hint, x.name) == 0 || compare(hint, x.key) == 0 {
				return
			}
		}
	}
	o.a.err = refuse(codeBadValue, "hint provided does not correspond to an existing index")
}

func count(o *op) (bson.D, error) {
	ns, err := o.target()
	if err != nil {
		return nil, err
	}
	q := query{filter: o.a.document("query"), skip: o.a.integer("skip", 0), limit: o.a.integer("limit", 0)}
	o.acceptHint(ns)
	if err := o.a.finish(); err != nil {
		return nil, err
	}
	if q.skip < 0 {
		return nil, refuse(51024, "BSON field 'skip' value must be >= 0")
	}
	q.limit = max(q.limit, -q.limit)
	rows, err := q.run(o.lookup(ns), o.s.variables())
	return bson.D{{Key: "n", Value: int32(len(rows))}, {Key: "ok", Value: 1.0}}, err
}

func distinct(o *op) (bson.D, error) {
	ns, err := o.target()
	if err != nil {
		return nil, err
	}
	key, q := o.a.str("key"), query{filter: o.a.document("query")}
	if err := o.a.finish(); err != nil {
		return nil, err
	}
	rows, err := q.run(o.lookup(ns), o.s.variables())
	if err != nil {
		return nil, err
	}
	path, out, seen := splitPath(key), bson.A{}, map[string]bool{}
	for _, r := range rows {
		values, _, present := indexValues(r.decoded(), path)
		for _, v := range values {
			if k := canonical(v); present && !isMissing(v) && !seen[k] {
				seen[k], out = true, append(out, v)
			}
		}
	}
	return bson.D{{Key: "values", Value: out}, {Key: "ok", Value: 1.0}}, nil
}
