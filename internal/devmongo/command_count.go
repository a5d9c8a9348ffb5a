package devmongo

import (
	"go.mongodb.org/mongo-driver/v2/bson"
)

func count(o *op) (bson.D, error) {
	ns, err := o.target()
	if err != nil {
		return nil, err
	}
	q := query{filter: o.a.document("query"), skip: o.a.integer("skip", 0), limit: o.a.integer("limit", 0)}
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
