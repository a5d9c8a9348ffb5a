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
	// room is for the sort, if there is one.
	room sortRoom
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
	if len(q.sort) > 0 && !c.serves(q.sort) {
		if err := q.room.check(rows); err != nil {
			return nil, err
		}
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
