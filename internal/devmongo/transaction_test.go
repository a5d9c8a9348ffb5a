package devmongo

import (
	"context"
	"errors"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
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
			t.Errorf("the label is missing: %v", err)
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

func TestTransactionOptionsAreRejectedOutsideATransaction(t *testing.T) {
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
