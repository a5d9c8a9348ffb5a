package devmongo

import (
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// Dates follow the wall clock. The cluster time never goes back.
func TestWallClockCanDiffer(t *testing.T) {
	t.Parallel()
	now := time.Date(2030, 1, 2, 3, 4, 5, 0, time.UTC)
	s := start(t, func(c *Config) { c.Now = func() time.Time { return now } })
	client := connect(t, s)
	coll := client.Database("app").Collection("keytail_heartbeats")
	ctx := testContext(t)
	must(coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: d("at", 1), Options: options.Index().SetExpireAfterSeconds(60)}))(t)
	cs := watch(t, client.Database("app"), nil)
	var last bson.Timestamp
	for _, offset := range []time.Duration{0, 10 * time.Second, -10 * time.Second} {
		s.SetWallClock(offset)
		want := bson.NewDateTimeFromTime(now.Add(offset))
		must(coll.UpdateByID(ctx, "a/1", d("$currentDate", d("at", true)), options.UpdateOne().SetUpsert(true)))(t)
		if at := field(findOne(t, coll, d("_id", "a/1")), "at"); at != want {
			t.Errorf("%v: $currentDate is %v, want %v", offset, at, want)
		}
		ev := next(t, cs)
		if wall := part(ev, "wallTime"); wall != want {
			t.Errorf("%v: wallTime is %v, want %v", offset, wall, want)
		}
		at, _ := field(ev, "clusterTime").(bson.Timestamp)
		if !at.After(last) {
			t.Errorf("%v: the cluster time goes from %v to %v", offset, last, at)
		}
		last = at
	}
	s.SetWallClock(time.Hour)
	if n := s.DeleteExpired(); n != 1 {
		t.Errorf("%d documents have expired with a clock that is an hour ahead, want 1", n)
	}
}
