package changestream

import (
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/guard"
	"github.com/keytail/keytail/internal/keystore"
)

// pipeline is the server's part of the filter: it saves the network what interpret would ignore.
// It lets every unknown event of the collection pass. It removes no field of an event: without the
// token the server refuses to go on (code 280).
//
// The namespaces are a separate conjunct that contains only what a server from 6.0 on can apply to
// its oplog (DESIGN.md, "The filter and the oplog"): writes to other collections cost no event.
// The second conjunct cannot be applied there. It is for keys only: fields of a heartbeat may have
// any name.
func pipeline(schema *keystore.Schema, own string) mongo.Pipeline {
	return match(bson.D{{Key: "$and", Value: bson.A{
		namespaceFilter(schema.Collection, own),
		exceptIgnorableUpdates(schema.Ignorable(), bson.D{{Key: "ns.coll", Value: HeartbeatCollection}}),
	}}})
}

// collectionPipeline is the filter for a stream of the keys' collection alone. It needs no
// namespaces: the stream always contains what ends its history, and nothing of other collections.
func collectionPipeline(schema *keystore.Schema) mongo.Pipeline {
	return match(exceptIgnorableUpdates(schema.Ignorable()))
}

func match(filter bson.D) mongo.Pipeline { return mongo.Pipeline{{{Key: "$match", Value: filter}}} }

// namespaceFilter lets these events pass: those of the collection, renames onto it ($out and
// convertToCapped arrive as a rename of a temporary collection), heartbeats of this instance
// (those of a fleet of a thousand would overload each member), and every type that does not always
// belong to a collection: dropDatabase, invalidate, and what a later server may send without a
// collection. interpret ignores those of other collections.
func namespaceFilter(collection, own string) bson.D {
	either := bson.A{
		bson.D{{Key: "ns.coll", Value: collection}},
		bson.D{{Key: "ns.coll", Value: HeartbeatCollection}, {Key: "documentKey._id", Value: own}},
		bson.D{{Key: "operationType", Value: bson.D{{Key: "$nin", Value: collectionEventTypes}}}},
	}
	if guard.ToCollection {
		either = append(either, bson.D{{Key: "to.coll", Value: collection}})
	}
	return bson.D{{Key: "$or", Value: either}}
}

// collectionEventTypes are the types of events that always have an ns.coll, and arrive without
// showExpandedEvents. Every server that applies filters to its oplog knows all of them. A type
// that the server does not know could prevent that.
var collectionEventTypes = bson.A{kindInsert, kindUpdate, kindReplace, kindDelete, kindDrop, kindRename}

// exceptIgnorableUpdates drops an update if and only if it changed fields and the roots of all of
// them are ignorable: mostly keytail's own last_used writes. Updates of nested fields and of array
// elements appear under literal dotted names. So roots are compared, over all three parts of the
// description. $ifNull stands wherever a part may be absent, because an error inside $expr ends
// the stream. Events that match one of exempt always pass.
func exceptIgnorableUpdates(ignorable []string, exempt ...bson.D) bson.D {
	paths := func(part, path string) bson.D {
		return bson.D{{Key: "$map", Value: bson.D{
			{Key: "input", Value: updatePart(part)},
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
	either := bson.A{bson.D{{Key: "operationType", Value: bson.D{{Key: "$ne", Value: kindUpdate}}}}}
	for _, filter := range exempt {
		either = append(either, filter)
	}
	return bson.D{{Key: "$or", Value: append(either, bson.D{{Key: "$expr", Value: bson.D{{Key: "$let", Value: bson.D{
		{Key: "vars", Value: bson.D{{Key: "roots", Value: roots}}},
		{Key: "in", Value: bson.D{{Key: "$not", Value: bson.A{onlyIgnorable}}}},
	}}}}})}}
}

// updatePart is a part of the update's description as an array, empty when absent.
func updatePart(part string) bson.D {
	field := "$updateDescription." + part
	if part == "updatedFields" {
		return bson.D{{Key: "$objectToArray", Value: bson.D{{Key: "$ifNull", Value: bson.A{field, bson.D{}}}}}}
	}
	return bson.D{{Key: "$ifNull", Value: bson.A{field, bson.A{}}}}
}
