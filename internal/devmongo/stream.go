package devmongo

import (
	"cmp"
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/clustertime"
)

// defaultAwait is how long a getMore on a change stream waits without maxTimeMS.
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
	// done is the position of the last event that was delivered or filtered out. token is
	// the resume token that the client gets, which never goes back.
	done, token position
	tokenOf     [16]byte
	// given is the token that the client resumes after, nil for a new stream. past is set
	// with it, and by startAtOperationTime: the log must still have the position.
	given bson.D
	past  bool
	// scanned is the time of the last log entry that the cursor has read. The log must
	// still have it at the next read. Zero: the cursor has no position yet.
	scanned clustertime.Time
	ended   bool
}

// openStream opens a stream. It starts after the last applied write, or after the
// event of a resume token.
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
	if st.stages, err = compileStages(pipeline, allowInStream); err != nil {
		return nil, err
	}
	if st.given != nil {
		if err := o.resumeSlowly(); err != nil {
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
	if name == "$match" {
		return nil
	}
	return unsupported(codeIllegalOperation, "%s in a $changeStream pipeline", name)
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
	resume := spec.document("resumeAfter")
	start, err := timeOption(spec, "$changeStream", "startAtOperationTime")
	if err != nil {
		return nil, err
	}
	if err := spec.finish(); err != nil {
		return nil, err
	}
	if resume != nil && start != 0 {
		return nil, refuse(40674, "Only one type of resume option is allowed, but multiple were found.")
	}
	st.done, st.past = position{at: cmp.Or(start, o.s.oplog.applied+1)}, start != 0 || resume != nil
	if resume != nil {
		if st.done, err = parseToken(resume); err != nil {
			return nil, err
		}
		if st.done.invalidate {
			return nil, refuse(codeInvalidResumeToken, "Attempting to resume a change stream using 'resumeAfter' is not allowed from an invalidate notification")
		}
		st.given = resume
	}
	st.token = st.done
	return st, nil
}

// place determines the cursor's position in the log. A resumed stream must find its
// position. A new stream starts with the oldest entry, as in MongoDB after an empty
// first batch.
func (s *Server) place(st *stream) error {
	if st.scanned != 0 {
		return nil
	}
	log := &s.oplog
	if st.past && log.oldest() > st.done.at {
		return refuse(codeHistoryLost, "Resume of change stream was not possible, as the resume point may no longer be in the oplog.")
	}
	if st.given != nil && st.done.event && st.done.at <= log.majority {
		if err := st.find(log); err != nil {
			return err
		}
	}
	st.scanned = max(log.oldest(), min(st.done.at, log.majority))
	return nil
}

// find looks for the event of the client's token. An event at the same time is not
// enough: a log that was restored from a backup may have another event there.
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

// nextEvents is a getMore on a stream: it waits for an event, at most for maxTimeMS.
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
			return nil, nil // no event in time
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

// readEvents continues to read the log until the batch is full or the log ends, and
// advances the token.
func (s *Server) readEvents(st *stream, batch int64) ([]bson.Raw, error) {
	var docs []bson.Raw
	size := 0
	for _, e := range s.oplog.after(position{at: st.done.at}) {
		for _, ev := range st.events(e) {
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

// pass runs an event through the pipeline. It returns nil if the event is filtered out.
func (st *stream) pass(ev event) (bson.Raw, error) {
	out, err := runStages(st.stages, []bson.D{ev.doc})
	if err != nil || len(out) == 0 {
		return nil, err
	}
	return encode(out[0])
}
