package devmongo

import (
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
)

func TestLaggingReadsReturnOldData(t *testing.T) {
	t.Parallel()
	s, _, coll := keys(t)
	must(coll.InsertOne(testContext(t), d("_id", 1, "v", "old")))(t)
	majority := coll.Clone(options.Collection().SetReadConcern(readconcern.Majority()))
	s.LagReads()
	must(coll.UpdateByID(testContext(t), 1, d("$set", d("v", "new"))))(t)
	after := applied(s)
	if got := findOne(t, majority, d("_id", 1)); field(got, "v") != "old" {
		t.Errorf("a majority read does not lag: %v", got)
	}
	if got := findOne(t, coll, d("_id", 1)); field(got, "v") != "new" {
		t.Errorf("a local read lags: %v", got)
	}
	newest := s.direct(t, d("find", "api_keys", "filter", d("_id", 1), "readConcern", d("level", "majority", "afterClusterTime", after)))
	if got := part(newest, "cursor.firstBatch").([]bson.Raw); got[0].Lookup("v").StringValue() != "new" {
		t.Errorf("a read after the cluster time of the change does not see it: %v", got)
	}
	s.CatchUpReads()
	if got := findOne(t, majority, d("_id", 1)); field(got, "v") != "new" {
		t.Errorf("it does not end: %v", got)
	}
}
