package conformance

import (
	"context"
	"errors"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// transaction starts one and passes its context to do. It is aborted at the end, unless
// do has ended it.
func (r *rig) transaction(t *testing.T, do func(tx context.Context, s *mongo.Session)) {
	t.Helper()
	session, err := r.client.StartSession()
	if err != nil {
		t.Fatal(err)
	}
	defer session.EndSession(context.Background())
	if err := session.StartTransaction(); err != nil {
		t.Fatal(err)
	}
	do(mongo.NewSessionContext(r.ctx, session), session)
}

func (r *rig) count(ctx context.Context, t *testing.T, filter bson.D) int64 {
	t.Helper()
	n, err := r.coll.CountDocuments(ctx, filter)
	if err != nil {
		t.Fatal(err)
	}
	return n
}

func TestTransactionIsVisibleAfterItsCommitOnly(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.insert(t, d("_id", 1, "on", true), d("_id", 2, "on", true))
		r.transaction(t, func(tx context.Context, s *mongo.Session) {
			if _, err := r.coll.UpdateByID(tx, 1, d("$set", d("on", false))); err != nil {
				t.Fatal(err)
			}
			if own, others := r.count(tx, t, d("on", true)), r.count(r.ctx, t, d("on", true)); own != 1 || others != 2 {
				t.Errorf("before the commit: the transaction sees %d documents, others see %d", own, others)
			}
			for range 2 { // a commit may be repeated
				if err := s.CommitTransaction(tx); err != nil {
					t.Fatal(err)
				}
			}
		})
		if n := r.count(r.ctx, t, d("on", true)); n != 1 {
			t.Errorf("after the commit: %d documents", n)
		}
	})
}

func TestEventsOfATransactionShareAClusterTime(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.insert(t, d("_id", 1), d("_id", 2))
		cs := r.watch(t, r.db, nil)
		r.transaction(t, func(tx context.Context, s *mongo.Session) {
			if _, err := r.coll.UpdateByID(tx, 1, d("$set", d("a", 1))); err != nil {
				t.Fatal(err)
			}
			if _, err := r.coll.DeleteOne(tx, d("_id", 2)); err != nil {
				t.Fatal(err)
			}
			if _, err := r.coll.InsertOne(tx, d("_id", 3)); err != nil {
				t.Fatal(err)
			}
			if err := s.CommitTransaction(tx); err != nil {
				t.Fatal(err)
			}
		})
		var times []any
		for _, want := range []string{"update", "delete", "insert"} {
			event := r.next(t, cs)
			if part(event, "operationType") != want || !has(event, "txnNumber") || !has(event, "lsid") {
				t.Errorf("got %v, want %s of a transaction", event, want)
			}
			times = append(times, part(event, "clusterTime"))
		}
		if times[0] != times[1] || times[1] != times[2] {
			t.Errorf("cluster times %v", times)
		}
	})
}

func TestStreamResumesWithinATransaction(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.insert(t, d("_id", int32(0)))
		cs := r.watch(t, r.db, nil, func(o *options.ChangeStreamOptionsBuilder) { o.SetBatchSize(1) })
		r.transaction(t, func(tx context.Context, s *mongo.Session) {
			if _, err := r.coll.InsertMany(tx, []any{d("_id", int32(1)), d("_id", int32(2)), d("_id", int32(3))}); err != nil {
				t.Fatal(err)
			}
			if err := s.CommitTransaction(tx); err != nil {
				t.Fatal(err)
			}
		})
		r.next(t, cs)
		again := r.watch(t, r.db, nil, resumeAfter(cs.ResumeToken()))
		for _, want := range []int32{2, 3} {
			if event := r.next(t, again); part(event, "documentKey._id") != want {
				t.Errorf("got %v, want the document %d", event, want)
			}
		}
	})
}

func TestAbortedTransactionHasNoEffect(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.insert(t, d("_id", 0))
		cs := r.watch(t, r.db, nil)
		r.transaction(t, func(tx context.Context, s *mongo.Session) {
			if _, err := r.coll.InsertOne(tx, d("_id", 1)); err != nil {
				t.Fatal(err)
			}
			if err := s.AbortTransaction(tx); err != nil {
				t.Fatal(err)
			}
		})
		r.insert(t, d("_id", int32(2)))
		if event := r.next(t, cs); part(event, "documentKey._id") != int32(2) {
			t.Errorf("got the event %v", event)
		}
		if n := r.count(r.ctx, t, d("_id", 1)); n != 0 {
			t.Errorf("the document exists")
		}
	})
}

// MongoDB refuses the second write immediately, devmongo at the commit. In both
// cases only one of the transactions commits, and the driver may retry the
// other one.
func TestOneOfTwoConflictingTransactionsFails(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.insert(t, d("_id", 1, "n", int32(0)))
		r.transaction(t, func(one context.Context, first *mongo.Session) {
			r.transaction(t, func(two context.Context, second *mongo.Session) {
				if _, err := r.coll.UpdateByID(one, 1, d("$inc", d("n", 1))); err != nil {
					t.Fatal(err)
				}
				_, err := r.coll.UpdateByID(two, 1, d("$inc", d("n", 10)))
				if err := first.CommitTransaction(one); err != nil {
					t.Fatal(err)
				}
				if err == nil {
					err = second.CommitTransaction(two)
				}
				wantCode(t, err, 112)
				if se, ok := errors.AsType[mongo.ServerError](err); !ok || !se.HasErrorLabel("TransientTransactionError") {
					t.Errorf("%v has no label TransientTransactionError", err)
				}
			})
		})
		if n := part(r.find(t, d("_id", 1)), "n"); n != int32(1) {
			t.Errorf("n is %v, want 1", n)
		}
	})
}

func TestStaleReadInATransactionConflicts(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.insert(t, d("_id", 1, "n", int32(0)))
		r.transaction(t, func(tx context.Context, _ *mongo.Session) {
			if err := r.coll.FindOne(tx, d("_id", 1)).Err(); err != nil {
				t.Fatal(err)
			}
			r.update(t, 1, d("$inc", d("n", 10)))
			_, err := r.coll.UpdateByID(tx, 1, d("$inc", d("n", 1)))
			wantCode(t, err, 112)
			_, err = r.coll.InsertOne(tx, d("_id", 2))
			wantCode(t, err, 251) // the conflict has aborted the transaction
		})
		if n := part(r.find(t, d("_id", 1)), "n"); n != int32(10) {
			t.Errorf("n is %v, want 10", n)
		}
	})
}
