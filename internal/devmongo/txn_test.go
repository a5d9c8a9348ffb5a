package devmongo

import (
	"context"
	"errors"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func inTransaction(t *testing.T, client *mongo.Client, do func(ctx context.Context, s *mongo.Session)) {
	t.Helper()
	session, err := client.StartSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.EndSession(context.Background())
	if err := session.StartTransaction(); err != nil {
		t.Fatal(err)
	}
	do(mongo.NewSessionContext(testContext(t), session), session)
}

func TestTransactionIsSeenWholeAtOneClusterTime(t *testing.T) {
	t.Parallel()
	_, client, coll := keys(t)
	ctx := testContext(t)
	must(coll.InsertMany(ctx, []any{d("_id", 1, "on", true), d("_id", 2, "on", true)}))(t)
	cs := watch(t, client.Database("app"), nil)
	inTransaction(t, client, func(tx context.Context, s *mongo.Session) {
		must(coll.UpdateOne(tx, d("_id", 1), d("$set", d("on", false))))(t)
		must(coll.DeleteOne(tx, d("_id", 2)))(t)
		must(coll.InsertOne(tx, d("_id", 3)))(t)
		if n := must(coll.CountDocuments(tx, d("on", true)))(t); n != 0 {
			t.Errorf("the transaction does not see its own writes: %d", n)
		}
		if n := must(coll.CountDocuments(ctx, d("on", true)))(t); n != 2 {
			t.Errorf("others see writes that are not committed: %d", n)
		}
		if err := s.CommitTransaction(tx); err != nil {
			t.Fatal(err)
		}
		if err := s.CommitTransaction(tx); err != nil {
			t.Errorf("a repeated commit: %v", err)
		}
	})
	var times []any
	for _, want := range []string{kindUpdate, kindDelete, kindInsert} {
		ev := next(t, cs)
		if opOf(ev) != want || isMissing(field(ev, "txnNumber")) || isMissing(field(ev, "lsid")) {
			t.Errorf("got %v, want %s of a transaction", ev, want)
		}
		times = append(times, field(ev, "clusterTime"))
	}
	if compare(times[0], times[1]) != 0 || compare(times[1], times[2]) != 0 {
		t.Errorf("cluster times differ: %v", times)
	}
}

func TestResumeInTheMiddleOfATransaction(t *testing.T) {
	t.Parallel()
	_, client, coll := keys(t)
	must(coll.InsertOne(testContext(t), d("_id", 0)))(t)
	cs := watch(t, client.Database("app"), nil, func(o *options.ChangeStreamOptionsBuilder) { o.SetBatchSize(1) })
	inTransaction(t, client, func(tx context.Context, s *mongo.Session) {
		must(coll.InsertMany(tx, []any{d("_id", 1), d("_id", 2), d("_id", 3)}))(t)
		if err := s.CommitTransaction(tx); err != nil {
			t.Fatal(err)
		}
	})
	next(t, cs)
	token := cs.ResumeToken()
	again := watch(t, client.Database("app"), nil, func(o *options.ChangeStreamOptionsBuilder) { o.SetResumeAfter(token) })
	for _, want := range []int32{2, 3} {
		if ev := next(t, again); part(ev, "documentKey._id") != want {
			t.Errorf("got %v, want %d", ev, want)
		}
	}
}

func TestAbortedTransactionNeverHappened(t *testing.T) {
	t.Parallel()
	_, client, coll := keys(t)
	must(coll.InsertOne(testContext(t), d("_id", 0)))(t)
	cs := watch(t, client.Database("app"), nil)
	inTransaction(t, client, func(tx context.Context, s *mongo.Session) {
		must(coll.InsertOne(tx, d("_id", 1)))(t)
		if err := s.AbortTransaction(tx); err != nil {
			t.Fatal(err)
		}
	})
	nothing(t, cs)
	if err := coll.FindOne(testContext(t), d("_id", 1)).Err(); !errors.Is(err, mongo.ErrNoDocuments) {
		t.Errorf("found %v", err)
	}
}

func TestConflictingTransactionIsTransient(t *testing.T) {
	t.Parallel()
	_, client, coll := keys(t)
	ctx := testContext(t)
	must(coll.InsertOne(ctx, d("_id", 1, "n", 0)))(t)
	inTransaction(t, client, func(tx context.Context, s *mongo.Session) {
		must(coll.UpdateOne(tx, d("_id", 1), d("$inc", d("n", 1))))(t)
		must(coll.UpdateOne(ctx, d("_id", 1), d("$inc", d("n", 10))))(t)
		err := s.CommitTransaction(tx)
		wantCode(t, err, 112)
		if se, ok := errors.AsType[mongo.ServerError](err); !ok || !se.HasErrorLabel("TransientTransactionError") {
			t.Errorf("label is missing: %v", err)
		}
	})
	inTransaction(t, client, func(tx context.Context, _ *mongo.Session) {
		if err := coll.FindOne(tx, d("_id", 1)).Err(); err != nil {
			t.Fatal(err)
		}
		must(coll.UpdateOne(ctx, d("_id", 1), d("$inc", d("n", 10))))(t)
		_, err := coll.UpdateOne(tx, d("_id", 1), d("$inc", d("n", 1)))
		wantCode(t, err, 112)
		_, err = coll.InsertOne(tx, d("_id", 2))
		wantCode(t, err, 251)
	})
	if n := field(findOne(t, coll, d("_id", 1)), "n"); n != int32(20) {
		t.Errorf("n is %v, want 20", n)
	}
}

func TestTransactionOptionsAreRefusedOutsideOne(t *testing.T) {
	t.Parallel()
	s := start(t)
	id := bson.Binary{Subtype: 4, Data: make([]byte, 16)}
	for _, c := range []struct {
		cmd  bson.D
		code int32
	}{
		{d("find", "x", "txnNumber", int64(1), "lsid", d("id", id)), 50768},
		{d("find", "x", "txnNumber", int64(1)), 72},
		{d("find", "x", "txnNumber", int64(2), "autocommit", false, "lsid", d("id", id)), 251},
		{d("createIndexes", "x", "txnNumber", int64(3), "autocommit", false, "startTransaction", true, "lsid", d("id", id)), 263},
		{d("find", "x", "autocommit", false, "lsid", d("id", id)), 72},
	} {
		if reply := s.direct(t, c.cmd); field(reply, "code") != c.code {
			t.Errorf("%v: %v, want %d", c.cmd, reply, c.code)
		}
	}
}
