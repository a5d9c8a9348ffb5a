package devmongo

import (
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func TestExpiredDocumentsAreDeletedWithEvents(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	s := start(t, func(c *Config) { c.Now = func() time.Time { return now } })
	client := connect(t, s)
	coll := client.Database("app").Collection("keytail_heartbeats")
	ctx := testContext(t)
	must(coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: d("at", 1), Options: options.Index().SetExpireAfterSeconds(60)}))(t)
	must(coll.InsertMany(ctx, []any{d("_id", "old", "at", now.Add(-61*time.Second)), d("_id", "new", "at", now.Add(-59*time.Second)), d("_id", "text", "at", "old")}))(t)
	cs := watch(t, client.Database("app"), nil)
	if n := s.DeleteExpired(); n != 1 {
		t.Errorf("deleted %d, want 1", n)
	}
	if ev := next(t, cs); opOf(ev) != kindDelete || part(ev, "documentKey._id") != "old" {
		t.Errorf("event %v", ev)
	}
	if at := field(helloReply(t, client), "localTime"); at != bson.NewDateTimeFromTime(now) {
		t.Errorf("the server does not use Config.Now: %v", at)
	}
}

func helloReply(t *testing.T, client *mongo.Client) bson.D {
	t.Helper()
	var reply bson.D
	if err := client.Database("admin").RunCommand(testContext(t), d("hello", 1)).Decode(&reply); err != nil {
		t.Fatal(err)
	}
	return reply
}
