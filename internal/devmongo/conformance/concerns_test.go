package conformance

import (
	"errors"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"

	"github.com/keytail/keytail/internal/mongotest"
)

func TestAcknowledgedWriteIsRead(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		for name, concern := range map[string]*readconcern.ReadConcern{
			"local": readconcern.Local(), "majority": readconcern.Majority(), "linearizable": readconcern.Linearizable(),
		} {
			r.run(t, name, func(t *testing.T, r *rig) {
				r.insert(t, d("_id", 1)) // acknowledged by a majority
				coll := r.coll.Clone(options.Collection().SetReadConcern(concern))
				if err := coll.FindOne(r.ctx, d("_id", 1)).Err(); err != nil {
					t.Error(err)
				}
			})
		}
	})
}

func TestReadAfterAFutureClusterTimeIsRejected(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.server.Needs(t, mongotest.RefusesFuture)
		future := bson.Timestamp{T: uint32(time.Now().Add(24 * time.Hour).Unix()), I: 1}
		_, err := r.command(r.db.Name(), d("find", "api_keys", "readConcern", d("level", "majority", "afterClusterTime", future)))
		wantCode(t, err, 72)
	})
}

func TestRepliesHaveTheOperationTime(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		session, err := r.client.StartSession()
		if err != nil {
			t.Fatal(err)
		}
		defer session.EndSession(r.ctx)
		ctx := mongo.NewSessionContext(r.ctx, session)
		var last bson.Timestamp
		for i := range 3 {
			if _, err := r.coll.InsertOne(ctx, d("_id", i)); err != nil {
				t.Fatal(err)
			}
			at := session.OperationTime()
			if at == nil || at.Compare(last) <= 0 {
				t.Fatalf("operation time %v after %v", at, last)
			}
			last = *at
		}
	})
}

func TestEventHasTheOperationTimeOfItsWrite(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.insert(t, d("_id", 0))
		cs := r.watch(t, r.db, nil)
		session, err := r.client.StartSession()
		if err != nil {
			t.Fatal(err)
		}
		defer session.EndSession(r.ctx)
		if _, err := r.coll.InsertOne(mongo.NewSessionContext(r.ctx, session), d("_id", 1)); err != nil {
			t.Fatal(err)
		}
		if at, ok := part(r.next(t, cs), "clusterTime").(bson.Timestamp); !ok || at.Compare(*session.OperationTime()) > 0 {
			t.Errorf("the event's cluster time is %v, the write's operation time %v", at, session.OperationTime())
		}
	})
}

func TestImpossibleWriteConcernIsReported(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		reply, err := r.command(r.db.Name(), d("insert", "api_keys", "documents", bson.A{d("_id", 1)}, "writeConcern", d("w", 50)))
		if got := part(reply, "writeConcernError.code"); got != int32(100) && code(err) != 100 {
			t.Errorf("reply %v, %v", reply, err)
		}
		if len(r.ids(t, d())) != 1 {
			t.Error("the write was not done")
		}
	})
}

// TestWriteConcernHasATimeout: drivers send wtimeout when they repeat the commit of a transaction.
func TestWriteConcernHasATimeout(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		for id, wtimeout := range []any{0, 10_000, int64(10_000)} {
			reply, err := r.command(r.db.Name(), d("insert", "api_keys", "documents", bson.A{d("_id", id)}, "writeConcern", d("w", "majority", "wtimeout", wtimeout)))
			if err != nil || part(reply, "writeConcernError") != nil {
				t.Errorf("wtimeout %v: %v, %v", wtimeout, reply, err)
			}
		}
	})
}

func TestConcernsAreRejectedWhereTheyDoNotApply(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		_, err := r.command(r.db.Name(), d("ping", 1, "readConcern", d("level", "majority")))
		wantCode(t, err, 72)
		_, err = r.command(r.db.Name(), d("find", "api_keys", "writeConcern", d("w", 1)))
		wantCode(t, err, 72)
	})
}

func TestFailCommandAffectsOneApplication(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.server.Needs(t, mongotest.Failpoints)
		victim := r.server.Connect(t, r.server.Options(r.db.Name()).SetRetryReads(false)).Database(r.db.Name()).Collection("api_keys")
		r.failCommand(t, d("times", 1), d("failCommands", bson.A{"find"}, "errorCode", 91, "appName", r.db.Name(), "errorLabels", bson.A{"Odd"}))
		if err := r.coll.FindOne(r.ctx, d()).Err(); !errors.Is(err, mongo.ErrNoDocuments) {
			t.Errorf("another application: %v", err)
		}
		err := victim.FindOne(r.ctx, d()).Err()
		wantCode(t, err, 91)
		if se, ok := errors.AsType[mongo.ServerError](err); !ok || !se.HasErrorLabel("Odd") {
			t.Errorf("the label is missing: %v", err)
		}
		if err := victim.FindOne(r.ctx, d()).Err(); !errors.Is(err, mongo.ErrNoDocuments) {
			t.Errorf("the second command: %v", err)
		}
	})
}

func TestRetriedWriteTakesEffectOnce(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.server.Needs(t, mongotest.Failpoints)
		for name, data := range map[string]bson.D{
			"after execution":  d("writeConcernError", d("code", 91, "errmsg", "shutting down")),
			"before execution": d("closeConnection", true),
		} {
			r.run(t, name, func(t *testing.T, r *rig) {
				r.insert(t, d("_id", 1, "n", int32(0)))
				app := r.server.Client(t, r.db.Name()).Database(r.db.Name()).Collection("api_keys")
				r.failCommand(t, d("times", 1), append(d("failCommands", bson.A{"update"}, "appName", r.db.Name()), data...))
				_, err := app.UpdateByID(r.ctx, 1, d("$inc", d("n", 1)))
				if n := part(r.find(t, d("_id", 1)), "n"); n != int32(1) || err != nil {
					t.Errorf("n is %v, want 1; error %v", n, err)
				}
			})
		}
	})
}

func TestBlockedCommandWaitsBeforeItsExecution(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.server.Needs(t, mongotest.Failpoints)
		const block = 300 * time.Millisecond
		app := r.server.Client(t, r.db.Name())
		if err := app.Ping(r.ctx, nil); err != nil {
			t.Fatal(err)
		}
		r.failCommand(t, d("times", 1), d("failCommands", bson.A{"find"}, "appName", r.db.Name(), "blockConnection", true, "blockTimeMS", block.Milliseconds()))
		began := time.Now()
		err := app.Database(r.db.Name()).Collection("api_keys").FindOne(r.ctx, d()).Err()
		if took := time.Since(began); !errors.Is(err, mongo.ErrNoDocuments) || took < block {
			t.Errorf("%v after %v", err, took)
		}
	})
}
