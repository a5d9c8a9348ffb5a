package devmongo

import (
	"context"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

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
			t.Errorf("%s: the client got a reply", name)
		}
		cancel()
		if err := admin.Ping(ctx, nil); err != nil {
			t.Errorf("%s: another client got no reply: %v", name, err)
		}
		s.Heal()
		if err := read(ctx); err != nil {
			t.Errorf("%s: after healing: %v", name, err)
		}
	}
}

func TestDelayedReplyHasTheDataOfItsExecution(t *testing.T) {
	t.Parallel()
	s, _, coll := keys(t)
	must(coll.InsertOne(testContext(t), d("_id", 1, "v", "old")))(t)
	victim := named(t, s, "victim")
	s.DelayReplies("victim", "find", held)
	found := make(chan bson.D, 1)
	began := time.Now()
	go func() { found <- findOne(t, victim, d("_id", 1)) }()
	if field(<-found, "v") != "old" || time.Since(began) < held {
		t.Errorf("after %v", time.Since(began))
	}
	// Nothing else is delayed: with this delay it would outlast the context of the test.
	s.DelayReplies("victim", "find", time.Hour)
	findOne(t, coll, d("_id", 1))
	must(victim.UpdateByID(testContext(t), 2, d("$set", d("v", "new"))))(t)
	s.DelayReplies("", "", 0)
	findOne(t, victim, d("_id", 1))
}
