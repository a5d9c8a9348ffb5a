package devmongo

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// event is a change as a stream reports it.
type event struct {
	at  position
	doc bson.D
}

// events returns the events of a log entry in this stream: none, one, or one followed
// by an invalidate.
func (st *stream) events(e *logEntry) []event {
	if !st.covers(e) {
		return nil
	}
	at := positionOf(e)
	out := []event{{at, describe(e, at)}}
	if st.invalidatedBy(e) {
		at.invalidate = true
		doc := bson.D{
			{Key: "_id", Value: at.token(e.uuid)},
			{Key: "operationType", Value: kindInvalidate},
			{Key: "clusterTime", Value: timestamp(e.at)},
			{Key: "wallTime", Value: bson.NewDateTimeFromTime(e.wall)},
		}
		out = append(out, event{at, doc})
	}
	return out
}

// covers reports whether the entry is in the scope of the stream.
func (st *stream) covers(e *logEntry) bool {
	switch {
	case e.kind == kindNoop || strings.HasPrefix(e.ns.coll, "system."):
		return false
	case st.scope == scopeDatabase:
		return e.ns.db == st.ns.db
	}
	return e.ns == st.ns || (e.kind == kindRename && e.to == st.ns) || (e.kind == kindDropDatabase && e.ns.db == st.ns.db)
}

func (st *stream) invalidatedBy(e *logEntry) bool {
	return e.kind == kindDropDatabase || (st.scope == scopeCollection && (e.kind == kindDrop || e.kind == kindRename))
}

// describe returns the event with its fields in MongoDB's order.
func describe(e *logEntry, at position) bson.D {
	d := bson.D{
		{Key: "_id", Value: at.token(e.uuid)},
		{Key: "operationType", Value: e.kind},
		{Key: "clusterTime", Value: timestamp(e.at)},
		{Key: "wallTime", Value: bson.NewDateTimeFromTime(e.wall)},
	}
	if e.txn != nil {
		d = append(d, bson.E{Key: "txnNumber", Value: e.txn.number}, bson.E{Key: "lsid", Value: e.txn.lsid})
	}
	if e.kind == kindInsert || e.kind == kindReplace {
		full, _ := decode(e.after)
		d = append(d, bson.E{Key: "fullDocument", Value: full})
	}
	d = append(d, bson.E{Key: "ns", Value: e.ns.document()})
	switch e.kind {
	case kindRename:
		d = append(d, bson.E{Key: "to", Value: e.to.document()})
	case kindInsert, kindUpdate, kindReplace, kindDelete:
		d = append(d, bson.E{Key: "documentKey", Value: bson.D{{Key: "_id", Value: e.id}}})
	}
	if e.diff != nil {
		d = append(d, bson.E{Key: "updateDescription", Value: e.diff.document()})
	}
	return d
}

func (n namespace) document() bson.D {
	d := bson.D{{Key: "db", Value: n.db}}
	if n.coll != "" {
		d = append(d, bson.E{Key: "coll", Value: n.coll})
	}
	return d
}
