package devmongo

import (
	"go.mongodb.org/mongo-driver/v2/bson"
)

// row is a document that a query has found. d is nil until it is decoded.
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

// query selects documents for find, aggregate, update, delete and findAndModify.
type query struct {
	filter bson.D
	sort   bson.D
	limit  int64 // zero: none
	// memory is how much a sort may use.
	memory sortMemory
}

// run selects from a collection, which may be nil.
func (q query) run(c *collection) ([]*row, error) {
	match, err := compileFilter(q.filter)
	if err != nil {
		return nil, err
	}
	order, err := compileSort(q.sort)
	if err != nil || c == nil {
		return nil, err
	}
	var rows []*row
	for _, doc := range c.candidates(q.filter) {
		if doc.removed {
			continue
		}
		if q.limit > 0 && len(q.sort) == 0 && int64(len(rows)) >= q.limit {
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
		if err := q.memory.check(rows); err != nil {
			return nil, err
		}
	}
	order(rows)
	if q.limit > 0 {
		rows = rows[:min(q.limit, int64(len(rows)))]
	}
	return rows, nil
}
