package devmongo

import (
	"go.mongodb.org/mongo-driver/v2/bson"
)

func remove(o *op) (bson.D, error) {
	ns, err := o.target()
	if err != nil {
		return nil, err
	}
	list, ordered := o.a.documents("deletes"), o.ordered()
	if err := o.a.finish(); err != nil {
		return nil, err
	}
	queries := make([]query, len(list))
	for i, d := range list {
		if queries[i], err = readDelete(d); err != nil {
			return nil, err
		}
	}
	n := int32(0)
	t, err := o.each(len(list), ordered, func(i int) (any, error) {
		rows, err := o.delete(ns, queries[i])
		return int32(len(rows)), err
	}, func(_ int, v any) { n += v.(int32) })
	if err != nil {
		return nil, err
	}
	t.n = n
	return t.reply(), nil
}

func readDelete(d bson.D) (query, error) {
	a := newArgs("delete.deletes", d)
	q := query{filter: a.required("q"), limit: a.integer("limit", -1)}
	if q.limit != 0 && q.limit != 1 && a.err == nil {
		return q, refuse(codeFailedToParse, "The limit field in delete objects must be 0 or 1. Got %d", q.limit)
	}
	return q, a.finish()
}

func (o *op) delete(ns namespace, q query) ([]*row, error) {
	if err := o.mayWrite(ns); err != nil {
		return nil, err
	}
	c := o.lookup(ns)
	rows, err := q.run(c)
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
