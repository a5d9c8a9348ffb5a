package devmongo

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/keytail/keytail/internal/clustertime"
)

func TestStreamDeliversOnlyWhatTheMajorityHas(t *testing.T) {
	t.Parallel()
	s, client, coll := keys(t)
	ctx := testContext(t)
	must(coll.InsertOne(ctx, d("_id", 0)))(t)
	s.HoldMajority()
	must(localWrites(coll).InsertOne(ctx, d("_id", "before")))(t)
	cs := watch(t, client.Database("app"), nil) // starts after the applied write, which it never delivers
	must(localWrites(coll).InsertOne(ctx, d("_id", "after")))(t)
	noEvent(t, cs)
	token := cs.ResumeToken().String()
	noEvent(t, cs)
	if cs.ResumeToken().String() != token {
		t.Error("the token advanced without a majority")
	}
	s.ReleaseMajority()
	if ev := next(t, cs); part(ev, "documentKey._id") != "after" {
		t.Errorf("got %v", ev)
	}
}

func TestRollbackUndoesWritesWithoutAMajority(t *testing.T) {
	t.Parallel()
	s, client, coll := keys(t)
	ctx := testContext(t)
	must(coll.InsertOne(ctx, d("_id", 1, "v", "old")))(t)
	cs := watch(t, client.Database("app"), nil)
	s.HoldMajority()
	must(localWrites(coll).UpdateOne(ctx, d("_id", 1), d("$set", d("v", "lost"))))(t)
	must(localWrites(coll).InsertOne(ctx, d("_id", 2)))(t)
	before := applied(s)
	s.Rollback()
	must(coll.InsertOne(ctx, d("_id", 3)))(t)
	if ev := next(t, cs); part(ev, "documentKey._id") != int32(3) {
		t.Errorf("a rolled-back write was delivered: %v", ev)
	}
	if got := findOne(t, coll, d("_id", 1)); field(got, "v") != "old" {
		t.Errorf("after the rollback: %v", got)
	}
	if n := must(coll.CountDocuments(ctx, d()))(t); n != 2 {
		t.Errorf("%d documents, want 2", n)
	}
	if compare(applied(s), before) <= 0 {
		t.Errorf("the log's time went back from %v to %v", before, applied(s))
	}
}

// The token of an empty batch shows how far the stream has read the log. It advances
// with writes that the stream does not deliver, but never beyond what the majority has.
func TestCollectionStreamsTokenFollowsTheMajority(t *testing.T) {
	t.Parallel()
	s, client, coll := keys(t)
	ctx := testContext(t)
	elsewhere := client.Database("other").Collection("heartbeats", options.Collection().SetWriteConcern(writeconcern.W1()))
	cs := watch(t, coll, nil)
	noEvent(t, cs)
	place := func() uint64 {
		t.Helper()
		if cs.TryNext(ctx) || cs.Err() != nil {
			t.Fatalf("an event, or %v", cs.Err())
		}
		return uint64(tokenAt(t, cs.ResumeToken()))
	}
	write := func() uint64 {
		t.Helper()
		session := must(client.StartSession())(t)
		defer session.EndSession(ctx)
		must(elsewhere.InsertOne(mongo.NewSessionContext(ctx, session), d()))(t)
		at := session.OperationTime()
		return uint64(clustertime.New(at.T, at.I))
	}
	at := write()
	if got := place(); got < at {
		t.Errorf("the token is at %x, but a write at %x was acknowledged before the getMore", got, at)
	}
	s.HoldMajority()
	at = write()
	for range 3 {
		if got := place(); got >= at {
			t.Errorf("the token is at %x, but the majority does not have the write at %x", got, at)
		}
	}
	s.ReleaseMajority()
	if place(); place() < at {
		t.Error("the token does not advance with the majority")
	}
}
