package devmongo

import (
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func TestRestoreRevertsDataAndOplog(t *testing.T) {
	t.Parallel()
	s, client, coll := keys(t)
	must(coll.InsertOne(testContext(t), d("_id", 1, "v", "snapshot")))(t)
	snapshot := s.Snapshot()
	must(coll.UpdateByID(testContext(t), 1, d("$set", d("v", "later"))))(t)
	must(coll.InsertOne(testContext(t), d("_id", 2)))(t)
	must(client.Database("other").Collection("c").InsertOne(testContext(t), d("_id", 1)))(t)
	began := s.term
	for range 2 { // the snapshot is not changed by what is written after it was restored
		s.Restore(snapshot)
		if got := findOne(t, coll, d("_id", 1)); field(got, "v") != "snapshot" {
			t.Errorf("after the restore: %v", got)
		}
		if n := must(coll.CountDocuments(testContext(t), d()))(t); n != 1 {
			t.Errorf("%d documents, want 1", n)
		}
		if names := must(client.Database("other").ListCollectionNames(testContext(t), d()))(t); len(names) != 0 {
			t.Errorf("collections of the other database: %v", names)
		}
		must(coll.UpdateByID(testContext(t), 1, d("$set", d("v", "after the restore"))))(t)
	}
	if s.term != began+2 {
		t.Errorf("term %d after two restores, it was %d", s.term, began)
	}
}

// The token of an empty batch is a position, which may be later than the log. The token
// of an event is valid only if the log has the event.
func TestStreamResumesAfterARestore(t *testing.T) {
	t.Parallel()
	s, client, coll := keys(t)
	db := client.Database("app")
	cs := watch(t, db, nil)
	must(coll.InsertOne(testContext(t), d("_id", 1)))(t)
	next(t, cs)
	snapshot := s.Snapshot()
	must(coll.InsertOne(testContext(t), d("_id", 2)))(t)
	lost := field(next(t, cs), "_id")
	s.TickNoop() // advances the token beyond the event
	noEvent(t, cs)
	mark := cs.ResumeToken()
	s.Restore(snapshot)
	// The driver resumes with the token of the last batch.
	must(coll.InsertOne(testContext(t), d("_id", 3)))(t)
	if ev := next(t, cs); part(ev, "documentKey._id") != int32(3) {
		t.Errorf("got %v", ev)
	}
	after := watch(t, db, nil, func(o *options.ChangeStreamOptionsBuilder) { o.SetResumeAfter(mark) })
	if ev := next(t, after); part(ev, "documentKey._id") != int32(3) {
		t.Errorf("got %v", ev)
	}
	_, err := db.Watch(testContext(t), mongo.Pipeline{}, options.ChangeStream().SetResumeAfter(lost))
	if code(err) != 280 {
		t.Errorf("resumed after an event that the log does not have: %v", err)
	}
}

func TestClusterTimeContinuesFromTheClients(t *testing.T) {
	t.Parallel()
	now := time.Unix(1_000_000, 0)
	s := start(t, func(c *Config) { c.Now = func() time.Time { return now } })
	client := connect(t, s)
	coll := client.Database("app").Collection("api_keys")
	must(coll.InsertOne(testContext(t), d("_id", 1)))(t)
	snapshot := s.Snapshot()
	for i := range 10 {
		must(coll.InsertOne(testContext(t), d("_id", i+2)))(t)
	}
	seen := applied(s)
	s.Restore(snapshot)
	if at := applied(s); !at.Before(seen) {
		t.Errorf("the log is at %v although no client has sent %v", at, seen)
	}
	must(coll.InsertOne(testContext(t), d("_id", 2)))(t)
	if at := applied(s); !at.After(seen) {
		t.Errorf("the next entry is at %v, the client has seen %v", at, seen)
	}
	// A read after the lost time does not wait: the log is beyond it.
	s.direct(t, d("find", "api_keys", "readConcern", d("level", "majority", "afterClusterTime", seen)))
}

func TestSnapshotIncludesRetryableWrites(t *testing.T) {
	t.Parallel()
	s, _, coll := keys(t)
	must(coll.InsertOne(testContext(t), d("_id", 1, "n", 0)))(t)
	add := func(number int64) {
		s.direct(t, d("update", "api_keys", "updates", bson.A{d("q", d("_id", 1), "u", d("$inc", d("n", 1)))},
			"lsid", d("id", bson.Binary{Subtype: 4, Data: make([]byte, 16)}), "txnNumber", number))
	}
	add(1)
	snapshot := s.Snapshot()
	add(2)
	s.Restore(snapshot)
	add(1) // a retry: the snapshot has its result
	add(2) // it was done after the snapshot, so it is done again
	if got := findOne(t, coll, d("_id", 1)); field(got, "n") != int32(2) {
		t.Errorf("got %v, want n: 2", got)
	}
}

// A command that waits when the process ends is not executed by the new process.
func TestCommandOfTheOldProcessIsNotExecuted(t *testing.T) {
	t.Parallel()
	s, client, coll := keys(t)
	must(coll.InsertOne(testContext(t), d("_id", 1)))(t)
	snapshot := s.Snapshot()
	setFailPoint(t, client, "alwaysOn", d("failCommands", bson.A{"update"}, "blockConnection", true, "blockTimeMS", 60_000, "appName", "victim"))
	victim := connect(t, s, func(o *options.ClientOptions) { o.SetAppName("victim").SetRetryWrites(false) }).Database("app").Collection("api_keys")
	sent := make(chan error, 1)
	go func() {
		_, err := victim.UpdateByID(testContext(t), 1, d("$set", d("v", "ghost")))
		sent <- err
	}()
	must(0, s.until(testContext(t), func() bool { return s.fail.applied > 0 }))(t)
	s.Restore(snapshot)
	if err := <-sent; !mongo.IsNetworkError(err) {
		t.Errorf("got %v, want a network error", err)
	}
	if got := findOne(t, coll, d("_id", 1)); len(got) != 1 {
		t.Errorf("it was executed after the restore: %v", got)
	}
	// The failpoint ended with the process.
	must(victim.UpdateByID(testContext(t), 1, d("$set", d("v", "new"))))(t)
}

func TestRestoreEndsStaging(t *testing.T) {
	t.Parallel()
	s, _, coll := keys(t)
	must(coll.InsertOne(testContext(t), d("_id", 1)))(t)
	snapshot := s.Snapshot()
	s.HoldMajority()
	s.LagReads()
	s.StepDown(0)
	s.Restore(snapshot)
	must(coll.InsertOne(testContext(t), d("_id", 2)))(t) // w: majority
	if n := must(majorityReads(coll).CountDocuments(testContext(t), d()))(t); n != 2 {
		t.Errorf("a majority read finds %d documents, want 2", n)
	}
}
