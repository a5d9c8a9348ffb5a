package devmongo

import (
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
	return o.aggregate(ns, pipeline, batch)
}

func (o *op) aggregate(ns namespace, pipeline bson.A, batch int64) (bson.D, error) {
	q, rest := query{}, pipeline
	if len(pipeline) > 0 { // an index can answer a leading $match
		if first, ok := pipeline[0].(bson.D); ok && len(first) == 1 && first[0].Key == "$match" {
			if filter, ok := first[0].Value.(bson.D); ok {
				q.filter, rest = filter, pipeline[1:]
			}
		}
	}
	stages, err := compileStages(rest, func(string) error { return nil })
	if err != nil {
		return nil, err
	}
	rows, err := q.run(o.lookup(ns))
	if err != nil {
		return nil, err
	}
	docs := make([]bson.D, len(rows))
	for i, r := range rows {
		docs[i] = r.decoded()
	}
	if docs, err = runStages(stages, docs); err != nil {
		return nil, err
	}
	raws := make([]bson.Raw, len(docs))
	for i, d := range docs {
		if raws[i], err = encode(d); err != nil {
			return nil, err
		}
	}
	return o.openCursor(ns, raws, batch, false), nil
}
