package devmongo

import (
	"math/rand/v2"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

const (
	// defaultBatch is the number of documents in a first batch, as in MongoDB.
	defaultBatch = 101
	// idleCursor is how long MongoDB keeps an unused cursor (cursorTimeoutMillis).
	idleCursor = 10 * time.Minute
)

// cursor is the remaining documents of a result, or a change stream.
type cursor struct {
	id      int64
	ns      namespace
	session string // canonical lsid, empty for none
	used    time.Time
	docs    []bson.Raw
	stream  *stream // nil for a result
	killed  bool
	busy    bool
}

// openCursor returns the reply of a command that returns documents.
func (o *op) openCursor(ns namespace, docs []bson.Raw, batch int64, single bool) bson.D {
	first, rest := cutBatch(docs, batch)
	id := int64(0)
	if len(rest) > 0 && !single {
		id = o.s.keepCursor(o, &cursor{ns: ns, docs: rest})
	}
	return cursorReply("firstBatch", id, ns, first, nil)
}

func cursorReply(key string, id int64, ns namespace, docs []bson.Raw, token bson.D) bson.D {
	if docs == nil {
		docs = []bson.Raw{}
	}
	c := bson.D{{Key: key, Value: docs}}
	if token != nil {
		c = append(c, bson.E{Key: "postBatchResumeToken", Value: token})
	}
	c = append(c, bson.E{Key: "id", Value: id}, bson.E{Key: "ns", Value: ns.String()})
	return bson.D{{Key: "cursor", Value: c}, {Key: "ok", Value: 1.0}}
}

// cutBatch takes at most n documents, and at most as many as fit into one reply.
func cutBatch(docs []bson.Raw, n int64) (batch, rest []bson.Raw) {
	size := 0
	for i, d := range docs {
		if size += len(d); int64(i) >= n || (i > 0 && size > maxDocument) {
			return docs[:i:i], docs[i:]
		}
	}
	return docs, nil
}

// keepCursor registers a cursor and removes idle ones.
func (s *Server) keepCursor(o *op, c *cursor) int64 {
	now := s.cfg.Now()
	for id, old := range s.cursors {
		if !old.busy && now.Sub(old.used) > idleCursor {
			s.killCursor(id)
		}
	}
	for c.id = 0; c.id == 0 || s.cursors[c.id] != nil; {
		c.id = rand.Int64()
	}
	c.used = now
	if o.session != nil {
		c.session = canonical(o.session.lsid)
	}
	s.cursors[c.id] = c
	return c.id
}

func (s *Server) killCursor(id int64) bool {
	c, ok := s.cursors[id]
	if ok {
		c.killed = true
		delete(s.cursors, id)
		s.notify()
	}
	return ok
}

func getMore(o *op) (bson.D, error) {
	id, ok := o.a.value("getMore").(int64)
	if !ok {
		return nil, refuse(codeTypeMismatch, "BSON field 'getMore.getMore' is the wrong type, expected type 'long'")
	}
	name, batch, wait := o.a.str("collection"), o.a.integer("batchSize", 0), o.a.integer("maxTimeMS", 0)
	if err := o.a.finish(); err != nil {
		return nil, err
	}
	if batch < 0 || wait < 0 {
		return nil, refuse(codeBadValue, "BSON field 'batchSize' or 'maxTimeMS' value must be >= 0")
	}
	c, ok := o.s.cursors[id]
	if !ok {
		return nil, refuse(codeCursorNotFound, "cursor id %d not found", id)
	}
	if ns := (namespace{o.db, name}); ns != c.ns {
		return nil, refuse(13, "Requested getMore on namespace '%s', but cursor belongs to a different namespace %s", ns, c.ns)
	}
	if c.busy {
		return nil, refuse(12051, "cursor id %d is already in use", id)
	}
	if batch == 0 {
		batch = 1 << 30
	}
	c.busy, c.used = true, o.s.cfg.Now()
	defer func() { c.busy, c.used = false, o.s.cfg.Now() }()
	if c.stream != nil {
		return o.nextEvents(c, batch, wait)
	}
	docs, rest := cutBatch(c.docs, batch)
	if c.docs = rest; len(rest) == 0 {
		o.s.killCursor(id)
		id = 0
	}
	return cursorReply("nextBatch", id, c.ns, docs, nil), nil
}

func killCursors(o *op) (bson.D, error) {
	ns, err := checkCursorNamespace(o)
	if err != nil {
		return nil, err
	}
	ids := o.a.array("cursors")
	if err := o.a.finish(); err != nil {
		return nil, err
	}
	killed, notFound := bson.A{}, bson.A{}
	for _, v := range ids {
		id, ok := v.(int64)
		if !ok {
			return nil, refuse(codeTypeMismatch, "BSON field 'killCursors.cursors' holds the wrong type '%s', expected type 'long'", typeName(v))
		}
		if c := o.s.cursors[id]; c != nil && c.ns == ns && o.s.killCursor(id) {
			killed = append(killed, id)
		} else {
			notFound = append(notFound, id)
		}
	}
	return bson.D{{Key: "cursorsKilled", Value: killed}, {Key: "cursorsNotFound", Value: notFound}, {Key: "cursorsAlive", Value: bson.A{}}, {Key: "cursorsUnknown", Value: bson.A{}}, {Key: "ok", Value: 1.0}}, nil
}

// checkCursorNamespace also accepts the pseudo collections of cursors that list
// collections or watch a database.
func checkCursorNamespace(o *op) (namespace, error) {
	name, ok := o.a.value(o.name).(string)
	if !ok {
		return namespace{}, refuse(codeTypeMismatch, "BSON field '%s.%s' is the wrong type, expected type 'string'", o.name, o.name)
	}
	return namespace{o.db, name}, nil
}
