package keystore

import (
	"context"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

// sentLinearizable has the relevant fields of a find command.
type sentLinearizable struct {
	Filter      bson.D
	ReadConcern bson.D `bson:"readConcern"`
	LSID        bson.D `bson:"lsid"`
	Limit       int
	MaxTimeMS   int64 `bson:"maxTimeMS"`
}

func TestLinearizableReadsAreSentByTheRule(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		f := newFixture(t, s)
		f.insert(t, document(t))
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		// The caller may be in a causally consistent session that has seen a
		// time: the driver would then add afterClusterTime to any read concern.
		session, err := f.client.StartSession(options.Session().SetCausalConsistency(true))
		if err != nil {
			t.Fatal(err)
		}
		defer session.EndSession(ctx)
		inSession := mongo.NewSessionContext(ctx, session)
		// By the primary: the client prefers a secondary, which may not have the document yet.
		atPrimary := f.keys.Clone(options.Collection().SetReadPreference(readpref.Primary()))
		if err := atPrimary.FindOne(inSession, bson.D{}).Err(); err != nil || session.OperationTime() == nil {
			t.Fatalf("the session has seen no time: %v", err)
		}
		for name, ctx := range map[string]context.Context{"plain": ctx, "in a causal session": inSession} {
			if _, found, err := f.FindLinearizable(ctx, testHash); err != nil || !found {
				t.Fatalf("%s: found %v, error %v", name, found, err)
			}
			var sent sentLinearizable
			find := f.wire.lastFind(t)
			if err := bson.Unmarshal(find, &sent); err != nil {
				t.Fatal(err)
			}
			// Only the level: no afterClusterTime
			if diff := cmp.Diff(bson.D{{Key: "level", Value: "linearizable"}}, sent.ReadConcern); diff != "" {
				t.Errorf("%s: read concern: %s", name, diff)
			}
			if diff := cmp.Diff(bson.D{{Key: "key_hash", Value: testHash.Hex()}}, sent.Filter); diff != "" {
				t.Errorf("%s: filter: %s", name, diff)
			}
			if got := member(find); got != "primary" || sent.LSID == nil || sent.Limit != 2 {
				t.Errorf("%s: reads from %s, session %v, limit %d", name, got, sent.LSID, sent.Limit)
			}
			// The server knows the deadline, too, so that a read whose caller
			// has gone does not wait for a majority there
			if sent.MaxTimeMS <= 0 || sent.MaxTimeMS > patience.Milliseconds() {
				t.Errorf("%s: maxTimeMS %d", name, sent.MaxTimeMS)
			}
		}
		session.EndSession(ctx)
		if n := f.client.NumberSessionsInProgress(); n != 0 {
			t.Errorf("%d sessions are still open", n)
		}
	})
}

func TestLinearizableReadsLikeAFill(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		f := newFixture(t, s)
		doc := document(t, bson.E{Key: "scopes", Value: bson.A{"a", "b:*"}})
		f.insert(t, doc)
		got, found, err := f.FindLinearizable(testContext(t), testHash)
		if diff := cmp.Diff(f.Schema().Decode(doc), got, compareRecords); err != nil || !found || diff != "" {
			t.Errorf("found %v, error %v, %s", found, err, diff)
		}
		if _, found, err := f.FindLinearizable(testContext(t), apikey.HashOf("another key")); found || err != nil {
			t.Errorf("another key: found %v, error %v", found, err)
		}
		other := apikey.HashOf("a key with a defect")
		f.insert(t, document(t, bson.E{Key: "_id", Value: "key-2"},
			bson.E{Key: "key_hash", Value: other.Hex()}, bson.E{Key: "expires_at", Value: "tomorrow"}))
		got, found, err = f.FindLinearizable(testContext(t), other)
		if err != nil || !found || got.Record.Defect == "" {
			t.Errorf("defect: found %v, error %v, %q", found, err, got.Record.Defect)
		}
		if f.logs.FilterField(zap.String("key_id", "key-2")).Len() != 1 {
			t.Errorf("the defect is not logged once: %v", f.logs.All())
		}
	})
}

// Without a majority no correct answer exists. A linearizable read blocks,
// where a majority read answers from the old snapshot.
func TestLinearizableBlocksWithoutAMajority(t *testing.T) {
	s := mongotest.StartDevmongo(t, devmongo.Config{})
	f := newFixture(t, &s.Server)
	f.insert(t, document(t))
	s.Node.HoldMajority()
	defer s.Node.ReleaseMajority()
	if _, found, err := f.FindByHash(testContext(t), testHash, 0); err != nil || !found {
		t.Fatalf("majority: found %v, error %v", found, err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, found, err := f.FindLinearizable(ctx, testHash); !mongo.IsTimeout(err) || found {
		t.Fatalf("linearizable: found %v, error %v", found, err)
	}
	s.Node.ReleaseMajority()
	if _, found, err := f.FindLinearizable(testContext(t), testHash); err != nil || !found {
		t.Fatalf("afterwards: found %v, error %v", found, err)
	}
}
