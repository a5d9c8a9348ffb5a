package devmongo

import (
	"encoding/hex"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func aggregate(o *op) (bson.D, error) {
	pipeline := o.a.array("pipeline")
	if isMissing(o.a.value("cursor")) {
		return nil, refuse(codeFailedToParse, "The 'cursor' option is required, except for aggregate with the explain argument")
	}
	batch, err := o.cursorOption()
	if err != nil {
		return nil, err
	}
	room := o.sortRoom()
	o.a.accept("bypassDocumentValidation")
	ns, whole := namespace{o.db, "$cmd.aggregate"}, true
	if _, isName := o.a.value(o.name).(string); isName {
		if ns, err = o.target(); err != nil {
			return nil, err
		}
		whole = false
	}
	if err := o.a.finish(); err != nil {
		return nil, err
	}
	if len(pipeline) > 0 {
		if first, ok := pipeline[0].(bson.D); ok && len(first) == 1 && first[0].Key == "$changeStream" {
			return o.openStream(ns, first[0].Value, pipeline[1:], batch)
		}
	}
	if whole {
		return nil, refuse(codeInvalidNamespace, "{aggregate: 1} is not valid without $changeStream; a collection is required.")
	}
	return o.aggregate(ns, pipeline, batch, room)
}

func (o *op) aggregate(ns namespace, pipeline bson.A, batch int64, room sortRoom) (bson.D, error) {
	out, pipeline, err := cutOut(ns, pipeline)
	if err != nil {
		return nil, err
	}
	q, rest := query{}, pipeline
	if len(pipeline) > 0 { // a first $match can use an index
		if first, ok := pipeline[0].(bson.D); ok && len(first) == 1 && first[0].Key == "$match" {
			if filter, ok := first[0].Value.(bson.D); ok {
				q.filter, rest = filter, pipeline[1:]
			}
		}
	}
	stages, err := compileStages(rest, o.s.variables(), func(string) error { return nil })
	if err != nil {
		return nil, err
	}
	rows, err := q.run(o.lookup(ns), o.s.variables())
	if err != nil {
		return nil, err
	}
	if sorts(rest) {
		if err := room.check(rows); err != nil {
			return nil, err
		}
	}
	docs := make([]bson.D, len(rows))
	for i, r := range rows {
		docs[i] = r.decoded()
	}
	if docs, err = runStages(stages, docs); err != nil {
		return nil, err
	}
	if out != (namespace{}) {
		return o.writeOut(ns, out, docs)
	}
	raws := make([]bson.Raw, len(docs))
	for i, d := range docs {
		if raws[i], err = encode(d); err != nil {
			return nil, err
		}
	}
	return o.openCursor(ns, raws, batch, false), nil
}

// sorts reports whether a pipeline has a $sort, for which no index is used here.
func sorts(pipeline bson.A) bool {
	return slices.ContainsFunc(pipeline, func(stage any) bool {
		d, _ := stage.(bson.D)
		return len(d) > 0 && d[0].Key == "$sort"
	})
}

// cutOut takes a last $out off the pipeline.
func cutOut(ns namespace, pipeline bson.A) (namespace, bson.A, error) {
	if len(pipeline) == 0 {
		return namespace{}, pipeline, nil
	}
	last, _ := pipeline[len(pipeline)-1].(bson.D)
	if len(last) != 1 || last[0].Key != "$out" {
		return namespace{}, pipeline, nil
	}
	db, coll := ns.db, last[0].Value
	if d, ok := coll.(bson.D); ok {
		a := newArgs("$out", d)
		db, coll = a.str("db"), a.str("coll")
		if err := a.finish(); err != nil {
			return namespace{}, nil, err
		}
	}
	name, ok := coll.(string)
	if !ok {
		return namespace{}, nil, refuse(16990, "$out only supports a string or object argument, but found %s", typeName(coll))
	}
	out, err := checkNamespace(db, name)
	return out, pipeline[:len(pipeline)-1], err
}

// writeOut replaces a collection: the documents go into a temporary one, which
// is then renamed onto it with its indexes.
func (o *op) writeOut(ns, out namespace, docs []bson.D) (bson.D, error) {
	if o.txn != nil {
		return nil, refuse(codeTxnNotSupported, "$out is not allowed in a transaction")
	}
	if err := o.mayWrite(out); err != nil {
		return nil, err
	}
	id := newUUID()
	temporary := namespace{out.db, "tmp.agg_out." + hex.EncodeToString(id[:])}
	c := o.s.makeCollection(temporary, nil)
	if old := o.s.applied.collections[out]; old != nil {
		for _, x := range old.indexes {
			copied := *x
			_ = c.addIndex(&copied) // it is still empty
		}
	}
	for _, d := range docs {
		if err := o.insertOne(c, d); err != nil {
			o.s.dropCollection(c)
			return nil, err
		}
	}
	if err := o.s.rename(temporary, out, true); err != nil {
		return nil, err
	}
	return o.openCursor(ns, nil, defaultBatch, false), nil
}
