package devmongo

import (
	"go.mongodb.org/mongo-driver/v2/bson"
)

// stage is one compiled stage of an aggregation pipeline.
type stage func([]bson.D) ([]bson.D, error)

// compileStages compiles a pipeline. allow returns an error for a stage that is not
// permitted in it.
func compileStages(list bson.A, allow func(name string) error) ([]stage, error) {
	var stages []stage
	for _, v := range list {
		d, ok := v.(bson.D)
		if !ok {
			return nil, refuse(codeTypeMismatch, "Each element of the 'pipeline' array must be an object")
		}
		if len(d) != 1 {
			return nil, refuse(40323, "A pipeline stage specification object must contain exactly one field.")
		}
		st, err := compileStage(d[0])
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

func compileStage(e bson.E) (stage, error) {
	var compile func(bson.D) (stage, error)
	switch e.Key {
	case "$match":
		compile = compileMatch
	case "$project":
		compile = compileProject
	case "$set":
		compile = compileSet
	case "$group":
		compile = compileGroup
	case "$changeStream":
		return nil, refuse(40602, "$changeStream is only valid as the first stage in the pipeline")
	default:
		return nil, unsupported(codeUnknownStage, "Unrecognized pipeline stage name: '%s'", e.Key)
	}
	spec, ok := e.Value.(bson.D)
	if !ok {
		return nil, refuse(15959, "the %s specification must be an object, not %s", e.Key, typeName(e.Value))
	}
	return compile(spec)
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

func compileMatch(filter bson.D) (stage, error) {
	p, err := compileFilter(filter)
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
	}, err
}

func compileProject(spec bson.D) (stage, error) {
	if len(spec) == 0 {
		return nil, refuse(51272, "Invalid $project :: caused by :: projection specification must have at least one field")
	}
	p, err := compileProjection(spec)
	return eachDocument(func(d bson.D) (bson.D, error) { return p(d), nil }), err
}
