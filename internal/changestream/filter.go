package changestream

import (
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/guard"
	"github.com/keytail/keytail/internal/keystore"
)

// pipeline is the server's part of the filter: it saves the network what
// interpret would ignore. Of the collection's events, whatever it does not know
// passes. It removes no field of an event: the server refuses to go on without
// the token (code 280). The second filter is for keys alone: fields of a
// heartbeat may have any name.
func pipeline(schema *keystore.Schema, own string) mongo.Pipeline {
	keys := bson.D{{Key: "$and", Value: bson.A{ours(schema.Collection), counts(schema.Ignorable())}}}
	return mongo.Pipeline{{{Key: "$match", Value: bson.D{{Key: "$or", Value: bson.A{keys, heartbeats(own)}}}}}}
}

// heartbeats passes those of this instance, and nothing else that happens to
// their collection: a fleet of a thousand would drown each of its members.
func heartbeats(own string) bson.D {
	return bson.D{{Key: "ns.coll", Value: HeartbeatCollection}, {Key: "documentKey._id", Value: own}}
}

// ours passes the collection's events, those that are about no collection
// (dropDatabase and invalidate have no ns.coll), and renames onto it: $out and
// convertToCapped arrive as a rename of a temporary collection.
func ours(collection string) bson.D {
	if !guard.ToCollection {
		return bson.D{{Key: "ns.coll", Value: bson.D{{Key: "$in", Value: bson.A{collection, nil}}}}}
	}
	return bson.D{{Key: "$or", Value: bson.A{
		bson.D{{Key: "ns.coll", Value: collection}},
		bson.D{{Key: "ns.coll", Value: bson.D{{Key: "$exists", Value: false}}}},
		bson.D{{Key: "to.coll", Value: collection}},
	}}}
}

// counts drops an update iff it touched fields and all of their roots are
// ignorable: our own last_used writes, mostly. Updates of nested fields and of
// array elements appear under literal dotted names, so roots are compared, over
// all three parts of the description. $ifNull stands wherever a part may be
// absent, since an error inside $expr ends the stream.
func counts(ignorable []string) bson.D {
	paths := func(part, path string) bson.D {
		return bson.D{{Key: "$map", Value: bson.D{
			{Key: "input", Value: partOf(part)},
			{Key: "as", Value: "f"},
			{Key: "in", Value: bson.D{{Key: "$arrayElemAt", Value: bson.A{
				bson.D{{Key: "$split", Value: bson.A{path, "."}}}, 0,
			}}}},
		}}}
	}
	roots := bson.D{{Key: "$setUnion", Value: bson.A{
		paths("updatedFields", "$$f.k"),
		paths("removedFields", "$$f"),
		paths("truncatedArrays", "$$f.field"),
	}}}
	onlyIgnorable := bson.D{{Key: "$and", Value: bson.A{
		bson.D{{Key: "$gt", Value: bson.A{bson.D{{Key: "$size", Value: "$$roots"}}, 0}}},
		bson.D{{Key: "$setIsSubset", Value: bson.A{"$$roots", ignorable}}},
	}}}
	return bson.D{{Key: "$or", Value: bson.A{
		bson.D{{Key: "operationType", Value: bson.D{{Key: "$ne", Value: kindUpdate}}}},
		bson.D{{Key: "$expr", Value: bson.D{{Key: "$let", Value: bson.D{
			{Key: "vars", Value: bson.D{{Key: "roots", Value: roots}}},
			{Key: "in", Value: bson.D{{Key: "$not", Value: bson.A{onlyIgnorable}}}},
		}}}}},
	}}}
}

// partOf is a part of the update's description as an array, empty when absent.
func partOf(part string) bson.D {
	field := "$updateDescription." + part
	if part == "updatedFields" {
		return bson.D{{Key: "$objectToArray", Value: bson.D{{Key: "$ifNull", Value: bson.A{field, bson.D{}}}}}}
	}
	return bson.D{{Key: "$ifNull", Value: bson.A{field, bson.A{}}}}
}
