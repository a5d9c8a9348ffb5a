package devmongo

import (
	"context"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
)

func majorityReads(coll *mongo.Collection) *mongo.Collection {
	return coll.Clone(options.Collection().SetReadConcern(readconcern.Majority()))
}

func localWrites(coll *mongo.Collection) *mongo.Collection {
	return coll.Clone(options.Collection().SetWriteConcern(writeconcern.W1()))
}

func causal(ctx context.Context, t *testing.T, client *mongo.Client, at bson.Timestamp) context.Context {
	t.Helper()
	session, err := client.StartSession(options.Session().SetCausalConsistency(true))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { session.EndSession(context.Background()) })
	if err := session.AdvanceOperationTime(&at); err != nil {
		t.Fatal(err)
	}
	return mongo.NewSessionContext(ctx, session)
}

func applied(s *Server) bson.Timestamp {
	s.mu.Lock()
	defer s.mu.Unlock()
	return timestamp(s.oplog.applied)
}

func TestCausalReadWaitsForTheMajority(t *testing.T) {
	t.Parallel()
	s, client, coll := keys(t)
	ctx := testContext(t)
	must(coll.InsertOne(ctx, d("_id", 1, "v", "old")))(t)
	s.HoldMajority()
	must(localWrites(coll).UpdateOne(ctx, d("_id", 1), d("$set", d("v", "new"))))(t)
	if got := findOne(t, majorityReads(coll), d("_id", 1)); field(got, "v") != "old" {
		t.Errorf("a majority read saw %v", got)
	}
	if got := findOne(t, coll, d("_id", 1)); field(got, "v") != "new" {
		t.Errorf("a local read saw %v", got)
	}
	short, cancel := context.WithTimeout(ctx, 100*time.Millisecond)
	defer cancel()
	at := applied(s)
	if err := majorityReads(coll).FindOne(causal(short, t, client, at), d("_id", 1)).Err(); err == nil {
		t.Error("a causal read did not wait for the majority")
	}
	got := make(chan bson.D, 1)
	go func() {
		var doc bson.D
		_ = majorityReads(coll).FindOne(causal(ctx, t, client, at), d("_id", 1)).Decode(&doc)
		got <- doc
	}()
	s.ReleaseMajority()
	if doc := <-got; field(doc, "v") != "new" {
		t.Errorf("after the release the causal read saw %v", doc)
	}
}

func TestReadAheadOfTheClusterTimeIs72(t *testing.T) {
	t.Parallel()
	s, _, _ := keys(t)
	at := applied(s)
	find := func(at bson.Timestamp) bson.D {
		return s.direct(t, d("find", "x", "readConcern", d("level", "majority", "afterClusterTime", at)))
	}
	if reply := find(bson.Timestamp{T: at.T + 100}); field(reply, "code") != int32(72) {
		t.Errorf("ahead: %v", reply)
	}
	// gossip moves the cluster time, and a primary then moves its own log
	ahead := bson.Timestamp{T: at.T + 100, I: 1}
	s.direct(t, d("ping", 1, "$clusterTime", d("clusterTime", ahead)))
	reply := find(ahead)
	if field(reply, "ok") != 1.0 || compare(field(reply, "operationTime"), ahead) < 0 {
		t.Errorf("after gossip: %v", reply)
	}
	far := bson.Timestamp{T: at.T + 2*365*24*3600}
	if reply := s.direct(t, d("ping", 1, "$clusterTime", d("clusterTime", far))); field(reply, "code") != int32(209) {
		t.Errorf("too far ahead: %v", reply)
	}
}

func TestLinearizableReadAndMajorityWriteBlockWithoutAMajority(t *testing.T) {
	t.Parallel()
	s, _, coll := keys(t)
	ctx := testContext(t)
	must(coll.InsertOne(ctx, d("_id", 1)))(t)
	linear := d("find", "api_keys", "filter", d("_id", 1), "readConcern", d("level", "linearizable"), "maxTimeMS", 50)
	if reply := s.direct(t, linear); field(reply, "ok") != 1.0 {
		t.Errorf("in health: %v", reply)
	}
	s.HoldMajority()
	if reply := s.direct(t, linear); field(reply, "code") != int32(50) {
		t.Errorf("without a majority: %v", reply)
	}
	write := d("insert", "api_keys", "documents", bson.A{d("_id", 2)}, "writeConcern", d("w", "majority", "wtimeout", 20))
	reply := s.direct(t, write)
	if part(reply, "writeConcernError.code") != int32(64) || part(reply, "writeConcernError.errInfo.wtimeout") != true || field(reply, "n") != int32(1) {
		t.Errorf("a majority write: %v", reply)
	}
	s.ReleaseMajority()
	if reply := s.direct(t, linear); field(reply, "ok") != 1.0 {
		t.Errorf("after the release: %v", reply)
	}
}

func TestStreamDeliversOnlyWhatTheMajorityHas(t *testing.T) {
	t.Parallel()
	s, client, coll := keys(t)
	ctx := testContext(t)
	must(coll.InsertOne(ctx, d("_id", 0)))(t)
	s.HoldMajority()
	must(localWrites(coll).InsertOne(ctx, d("_id", "before")))(t)
	cs := watch(t, client.Database("app"), nil) // starts after the applied write: the hole at open
	must(localWrites(coll).InsertOne(ctx, d("_id", "after")))(t)
	nothing(t, cs)
	token := cs.ResumeToken().String()
	nothing(t, cs)
	if cs.ResumeToken().String() != token {
		t.Error("the token moved without a majority")
	}
	s.ReleaseMajority()
	if ev := next(t, cs); part(ev, "documentKey._id") != "after" {
		t.Errorf("got %v", ev)
	}
}

func TestRollbackUndoesWhatTheMajorityNeverHad(t *testing.T) {
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

func TestStepDownRefusesWritesUntilTheNextElection(t *testing.T) {
	t.Parallel()
	s, client, coll := keys(t)
	ctx := testContext(t)
	must(coll.InsertOne(ctx, d("_id", 1)))(t)
	cs := watch(t, client.Database("app"), nil)
	election := func() bson.D { return s.direct(t, d("hello", 1)) }
	first := field(election(), "electionId")
	s.StepDown(0)
	if hello := election(); field(hello, "isWritablePrimary") != false || field(hello, "secondary") != true {
		t.Errorf("hello of a secondary: %v", hello)
	}
	if reply := s.direct(t, d("insert", "api_keys", "documents", bson.A{d("_id", 2)})); field(reply, "code") != int32(10107) {
		t.Errorf("a write on a secondary: %v", reply)
	}
	s.StepUp()
	if second := field(election(), "electionId"); compare(second, first) <= 0 {
		t.Errorf("election id %v after %v", second, first)
	}
	must(coll.InsertOne(ctx, d("_id", 3)))(t)
	if ev := next(t, cs); part(ev, "documentKey._id") != int32(3) {
		t.Errorf("after the election came %v", ev)
	}
}

func TestStepDownCommandClosesConnectionsAndComesBack(t *testing.T) {
	t.Parallel()
	s, client, coll := keys(t)
	ctx := testContext(t)
	must(coll.InsertOne(ctx, d("_id", 1)))(t)
	if err := client.Database("admin").RunCommand(ctx, d("replSetStepDown", 60, "force", true)).Err(); err == nil {
		t.Error("the connection was not closed")
	}
	if err := s.until(ctx, func() bool { return s.steppedDown != nil }); err != nil {
		t.Fatal(err)
	}
	s.StepUp()
	must(coll.InsertOne(ctx, d("_id", 2)))(t)
}

func TestFrozenAndBlackHoledClientsWait(t *testing.T) {
	t.Parallel()
	s, admin, coll := keys(t)
	ctx := testContext(t)
	must(coll.InsertOne(ctx, d("_id", 1)))(t)
	victim := connect(t, s, func(o *options.ClientOptions) { o.SetAppName("victim").SetRetryReads(false) })
	if err := victim.Ping(ctx, nil); err != nil {
		t.Fatal(err)
	}
	read := func(ctx context.Context) error {
		return victim.Database("app").Collection("api_keys").FindOne(ctx, d()).Err()
	}
	for name, stop := range map[string]func(string){"freeze": s.Freeze, "black hole": s.BlackHole} {
		stop("victim")
		short, cancel := context.WithTimeout(ctx, 50*time.Millisecond)
		if err := read(short); err == nil {
			t.Errorf("%s: the victim was answered", name)
		}
		cancel()
		if err := admin.Ping(ctx, nil); err != nil {
			t.Errorf("%s: another client was not answered: %v", name, err)
		}
		s.Heal()
		if err := read(ctx); err != nil {
			t.Errorf("%s: after healing: %v", name, err)
		}
	}
}
