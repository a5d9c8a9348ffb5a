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
	q := query{filter: a.document("filter"), sort: a.document("sort"), limit: a.integer("limit", 0), memory: o.sortMemory()}
	projection, batch, single := a.document("projection"), a.integer("batchSize", defaultBatch), a.boolean("singleBatch")
	hint := a.value("hint")
	if err := a.finish(); err != nil {
		return nil, err
	}
	// A hint does not change the result.
	if !isMissing(hint) && !reflect.DeepEqual(hint, bson.D{{Key: "_id", Value: int32(1)}}) {
		return nil, unsupported(codeBadValue, "a hint other than {_id: 1}")
	}
	if q.limit < 0 || batch < 0 {
		return nil, refuse(51024, "BSON field 'limit' or 'batchSize' value must be >= 0")
	}
	project, err := compileProjection(projection)
	if err != nil {
		return nil, err
	}
	rows, err := q.run(o.lookup(ns))
	if err != nil {
		return nil, err
	}
	docs, err := project.raws(rows)
	if err != nil {
		return nil, err
	}
	return o.openCursor(ns, docs, batch, single), nil
}
