package simulation

import (
	"context"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/devmongo"
)

// streamCursor is what the network knows of a stream's cursor.
type streamCursor struct {
	// token is the last one that the stream had.
	token bson.D
	// deposed is the node that has the cursor, with ends. Nil: main.
	deposed *devmongo.Server
	ends    <-chan struct{}
	// silent: the cursor is on a node that was cut off, although its contents are on main.
	silent bool
}

// stream opens or reads a stream.
func (n *network) stream(ctx context.Context, c *command) (bson.D, error) {
	if c.name == "aggregate" {
		node, ends := n.route(c)
		if node == nil {
			return n.noteStream(n.onMain(ctx, c, c.body))(&streamCursor{})
		}
		return n.noteStream(n.onDeposed(ctx, node, ends, c.body))(&streamCursor{deposed: node, ends: ends})
	}
	id, _ := c.body[0].Value.(int64)
	n.mutex.Lock()
	cursor := n.streams[id]
	n.mutex.Unlock()
	switch {
	case cursor == nil:
		return n.onMain(ctx, c, c.body)
	case c.fate == fateEnded:
		return emptyBatch(0, cursor.token), nil
	case cursor.deposed != nil:
		return n.noteStream(n.onDeposed(ctx, cursor.deposed, cursor.ends, c.body))(cursor)
	case n.isSilent(cursor):
		return n.silence(ctx, c, id, cursor)
	}
	reply, err := n.noteStream(n.onMain(ctx, c, c.body))(cursor)
	return n.alter(c, reply), err
}

// noteStream notes the cursor and the token of a reply.
func (n *network) noteStream(reply bson.D, err error) func(*streamCursor) (bson.D, error) {
	return func(cursor *streamCursor) (bson.D, error) {
		if part, ok := lookup(reply, "cursor").(bson.D); ok {
			n.mutex.Lock()
			defer n.mutex.Unlock()
			id, _ := lookup(part, "id").(int64)
			cursor.token, _ = lookup(part, "postBatchResumeToken").(bson.D)
			n.streams[id] = cursor
		}
		return reply, err
	}
}

func (n *network) isSilent(cursor *streamCursor) bool {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	return cursor.silent
}

// silence is the answer of a cursor on a node that was cut off: nothing, after the time that the client
// waits for an event.
func (n *network) silence(ctx context.Context, c *command, id int64, cursor *streamCursor) (bson.D, error) {
	wait, _ := lookup(c.body, "maxTimeMS").(int64)
	if !sleep(ctx, time.Duration(wait)*time.Millisecond) {
		return nil, errConnection
	}
	return emptyBatch(id, cursor.token), nil
}

// silenceStreams puts the cursors that are open on the node that was cut off; false brings them back.
func (n *network) silenceStreams(silent bool) {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	for _, cursor := range n.streams {
		cursor.silent = silent && cursor.deposed == nil
	}
}

func emptyBatch(id int64, token bson.D) bson.D {
	return bson.D{{Key: "cursor", Value: bson.D{
		{Key: "id", Value: id}, {Key: "ns", Value: database + ".$cmd.aggregate"}, {Key: "nextBatch", Value: bson.A{}}, {Key: "postBatchResumeToken", Value: token},
	}}, {Key: "ok", Value: 1.0}}
}

// alter changes an event of a batch into one that keytail does not know, or cannot read.
func (n *network) alter(c *command, reply bson.D) bson.D {
	part, _ := lookup(reply, "cursor").(bson.D)
	events, _ := lookup(part, "nextBatch").([]bson.Raw)
	n.mutex.Lock()
	odd := len(events) > 0 && c.in(n.oddEvents)
	n.mutex.Unlock()
	if !odd {
		return reply
	}
	i := c.IntN(len(events))
	var event bson.D
	if err := bson.Unmarshal(events[i], &event); err != nil {
		panic(err)
	}
	if c.in(0.5) {
		event = with(event, "operationType", "unheardOf")
	} else {
		event = with(event, "clusterTime", "noon")
	}
	raw, err := bson.Marshal(event)
	if err != nil {
		panic(err)
	}
	events = slices.Clone(events)
	events[i] = raw
	return with(reply, "cursor", with(part, "nextBatch", events))
}

// scanCursor is a scan that goes on at a document, as of the time of its next batch: a cursor of MongoDB is no
// snapshot, one of devmongo is.
type scanCursor struct {
	find  bson.D
	after string
	// deposed is the node that has the cursor, with ends. Nil: main.
	deposed *devmongo.Server
	ends    <-chan struct{}
}

// scan reads a batch of the collection.
func (n *network) scan(ctx context.Context, c *command) (bson.D, error) {
	batch, cursor := "firstBatch", &scanCursor{}
	if c.name == "find" {
		cursor.find = c.body
		cursor.deposed, cursor.ends = n.route(c)
	} else {
		batch = "nextBatch"
		id, _ := c.body[0].Value.(int64)
		n.mutex.Lock()
		cursor = n.scans[id]
		delete(n.scans, id)
		n.mutex.Unlock()
	}
	size := 1 + c.IntN(4)
	find := with(with(cursor.find, "limit", int64(size)), "singleBatch", true)
	if cursor.after != "" {
		find = with(find, "filter", bson.D{{Key: "_id", Value: bson.D{{Key: "$gt", Value: cursor.after}}}})
	}
	var reply bson.D
	var err error
	if cursor.deposed != nil {
		reply, err = n.onDeposed(ctx, cursor.deposed, cursor.ends, find)
	} else {
		reply, err = n.onMain(ctx, c, find)
	}
	part, ok := lookup(reply, "cursor").(bson.D)
	if err != nil || !ok {
		return reply, err
	}
	documents, _ := lookup(part, "firstBatch").([]bson.Raw)
	next := int64(0)
	if len(documents) == size {
		next = n.keepScan(&scanCursor{find: cursor.find, after: documents[size-1].Lookup("_id").StringValue(), deposed: cursor.deposed, ends: cursor.ends})
	}
	return with(reply, "cursor", bson.D{{Key: "id", Value: next}, {Key: "ns", Value: lookup(part, "ns")}, {Key: batch, Value: documents}}), nil
}

// keepScan returns the id of a scan's cursor.
func (n *network) keepScan(cursor *scanCursor) int64 {
	n.mutex.Lock()
	defer n.mutex.Unlock()
	id := int64(len(n.scans)) + 1
	for n.scans[id] != nil {
		id++
	}
	n.scans[id] = cursor
	return id
}
