package devmongo

import (
	"reflect"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func find(o *op) (bson.D, error) {
	ns, err := o.target()
	if err != nil {
		return nil, err
	}
	a := o.a
	q := query{filter: a.document("filter"), sort: a.document("sort"), skip: a.integer("skip", 0), limit: a.integer("limit", 0), room: o.sortRoom()}
	projection, batch, single := a.document("projection"), a.integer("batchSize", defaultBatch), a.boolean("singleBatch")
	hint := a.value("hint")
	a.accept("noCursorTimeout", "allowPartialResults")
	if err := a.finish(); err != nil {
		return nil, err
	}
	// It is a hint: it changes nothing about what is found.
	if !isMissing(hint) && !reflect.DeepEqual(hint, bson.D{{Key: "_id", Value: int32(1)}}) {
		return nil, refuse(2, "devmongo takes the hint {_id: 1} and no other")
	}
	if q.skip < 0 || q.limit < 0 || batch < 0 {
		return nil, refuse(51024, "BSON field 'skip', 'limit' or 'batchSize' value must be >= 0")
	}
	project, err := compileProjection(projection)
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
