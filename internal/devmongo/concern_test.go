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

func TestReadAheadOfTheClusterTimeIsRejected(t *testing.T) {
	t.Parallel()
	s, _, _ := keys(t)
	at := applied(s)
	find := func(at bson.Timestamp) bson.D {
		return s.direct(t, d("find", "x", "readConcern", d("level", "majority", "afterClusterTime", at)))
	}
	if reply := find(bson.Timestamp{T: at.T + 100}); field(reply, "code") != int32(72) {
		t.Errorf("ahead: %v", reply)
	}
	// A client advances the cluster time, and the primary then advances its log.
	ahead := bson.Timestamp{T: at.T + 100, I: 1}
	s.direct(t, d("ping", 1, "$clusterTime", d("clusterTime", ahead)))
	reply := find(ahead)
	if field(reply, "ok") != 1.0 || compare(field(reply, "operationTime"), ahead) < 0 {
		t.Errorf("after the client's cluster time: %v", reply)
	}
	far := bson.Timestamp{T: at.T + 2*365*24*3600}
	if reply := s.direct(t, d("ping", 1, "$clusterTime", d("clusterTime", far))); field(reply, "code") != int32(209) {
		t.Errorf("too far ahead: %v", reply)
	}
}

func TestLinearizableReadAndMajorityWriteWaitForTheMajority(t *testing.T) {
	t.Parallel()
	s, _, coll := keys(t)
	ctx := testContext(t)
	must(coll.InsertOne(ctx, d("_id", 1)))(t)
	linear := d("find", "api_keys", "filter", d("_id", 1), "readConcern", d("level", "linearizable"), "maxTimeMS", 50)
	if reply := s.direct(t, linear); field(reply, "ok") != 1.0 {
		t.Errorf("with a majority: %v", reply)
	}
	s.HoldMajority()
	if reply := s.direct(t, linear); field(reply, "code") != int32(50) {
		t.Errorf("without a majority: %v", reply)
	}
	write := d("insert", "api_keys", "documents", bson.A{d("_id", 2)}, "writeConcern", d("w", "majority"), "maxTimeMS", 20)
	reply := s.direct(t, write)
	if part(reply, "writeConcernError.code") != int32(50) || field(reply, "n") != int32(1) {
		t.Errorf("a majority write: %v", reply)
	}
	write = d("insert", "api_keys", "documents", bson.A{d("_id", 3)}, "writeConcern", d("w", "majority", "wtimeout", int64(20)))
	reply = s.direct(t, write)
	if part(reply, "writeConcernError.code") != int32(64) || field(reply, "n") != int32(1) {
		t.Errorf("a majority write with a wtimeout: %v", reply)
	}
	s.ReleaseMajority()
	if reply := s.direct(t, linear); field(reply, "ok") != 1.0 {
		t.Errorf("after the release: %v", reply)
	}
}

// The default write concern is one node on 4.4, and a majority from 5.0 on.
func TestDefaultWriteConcern(t *testing.T) {
	t.Parallel()
	for _, old := range []bool{false, true} {
		s := start(t, func(c *Config) { c.Release44 = old })
		s.HoldMajority()
		reply := s.direct(t, d("insert", "api_keys", "documents", bson.A{d("_id", 1)}, "maxTimeMS", 20))
		if waits := !isMissing(field(reply, "writeConcernError")); waits == old {
			t.Errorf("4.4 %v: %v", old, reply)
		}
	}
}
