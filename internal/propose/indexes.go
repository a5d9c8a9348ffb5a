package propose

import (
	"context"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// indexes is what the indexes of the collection are good for. keytail doctor has
// the full check of the unique index.
type indexes struct {
	// unique are fields that have a unique index of their own, leading are those
	// by which a find uses an index.
	unique, leading map[string]bool
}

func readIndexes(ctx context.Context, keys *mongo.Collection) (indexes, error) {
	all := indexes{map[string]bool{}, map[string]bool{}}
	cursor, err := keys.Indexes().List(ctx)
	if err != nil {
		return all, err
	}
	var list []bson.Raw
	if err := cursor.All(ctx, &list); err != nil {
		return all, err
	}
	for _, index := range list {
		all.add(index)
	}
	return all, nil
}

// add notes an index, unless an equality match on its first field may not use it.
func (x *indexes) add(index bson.Raw) {
	hidden, _ := index.Lookup("hidden").BooleanOK()
	_, partial := index.Lookup("partialFilterExpression").DocumentOK()
	_, collation := index.Lookup("collation").DocumentOK()
	key, _ := index.Lookup("key").DocumentOK()
	elements, err := key.Elements()
	if err != nil || len(elements) == 0 || hidden || partial || collation || !servesEquality(elements[0].Value()) {
		return
	}
	field := elements[0].Key()
	x.leading[field] = true
	if unique, _ := index.Lookup("unique").BooleanOK(); unique && len(elements) == 1 {
		x.unique[field] = true
	}
}

// servesEquality reports whether an index of this kind finds values by equality:
// one in an order, or a hashed one, as shard keys often have. (Others are "text",
// "2d" and the like.)
func servesEquality(kind bson.RawValue) bool {
	name, _ := kind.StringValueOK()
	return kind.IsNumber() || name == "hashed"
}

func (x *indexes) describe(field string) string {
	switch {
	case x.unique[field]:
		return "it has a unique index"
	case x.leading[field]:
		return "its index is not unique: keytail needs one that is, and doctor prints the command"
	}
	return "it has no index: keytail needs a unique one, and doctor prints the command"
}
