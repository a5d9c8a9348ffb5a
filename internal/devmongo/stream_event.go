package devmongo

import (
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// event is a change as a stream tells it.
type event struct {
	at  position
	doc bson.D
}

// events makes what a log entry is in this stream: nothing, one event, or an
// event and the invalidate that follows it.
func (st *stream) events(s *Server, e *logEntry) []event {
	if !st.covers(e) {
		return nil
	}
	at := positionOf(e)
	out := []event{{at, st.describe(s, e, at)}}
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

// covers tells whether the stream's scope has the entry in it.
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

// describe is the event, its fields in MongoDB's order.
func (st *stream) describe(s *Server, e *logEntry, at position) bson.D {
	d := bson.D{
		{Key: "_id", Value: at.token(e.uuid)},
		{Key: "operationType", Value: e.kind},
		{Key: "clusterTime", Value: timestamp(e.at)},
		{Key: "wallTime", Value: bson.NewDateTimeFromTime(e.wall)},
	}
	if e.txn != nil {
		d = append(d, bson.E{Key: "txnNumber", Value: e.txn.number}, bson.E{Key: "lsid", Value: e.txn.lsid})
	}
	if full, ok := st.fullDocument(s, e); ok {
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

// fullDocument is what was inserted, or what is there now when the client asked
// to look it up, which may be newer than the change or null.
func (st *stream) fullDocument(s *Server, e *logEntry) (any, bool) {
	switch {
	case e.kind == kindInsert || e.kind == kindReplace:
		d, _ := decode(e.after)
		return d, true
	case e.kind != kindUpdate || !st.lookup:
		return nil, false
	}
	if c := s.majority.collections[e.ns]; c != nil && c.uuid == e.uuid {
		if doc := c.byID[canonical(e.id)]; doc != nil {
			return doc.decode(), true
		}
	}
	return nil, true
}
