package devmongo

import (
	"go.mongodb.org/mongo-driver/v2/bson"
)

func findAndModify(o *op) (bson.D, error) {
	ns, err := o.target()
	if err != nil {
		return nil, err
	}
	a := o.a
	u := updateSpec{query: query{filter: a.document("query"), sort: a.document("sort"), limit: 1, room: sortRoom(o.s.cfg.SortMemory)}, change: a.value("update"), upsert: a.boolean("upsert")}
	removes, wantNew := a.boolean("remove"), a.boolean("new")
	project, err := compileProjection(a.document("fields"))
	if err != nil {
		return nil, err
	}
	o.ordered()
	if err := a.finish(); err != nil {
		return nil, err
	}
	if removes != isMissing(u.change) || (removes && (u.upsert || wantNew)) {
		return nil, refuse(codeFailedToParse, "Either an update or remove=true must be specified, and remove takes neither upsert nor new")
	}
	result, err := o.once(0, func() (any, error) { return o.findAndModify(ns, u, removes) })
	if err != nil {
		return nil, err
	}
	return result.(*updated).modifyReply(removes, wantNew, project), nil
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

func (r *updated) modifyReply(removes, wantNew bool, project projection) bson.D {
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
		value = project(d)
	}
	return bson.D{{Key: "lastErrorObject", Value: last}, {Key: "value", Value: value}, {Key: "ok", Value: 1.0}}
}
