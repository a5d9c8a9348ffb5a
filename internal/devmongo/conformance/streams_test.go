package conformance

import (
	"context"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/mongotest"
)

// watcher is a collection or a database.
type watcher interface {
	Watch(context.Context, any, ...options.Lister[options.ChangeStreamOptions]) (*mongo.ChangeStream, error)
}

// watch opens a change stream that is closed when t ends.
func (r *rig) watch(t *testing.T, w watcher, pipeline mongo.Pipeline, change ...func(*options.ChangeStreamOptionsBuilder)) *mongo.ChangeStream {
	t.Helper()
	opts := options.ChangeStream().SetMaxAwaitTime(100 * time.Millisecond)
	for _, f := range change {
		f(opts)
	}
	if pipeline == nil {
		pipeline = mongo.Pipeline{}
	}
	cs, err := w.Watch(r.ctx, pipeline, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cs.Close(context.Background()) })
	return cs
}

func resumeAfter(token bson.Raw) func(*options.ChangeStreamOptionsBuilder) {
	return func(o *options.ChangeStreamOptionsBuilder) { o.SetResumeAfter(token) }
}

// next waits for an event.
func (r *rig) next(t *testing.T, cs *mongo.ChangeStream) bson.D {
	t.Helper()
	if !cs.Next(r.ctx) {
		t.Fatalf("no event: %v (cursor %d)", cs.Err(), cs.ID())
	}
	var event bson.D
	if err := cs.Decode(&event); err != nil {
		t.Fatal(err)
	}
	return event
}

// want checks the operation types of the next events.
func (r *rig) want(t *testing.T, cs *mongo.ChangeStream, types ...string) {
	t.Helper()
	for _, want := range types {
		if event := r.next(t, cs); part(event, "operationType") != want {
			t.Errorf("got %v, want the operation type %s", event, want)
		}
	}
}

func TestEventsDescribeChanges(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.insert(t, d("_id", int32(0)))
		cs := r.watch(t, r.db, nil)
		r.insert(t, d("_id", int32(1), "s", "x", "sub", d("x", int32(1)), "list", bson.A{int32(1), int32(2)}))
		r.update(t, 1, d("$set", d("sub.x", int32(2), "list.1", "b"), "$unset", d("s", 1, "none", 1)))
		r.update(t, 1, d("$set", d("sub.x", int32(2)))) // changes nothing: no event
		if _, err := r.coll.ReplaceOne(r.ctx, d("_id", 1), d("z", int32(1))); err != nil {
			t.Fatal(err)
		}
		if _, err := r.coll.DeleteOne(r.ctx, d("_id", 1)); err != nil {
			t.Fatal(err)
		}
		for _, want := range []struct {
			kind string
			full any
		}{
			{"insert", d("_id", int32(1), "s", "x", "sub", d("x", int32(1)), "list", bson.A{int32(1), int32(2)})},
			{"update", nil},
			{"replace", d("_id", int32(1), "z", int32(1))},
			{"delete", nil},
		} {
			event := r.next(t, cs)
			if part(event, "operationType") != want.kind || !equal(t, part(event, "fullDocument"), want.full) {
				t.Errorf("got %v, want %s with the document %v", event, want.kind, want.full)
			}
			if !equal(t, part(event, "documentKey"), d("_id", int32(1))) || part(event, "ns.db") != r.db.Name() || part(event, "ns.coll") != "api_keys" {
				t.Errorf("namespace or key of %v", event)
			}
			if _, ok := part(event, "clusterTime").(bson.Timestamp); !ok {
				t.Errorf("no cluster time in %v", event)
			}
			if want.kind == "update" {
				wantUpdate(t, event)
			}
		}
	})
}

func wantUpdate(t *testing.T, event bson.D) {
	t.Helper()
	fields, _ := part(event, "updateDescription.updatedFields").(bson.D)
	set := map[string]any{}
	for _, e := range fields {
		set[e.Key] = e.Value
	}
	removed := part(event, "updateDescription.removedFields")
	if len(set) != 2 || set["sub.x"] != int32(2) || set["list.1"] != "b" || !equal(t, removed, bson.A{"s"}) {
		t.Errorf("updated %v, removed %v", fields, removed)
	}
}

func TestTokensAreOrdered(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.server.Needs(t, mongotest.MongoDBTokens)
		r.insert(t, d("_id", 0))
		cs := r.watch(t, r.db, nil)
		last := cs.ResumeToken().Lookup("_data").StringValue()
		for i := range 3 {
			r.insert(t, d("_id", i+1))
			event := r.next(t, cs)
			token, _ := part(event, "_id._data").(string)
			if token <= last || !strings.HasPrefix(token, "82") {
				t.Errorf("token %s after %s", token, last)
			}
			last = token
		}
	})
}

// The tokens of an idle stream advance with the log, so that it can be resumed.
func TestTokenOfAnIdleStreamAdvances(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.server.Needs(t, mongotest.MongoDBTokens)
		r.insert(t, d("_id", 0))
		cs := r.watch(t, r.coll, nil)
		first := cs.ResumeToken().Lookup("_data").StringValue()
		if _, err := r.db.Collection("other").InsertOne(r.ctx, d()); err != nil {
			t.Fatal(err)
		}
		mongotest.Eventually(t, timeout, func() bool {
			if cs.TryNext(r.ctx) || cs.Err() != nil {
				t.Fatalf("an event %v, or %v", cs.Current, cs.Err())
			}
			return cs.ResumeToken().Lookup("_data").StringValue() > first
		}, "the token advances")
	})
}

func TestStreamResumesExactlyAfterAToken(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.insert(t, d("_id", "before"))
		cs := r.watch(t, r.db, nil)
		var tokens []bson.Raw
		for i := range int32(4) {
			r.insert(t, d("_id", i))
			r.next(t, cs)
			tokens = append(tokens, cs.ResumeToken())
		}
		for i, token := range tokens[:3] {
			if event := r.next(t, r.watch(t, r.db, nil, resumeAfter(token))); part(event, "documentKey._id") != int32(i+1) {
				t.Errorf("after event %d came %v", i, event)
			}
		}
	})
}

func TestUnknownTokenIsRejected(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.insert(t, d("_id", 0))
		_, err := r.coll.Watch(r.ctx, mongo.Pipeline{}, options.ChangeStream().SetResumeAfter(d("_data", "not a token")))
		wantCode(t, err, 9, 260, 2)
	})
}

// A stream that starts at a time delivers the change of that very time first. The time is
// that of the change's event: the operationTime of the write's reply may be later, because
// of anything else that moves the clock before the server replies.
func TestStreamStartsAtAnOperationTime(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.insert(t, d("_id", "before"))
		cs := r.watch(t, r.db, nil)
		var times []bson.Timestamp
		for i := range int32(3) {
			reply, err := r.command(r.db.Name(), d("insert", r.coll.Name(), "documents", bson.A{d("_id", i)}, "writeConcern", d("w", "majority")))
			if err != nil {
				t.Fatal(err)
			}
			changed := part(r.next(t, cs), "clusterTime").(bson.Timestamp)
			if replied := part(reply, "operationTime").(bson.Timestamp); replied.Before(changed) {
				t.Errorf("the reply to change %d has the operationTime %v, before the change's own time %v", i, replied, changed)
			}
			times = append(times, changed)
		}
		for i, at := range times {
			cs := r.watch(t, r.db, nil, func(o *options.ChangeStreamOptionsBuilder) { o.SetStartAtOperationTime(&at) })
			for want := i; want < len(times); want++ {
				if event := r.next(t, cs); part(event, "documentKey._id") != int32(want) {
					t.Errorf("from the time of change %d: got %v, want change %d", i, event, want)
				}
			}
		}
	})
}

func TestDriverResumesAfterALostConnection(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.server.Needs(t, mongotest.Failpoints)
		r.insert(t, d("_id", int32(0)))
		app := r.server.Client(t, r.db.Name())
		cs := r.watch(t, app.Database(r.db.Name()), nil)
		r.insert(t, d("_id", int32(1)))
		r.next(t, cs)
		r.failCommand(t, d("times", 1), d("failCommands", bson.A{"getMore"}, "closeConnection", true, "appName", r.db.Name()))
		r.insert(t, d("_id", int32(2)))
		if event := r.next(t, cs); part(event, "documentKey._id") != int32(2) {
			t.Errorf("after the resume came %v", event)
		}
	})
}

func TestCollectionStreamEndsWithInvalidate(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		for name, end := range map[string]func(r *rig) error{
			"drop": func(r *rig) error { return r.coll.Drop(r.ctx) },
			"rename": func(r *rig) error {
				_, err := r.command("admin", d("renameCollection", r.db.Name()+".api_keys", "to", r.db.Name()+".old"))
				return err
			},
			"dropDatabase": func(r *rig) error { return r.db.Drop(r.ctx) },
		} {
			r.run(t, name, func(t *testing.T, r *rig) {
				r.insert(t, d("_id", 1))
				cs := r.watch(t, r.coll, nil)
				if err := end(r); err != nil {
					t.Fatal(err)
				}
				r.want(t, cs, strings.TrimSuffix(name, "Database"), "invalidate")
				token := cs.ResumeToken()
				if cs.Next(r.ctx) || cs.Err() != nil || cs.ID() != 0 {
					t.Errorf("after the invalidate: %v, cursor %d", cs.Err(), cs.ID())
				}
				_, err := r.coll.Watch(r.ctx, mongo.Pipeline{}, options.ChangeStream().SetResumeAfter(token))
				wantCode(t, err, 260)
			})
		}
	})
}

func TestDatabaseStreamContinuesAfterADrop(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.insert(t, d("_id", 1))
		cs := r.watch(t, r.db, nil)
		if err := r.coll.Drop(r.ctx); err != nil {
			t.Fatal(err)
		}
		r.insert(t, d("_id", 2))
		r.want(t, cs, "drop", "insert")
		if err := r.db.Drop(r.ctx); err != nil {
			t.Fatal(err)
		}
		r.want(t, cs, "drop", "dropDatabase", "invalidate")
		if cs.Next(r.ctx) || cs.Err() != nil || cs.ID() != 0 {
			t.Errorf("after the invalidate: %v, cursor %d", cs.Err(), cs.ID())
		}
	})
}

func TestRenameOntoACollectionIsOneEvent(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.insert(t, d("_id", 1))
		if _, err := r.db.Collection("staging").InsertOne(r.ctx, d("_id", 2)); err != nil {
			t.Fatal(err)
		}
		cs := r.watch(t, r.db, mongo.Pipeline{d("$match", d("operationType", d("$ne", "drop")))})
		if _, err := r.command("admin", d("renameCollection", r.db.Name()+".staging", "to", r.db.Name()+".api_keys", "dropTarget", true)); err != nil {
			t.Fatal(err)
		}
		event := r.next(t, cs)
		if part(event, "operationType") != "rename" || part(event, "ns.coll") != "staging" || part(event, "to.coll") != "api_keys" {
			t.Errorf("got %v", event)
		}
	})
}

// relevantUpdates is a filter like keytail's: an update passes if it names no field, or one of
// these, or a part of one.
func relevantUpdates(fields ...string) mongo.Pipeline {
	roots := func(input string, empty any, each string, in any) bson.D {
		list := any(d("$ifNull", bson.A{input, empty}))
		if _, ok := empty.(bson.D); ok {
			list = d("$objectToArray", list)
		}
		return d("$map", d("input", list, "as", each, "in", d("$arrayElemAt", bson.A{d("$split", bson.A{in, "."}), 0})))
	}
	union := d("$setUnion", bson.A{
		roots("$updateDescription.updatedFields", d(), "f", "$$f.k"),
		roots("$updateDescription.removedFields", bson.A{}, "f", "$$f"),
		roots("$updateDescription.truncatedArrays", bson.A{}, "f", "$$f.field"),
	})
	parts := d("$map", d("input", d("$objectToArray", d("$ifNull", bson.A{"$updateDescription", d()})), "as", "f", "in", "$$f.k"))
	passes := d("$or", bson.A{
		d("$eq", bson.A{d("$size", "$$roots"), 0}),
		d("$gt", bson.A{d("$size", d("$setIntersection", bson.A{"$$roots", d("$literal", fields)})), 0}),
		d("$not", bson.A{d("$setIsSubset", bson.A{parts, bson.A{"updatedFields", "removedFields", "truncatedArrays"}})}),
	})
	expr := d("$let", d("vars", d("roots", union), "in", passes))
	return mongo.Pipeline{d("$match", d("$or", bson.A{d("operationType", d("$ne", "update")), d("$expr", expr)}))}
}

func TestStreamFilterIsEvaluated(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.insert(t, d("_id", 1, "is_active", true, "scopes", bson.A{"a", "b", "c"}, "metadata", d("x", 1), "tags", bson.A{"a", "b"}))
		cs := r.watch(t, r.db, relevantUpdates("is_active", "scopes", "metadata"))
		for _, c := range []struct {
			update   any
			relevant bool
		}{
			{d("$set", d("last_used", 1)), false},
			{d("$inc", d("usage_count", 1)), false},
			{d("$set", d("plan", d("seats", 1), "is_active2", 1)), false},
			{d("$set", d("plan.seats", 2), "$inc", d("usage_count", 1)), false},
			{d("$set", d("plan.is_active", 1)), false},
			{d("$set", d("tags.1", "c")), false},
			{bson.A{d("$set", d("tags", bson.A{"a"}))}, false},
			{d("$unset", d("plan", 1)), false},
			{d("$set", d("plan", 1, "is_active", false)), true},
			{d("$set", d("metadata.x", 2)), true},
			{d("$set", d("metadata.last_used", 2)), true},
			{d("$set", d("plan", 2), "$unset", d("metadata.x", 1)), true},
			{d("$set", d("scopes.1", "x")), true},
			{d("$set", d("plan", 3), "$pull", d("scopes", "x")), true},
			{bson.A{d("$set", d("plan", 4, "scopes", bson.A{"a"}))}, true},
			{d("$set", d("plan", 5), "$unset", d("is_active", 1)), true},
		} {
			if result, err := r.coll.UpdateOne(r.ctx, d("_id", 1), c.update); err != nil || result.ModifiedCount != 1 {
				t.Fatalf("%v: %+v, %v", c.update, result, err)
			}
			r.insert(t, d("mark", 1))
			event := r.next(t, cs)
			if _, pipeline := c.update.(bson.A); pipeline && part(event, "operationType") == "replace" {
				// MongoDB before 5.0 logs each update by a pipeline as a replacement, which the filter passes.
				r.want(t, cs, "insert")
				continue
			}
			if delivered := part(event, "operationType") == "update"; delivered != c.relevant {
				t.Errorf("%v: delivered %v, want %v (%v)", c.update, delivered, c.relevant, event)
			}
			if part(event, "operationType") == "update" {
				r.want(t, cs, "insert")
			}
		}
	})
}

func TestErrorInAStreamFilterEndsTheStream(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.insert(t, d("_id", 0))
		cs := r.watch(t, r.db, mongo.Pipeline{d("$match", d("$expr", d("$gt", bson.A{d("$size", "$fullDocument.list"), 0})))})
		r.insert(t, d("list", "none"))
		if cs.Next(r.ctx) {
			t.Fatalf("an event was delivered: %v", cs.Current)
		}
		wantCode(t, cs.Err(), 17124)
	})
}
