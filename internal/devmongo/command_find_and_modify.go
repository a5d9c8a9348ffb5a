package devmongo

import "go.mongodb.org/mongo-driver/v2/bson"

// findAndModify updates one document and returns it, as it was before or, with new,
// as it is after the update.
func findAndModify(o *op) (bson.D, error) {
	ns, err := o.target()
	if err != nil {
		return nil, err
	}
	u := updateSpec{query: query{filter: o.a.document("query"), limit: 1}, change: o.a.value("update")}
	wantNew := o.a.boolean("new")
	if err := o.a.finish(); err != nil {
		return nil, err
	}
	if isMissing(u.change) {
		return nil, unsupported(codeFailedToParse, "findAndModify without an update")
	}
	result, err := o.once(0, func() (any, error) { return o.update(ns, u) })
	if err != nil {
		return nil, err
	}
	r := result.(*updated)
	value := any(nil)
	if wantNew && r.after != nil {
		value = r.after
	} else if !wantNew && r.before != nil {
		value = r.before
	}
	last := bson.D{{Key: "n", Value: r.n}, {Key: "updatedExisting", Value: r.n > 0}}
	return bson.D{{Key: "lastErrorObject", Value: last}, {Key: "value", Value: value}, {Key: "ok", Value: 1.0}}, nil
}
