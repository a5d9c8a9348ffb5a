package devmongo

import (
	"context"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/clustertime"
)

// defaultAwait is how long a getMore of a stream waits without maxTimeMS.
const defaultAwait = time.Second

// The scopes of a change stream.
const (
	scopeCollection = iota
	scopeDatabase
)

// stream is an open change stream.
type stream struct {
	scope  int
	ns     namespace
	stages []stage
	lookup bool // fullDocument: updateLookup
	// done is the position of the last event that was delivered or left out;
	// token is what the client is told, which never goes back.
	done, token position
	tokenOf     [16]byte
	// given is the token that the client resumes after.
	given bson.D
	// scanned is the time of the last entry that the cursor has read, the place
	// in the log that must not be lost. Zero: it has no place yet.
	scanned clustertime.Time
	// resumed is set when the client said where to start.
	resumed bool
	ended   bool
}

// openStream starts a stream: after the last applied write, unless the client
// says where.
func (o *op) openStream(ns namespace, v any, pipeline bson.A, batch int64) (bson.D, error) {
	if o.txn != nil {
		return nil, refuse(codeTxnNotSupported, "$changeStream is not allowed in a transaction")
	}
	if o.read.level != levelMajority && !isMissing(field(o.a.doc, "readConcern")) && !isMissing(field(field(o.a.doc, "readConcern").(bson.D), "level")) {
		return nil, refuse(codeInvalidOptions, "$changeStream cannot run with a readConcern other than 'majority'")
	}
	o.read.level = levelMajority
	st, err := o.compileStream(ns, v)
	if err != nil {
		return nil, err
	}
	if st.stages, err = compileStages(pipeline, o.s.variables(), allowInStream); err != nil {
		return nil, err
	}
	if st.resumed {
		if err := o.crawl(); err != nil {
			return nil, err
		}
	}
	c := &cursor{ns: ns, stream: st}
	var docs []bson.Raw
	if batch > 0 {
		if err := o.s.place(st); err != nil {
			return nil, err
		}
		if docs, err = o.s.readEvents(st, batch); err != nil {
			return nil, err
		}
	}
	id := int64(0)
	if !st.ended {
		id = o.s.keepCursor(o, c)
	}
	return cursorReply("firstBatch", id, ns, docs, st.token.token(st.tokenOf)), nil
}

func allowInStream(name string) error {
	switch name {
	case "$match", "$project", "$addFields", "$set", "$unset":
		return nil
	}
	return refuse(codeIllegalOperation, "%s is not permitted in a $changeStream pipeline", name)
}

func (o *op) compileStream(ns namespace, v any) (*stream, error) {
	spec, err := formArgs("$changeStream", v)
	if err != nil {
		return nil, err
	}
	st := &stream{ns: ns, scope: scopeCollection}
	if ns.coll == "$cmd.aggregate" {
		st.scope, st.ns.coll = scopeDatabase, ""
	}
	if spec.boolean("allChangesForCluster") {
		return nil, refuse(codeNotImplemented, "devmongo has streams of collections and of databases, not of the whole cluster")
	}
	switch full := spec.str("fullDocument"); full {
	case "", "default":
	case "updateLookup":
		st.lookup = true
	default:
		return nil, refuse(codeNotImplemented, "devmongo has fullDocument default and updateLookup, not '%s'", full)
	}
	if before := spec.str("fullDocumentBeforeChange"); before != "" && before != "off" {
		return nil, refuse(codeNotImplemented, "devmongo keeps no pre-images: fullDocumentBeforeChange must be off")
	}
	if spec.boolean("showExpandedEvents") {
		return nil, refuse(codeNotImplemented, "devmongo has no showExpandedEvents")
	}
	if err := o.startOf(st, spec); err != nil {
		return nil, err
	}
	return st, spec.finish()
}

// startOf finds where the stream begins.
func (o *op) startOf(st *stream, spec *args) error {
	resume, after, at := spec.document("resumeAfter"), spec.document("startAfter"), spec.value("startAtOperationTime")
	given := 0
	for _, is := range []bool{resume != nil, after != nil, !isMissing(at)} {
		if is {
			given++
		}
	}
	if given > 1 {
		return refuse(50674, "Only one type of resume option is allowed, but multiple were found.")
	}
	st.resumed = given == 1
	token := append(slices.Clone(resume), after...)
	switch {
	case len(token) > 0:
		p, err := parseToken(token)
		if err != nil {
			return err
		}
		if p.invalidate && resume != nil {
			return refuse(codeInvalidResumeToken, "Attempting to resume a change stream using 'resumeAfter' is not allowed from an invalidate notification")
		}
		st.done, st.given = p, token
	case st.resumed:
		ts, ok := at.(bson.Timestamp)
		if !ok {
			return refuse(codeTypeMismatch, "startAtOperationTime must be a timestamp")
		}
		st.done = position{at: clustertime.New(ts.T, ts.I)}
	default:
		st.done = position{at: o.s.oplog.applied + 1}
	}
	st.token = st.done
	return nil
}

// place gives the cursor its place in the log. A stream that the client started
// somewhere must find that place; a new one takes what there is, as MongoDB does
// when the first batch was asked to be empty.
func (s *Server) place(st *stream) error {
	if st.scanned != 0 {
		return nil
	}
	log := &s.oplog
	if st.resumed && log.oldest() > st.done.at {
		return refuse(codeHistoryLost, "Resume of change stream was not possible, as the resume point may no longer be in the oplog.")
	}
	if st.resumed && st.done.event && st.done.at <= log.majority {
		if err := st.find(log); err != nil {
			return err
		}
	}
	st.scanned = max(log.oldest(), min(st.done.at, log.majority))
	return nil
}

// find looks for the event that the client's token names, and not just for one of
// its time: a log that was restored may have another entry there.
func (st *stream) find(log *oplog) error {
	for _, e := range log.after(position{at: st.done.at}) {
		if e.at != st.done.at {
			break
		}
		p := positionOf(e)
		p.invalidate = st.done.invalidate
		if p == st.done && e.kind != kindNoop && identical(p.token(e.uuid), st.given) {
			st.tokenOf = e.uuid
			return nil
		}
	}
	return refuse(codeFatalStream, "cannot resume stream; the resume token was not found. %v", st.given)
}

// nextEvents is a getMore on a stream: it waits for an event, but not longer
// than the client wants to.
func (o *op) nextEvents(c *cursor, batch, wait int64) (bson.D, error) {
	o.read.level = levelMajority
	limit := defaultAwait
	if wait > 0 {
		limit = time.Duration(wait) * time.Millisecond
	}
	ctx, cancel := context.WithTimeout(o.ctx, limit)
	defer cancel()
	docs, err := o.awaitEvents(ctx, c, batch)
	if err != nil {
		o.s.killCursor(c.id)
		o.streaming = true
		return nil, err
	}
	id := c.id
	if c.stream.ended {
		o.s.killCursor(id)
		id = 0
	}
	return cursorReply("nextBatch", id, c.ns, docs, c.stream.token.token(c.stream.tokenOf)), nil
}

func (o *op) awaitEvents(ctx context.Context, c *cursor, batch int64) ([]bson.Raw, error) {
	for {
		docs, err := o.s.readPlaced(c.stream, batch)
		if err != nil || len(docs) > 0 || c.stream.ended {
			return docs, err
		}
		seen := o.s.oplog.majority
		err = o.s.await(ctx, func() bool { return c.killed || o.s.oplog.majority != seen || o.s.oplog.oldest() > c.stream.scanned })
		switch {
		case c.killed:
			return nil, refuse(237, "operation was interrupted because its cursor was killed")
		case o.ctx.Err() != nil:
			return nil, context.Cause(o.ctx)
		case err != nil:
			return nil, nil // nothing has happened in time
		}
	}
}

func (s *Server) readPlaced(st *stream, batch int64) ([]bson.Raw, error) {
	if err := s.place(st); err != nil {
		return nil, err
	}
	if s.oplog.oldest() > st.scanned {
		return nil, refuse(codeCappedPositionLost, "CollectionScan died due to position in capped collection being deleted.")
	}
	return s.readEvents(st, batch)
}

// readEvents reads on in the log until the batch is full or the log is at its
// end, and moves the token.
func (s *Server) readEvents(st *stream, batch int64) ([]bson.Raw, error) {
	var docs []bson.Raw
	size := 0
	for _, e := range s.oplog.after(position{at: st.done.at}) {
		for _, ev := range st.events(s, e) {
			if !st.done.before(ev.at) {
				continue
			}
			if int64(len(docs)) >= batch || size > maxDocument {
				return docs, nil
			}
			raw, err := st.pass(ev)
			if err != nil {
				return nil, err
			}
			st.done, st.scanned = ev.at, e.at
			if raw != nil {
				docs, size = append(docs, raw), size+len(raw)
				st.token, st.tokenOf = ev.at, e.uuid
			}
			if ev.at.invalidate {
				st.ended = true
				return docs, nil
			}
		}
	}
	if mark := (position{at: s.oplog.majority}); st.token.before(mark) {
		st.token = mark
	}
	st.scanned = max(st.scanned, s.oplog.majority)
	if st.done.before(position{at: s.oplog.majority}) {
		st.done = position{at: s.oplog.majority}
	}
	return docs, nil
}

// pass runs an event through the pipeline; nil means that it was left out.
func (st *stream) pass(ev event) (bson.Raw, error) {
	out, err := runStages(st.stages, []bson.D{ev.doc})
	if err != nil || len(out) == 0 {
		return nil, err
	}
	if !identical(field(out[0], "_id"), field(ev.doc, "_id")) {
		return nil, refuse(codeFatalStream, "Encountered an event whose _id field, which contains the resume token, was modified by the pipeline. Modifying the _id field of an event makes it impossible to resume the stream from that point.")
	}
	return encode(out[0])
}
