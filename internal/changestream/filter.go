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
		onlyUpdatesOf(schema.DecodedFields(), bson.D{{Key: "ns.coll", Value: HeartbeatCollection}}),
	}}})
}

// collectionPipeline is the filter for a stream of the keys' collection alone. It needs no
// namespaces: the stream always contains what ends its history, and nothing of other collections.
func collectionPipeline(schema *keystore.Schema) mongo.Pipeline {
	return match(onlyUpdatesOf(schema.DecodedFields()))
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

// onlyUpdatesOf drops an update if and only if it shows what it changed, and none of that belongs to
// one of these root fields: new fields of a migration, for example, and keytail's own last_used. It is
// mayTouch of interpret. Updates of nested fields and of array elements appear under literal dotted
// names, so roots are compared, over all three parts of the description. $ifNull stands wherever
// something may be absent, because an error inside $expr ends the stream. Events that match one of
// exempt always pass.
func onlyUpdatesOf(fields []string, exempt ...bson.D) bson.D {
	touches := operator("$gt", sizeOf(operator("$setIntersection", "$$roots", bson.D{{Key: "$literal", Value: fields}})), 0)
	reasons := []any{touches}
	if guard.UnshownFields {
		showsNothing := operator("$eq", sizeOf("$$roots"), 0)
		parts := mapped(membersOf("$updateDescription"), "$$f.k")
		reasons = append(reasons, showsNothing, operator("$not", operator("$setIsSubset", parts, descriptionParts)))
	}
	passes := bson.D{{Key: "$let", Value: bson.D{
		{Key: "vars", Value: bson.D{{Key: "roots", Value: touchedRoots()}}},
		{Key: "in", Value: operator("$or", reasons...)},
	}}}
	either := bson.A{bson.D{{Key: "operationType", Value: bson.D{{Key: "$ne", Value: kindUpdate}}}}}
	for _, filter := range exempt {
		either = append(either, filter)
	}
	return bson.D{{Key: "$or", Value: append(either, bson.D{{Key: "$expr", Value: passes}})}}
}

// touchedRoots are the roots of all paths that an update shows.
func touchedRoots() bson.D {
	part := func(name string) string { return "$updateDescription." + name }
	roots := bson.A{mapped(membersOf(part(partUpdated)), rootOf("$$f.k"))}
	if guard.RemovedFields {
		roots = append(roots,
			mapped(orEmpty(part(partRemoved), bson.A{}), rootOf("$$f")),
			mapped(orEmpty(part(partTruncated), bson.A{}), rootOf("$$f.field")))
	}
	return bson.D{{Key: "$setUnion", Value: roots}}
}

// rootOf is the expression of root.
func rootOf(path string) any {
	if !guard.NestedFields {
		return path
	}
	return operator("$arrayElemAt", operator("$split", path, "."), 0)
}

// operator is an expression with arguments.
func operator(name string, arguments ...any) bson.D { return bson.D{{Key: name, Value: arguments}} }

// mapped is an expression over each element f of a list.
func mapped(list, of any) bson.D {
	return bson.D{{Key: "$map", Value: bson.D{{Key: "input", Value: list}, {Key: "as", Value: "f"}, {Key: "in", Value: of}}}}
}

// membersOf is a document as a list of {k, v}, empty when it is absent.
func membersOf(document string) bson.D {
	return operator("$objectToArray", orEmpty(document, bson.D{}))
}

func sizeOf(list any) bson.D { return operator("$size", list) }

func orEmpty(field string, empty any) bson.D { return operator("$ifNull", field, empty) }
