package devmongo

import (
	"go.mongodb.org/mongo-driver/v2/bson"
)

// stage is one compiled step of an aggregation pipeline.
type stage func([]bson.D) ([]bson.D, error)

// compileStages reads a pipeline; allow refuses the stages that have no place in
// it.
func compileStages(list bson.A, names names, allow func(name string) error) ([]stage, error) {
	var stages []stage
	for _, v := range list {
		d, ok := v.(bson.D)
		if !ok {
			return nil, refuse(codeTypeMismatch, "Each element of the 'pipeline' array must be an object")
		}
		if len(d) != 1 {
			return nil, refuse(40323, "A pipeline stage specification object must contain exactly one field.")
		}
		st, err := compileStage(d[0], names)
		if err != nil {
			return nil, err
		}
		if err := allow(d[0].Key); err != nil {
			return nil, err
		}
		stages = append(stages, st)
	}
	return stages, nil
}

func runStages(stages []stage, docs []bson.D) ([]bson.D, error) {
	for _, st := range stages {
		var err error
		if docs, err = st(docs); err != nil {
			return nil, err
		}
	}
	return docs, nil
}

func compileStage(e bson.E, names names) (stage, error) {
	d, isDoc := e.Value.(bson.D)
	switch e.Key {
	case "$match", "$sort", "$project", "$addFields", "$set", "$group":
		if !isDoc {
			return nil, refuse(15959, "the %s specification must be an object, not %s", e.Key, typeName(e.Value))
		}
	}
	switch e.Key {
	case "$match":
		p, err := compileFilter(d, names)
		return matchStage(p), err
	case "$sort":
		return compileSortStage(d)
	case "$limit", "$skip":
		return compileWindow(e)
	case "$project":
		if len(d) == 0 {
			return nil, refuse(51272, "Invalid $project :: caused by :: projection specification must have at least one field")
		}
		p, err := compileProjection(d)
		return eachDocument(func(d bson.D) (bson.D, error) { return p(d), nil }), err
	case "$addFields", "$set":
		return compileAddFields(d, names)
	case "$unset":
		return compileUnset(e.Value)
	case "$count":
		return compileCount(e.Value)
	case "$group":
		return compileGroup(d, names)
	case "$changeStream":
		return nil, refuse(40602, "$changeStream is only valid as the first stage in the pipeline")
	case "$out":
		return nil, refuse(40601, "$out can only be the final stage in the pipeline")
	}
	return nil, refuse(codeUnknownStage, "Unrecognized pipeline stage name: '%s'", e.Key)
}

func eachDocument(f func(bson.D) (bson.D, error)) stage {
	return func(docs []bson.D) ([]bson.D, error) {
		out := make([]bson.D, len(docs))
		for i, d := range docs {
			r, err := f(d)
			if err != nil {
				return nil, err
			}
			out[i] = r
		}
		return out, nil
	}
}

func matchStage(p predicate) stage {
	return func(docs []bson.D) ([]bson.D, error) {
		var out []bson.D
		for _, d := range docs {
			ok, err := p(d)
			if err != nil {
				return nil, err
			}
			if ok {
				out = append(out, d)
			}
		}
		return out, nil
	}
}

func compileSortStage(spec bson.D) (stage, error) {
	if len(spec) == 0 {
		return nil, refuse(15976, "$sort stage must have at least one sort key")
	}
	order, err := compileSort(spec)
	return func(docs []bson.D) ([]bson.D, error) {
		rows := make([]*row, len(docs))
		for i, d := range docs {
			rows[i] = &row{d: d}
		}
		order(rows)
		for i, r := range rows {
			docs[i] = r.d
		}
		return docs, nil
	}, err
}

func compileWindow(e bson.E) (stage, error) {
	n, ok := number(e.Value)
	if !ok || n < 0 || (n == 0 && e.Key == "$limit") {
		code := int32(15956)
		if e.Key == "$limit" {
			code = 15958
		}
		return nil, refuse(code, "the argument of %s must be a positive number", e.Key)
	}
	if e.Key == "$skip" {
		return func(docs []bson.D) ([]bson.D, error) { return window(docs, n, 0), nil }, nil
	}
	return func(docs []bson.D) ([]bson.D, error) { return window(docs, 0, n), nil }, nil
}
