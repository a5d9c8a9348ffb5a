package devmongo

import (
	"strconv"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// description is the change of an update as its event reports it, by dotted paths.
type description struct {
	updated   bson.D
	removed   bson.A
	truncated bson.A
}

func (x *description) empty() bool { return len(x.updated)+len(x.removed)+len(x.truncated) == 0 }

// document is the updateDescription of the event.
func (x *description) document() bson.D {
	updated, removed, truncated := x.updated, x.removed, x.truncated
	if updated == nil {
		updated = bson.D{}
	}
	if removed == nil {
		removed = bson.A{}
	}
	if truncated == nil {
		truncated = bson.A{}
	}
	return bson.D{{Key: "updatedFields", Value: updated}, {Key: "removedFields", Value: removed}, {Key: "truncatedArrays", Value: truncated}}
}

// compilePipelineUpdate compiles an update that is an aggregation pipeline. The
// description is found by comparing the documents; a description that is larger than
// the new document becomes a replacement, as in MongoDB.
func compilePipelineUpdate(list bson.A) (updater, error) {
	stages, err := compileStages(list, func(name string) error {
		if name == "$set" {
			return nil
		}
		return unsupported(codeInvalidOptions, "%s in an update", name)
	})
	return func(d bson.D) (bson.D, *description, error) {
		out, err := runStages(stages, []bson.D{d})
		if err != nil {
			return nil, nil, err
		}
		next := out[0]
		if id := field(d, "_id"); isMissing(field(next, "_id")) && !isMissing(id) {
			next = append(bson.D{{Key: "_id", Value: id}}, next...)
		}
		diff := &description{}
		diff.documents("", d, next)
		described, _ := bson.Marshal(bson.D{{Key: "u", Value: diff.updated}, {Key: "d", Value: diff.removed}})
		whole, _ := bson.Marshal(next)
		if len(described) > len(whole) {
			diff = nil
		}
		return next, diff, nil
	}, err
}

func (x *description) documents(prefix string, before, after bson.D) {
	for _, e := range before {
		if isMissing(field(after, e.Key)) {
			x.removed = append(x.removed, prefix+e.Key)
		}
	}
	for _, e := range after {
		x.values(prefix+e.Key, field(before, e.Key), e.Value)
	}
}

func (x *description) values(path string, before, after any) {
	if d, ok := before.(bson.D); ok {
		if next, ok := after.(bson.D); ok {
			x.documents(path+".", d, next)
			return
		}
	}
	if a, ok := before.(bson.A); ok {
		if next, ok := after.(bson.A); ok {
			x.arrays(path, a, next)
			return
		}
	}
	if isMissing(before) || !identical(before, after) {
		x.updated = append(x.updated, bson.E{Key: path, Value: after})
	}
}

func (x *description) arrays(path string, before, after bson.A) {
	if len(after) < len(before) {
		x.truncated = append(x.truncated, bson.D{{Key: "field", Value: path}, {Key: "newSize", Value: int32(len(after))}})
		before = before[:len(after)]
	}
	for i, v := range after {
		old := any(missing{})
		if i < len(before) {
			old = before[i]
		}
		x.values(path+"."+strconv.Itoa(i), old, v)
	}
}
