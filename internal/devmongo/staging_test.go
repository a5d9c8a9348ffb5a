package devmongo

import (
	"context"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/readconcern"
)

// held is how long the tests hold something back: long against what a healthy
// command takes.
const held = 300 * time.Millisecond

func named(t *testing.T, s *Server, appName string) *mongo.Collection {
	t.Helper()
	client := connect(t, s, func(o *options.ClientOptions) { o.SetAppName(appName) })
	if err := client.Ping(testContext(t), nil); err != nil {
		t.Fatal(err)
	}
	return client.Database("app").Collection("api_keys")
}

// takes is how long f takes.
func takes(f func()) time.Duration {
	began := time.Now()
	f()
	return time.Since(began)
}

func TestBlockConnectionHoldsTheCommandBackAndNobodyElse(t *testing.T) {
	t.Parallel()
	s, client, coll := keys(t)
	must(coll.InsertOne(testContext(t), d("_id", 1, "v", "old")))(t)
	victim, other := named(t, s, "victim"), named(t, s, "other")
	setFailPoint(t, client, d("times", 1), d("failCommands", bson.A{"find"}, "appName", "victim",
		"blockConnection", true, "blockTimeMS", held.Milliseconds()))
	found := make(chan bson.D, 1)
	began := time.Now()
	go func() { found <- findOne(t, victim, d("_id", 1)) }()
	must(0, s.until(testContext(t), func() bool { return s.fail.struck > 0 }))(t)
	// Everybody else goes on, and the command has not been executed yet.
	must(other.UpdateByID(testContext(t), 1, d("$set", d("v", "new"))))(t)
	if took := time.Since(began); took >= held {
		t.Skipf("this machine takes %v for an update: nothing can be said", took)
	}
	if got := <-found; field(got, "v") != "new" {
		t.Errorf("it was executed before it was held back: %v", got)
	}
	if took := time.Since(began); took < held {
		t.Errorf("it was held back for %v only", took)
	}
	if took := takes(func() { findOne(t, victim, d("_id", 1)) }); took >= held {
		t.Errorf("times: 1 struck twice: %v", took)
	}
}

func TestDelayedRepliesShowWhatWasWhenTheCommandCame(t *testing.T) {
	t.Parallel()
	s, _, coll := keys(t)
	must(coll.InsertOne(testContext(t), d("_id", 1, "v", "old")))(t)
	victim := named(t, s, "victim")
	s.DelayReplies("victim", "find", held)
	found := make(chan bson.D, 1)
	began := time.Now()
	go func() { found <- findOne(t, victim, d("_id", 1)) }()
	if took := takes(func() { findOne(t, coll, d("_id", 1)) }); took >= held {
		t.Errorf("another one waits too: %v", took)
	}
	if took := takes(func() { must(victim.UpdateByID(testContext(t), 2, d("$set", d("v", "new"))))(t) }); took >= held {
		t.Errorf("another command waits too: %v", took)
	}
	if field(<-found, "v") != "old" || time.Since(began) < held {
		t.Errorf("after %v", time.Since(began))
	}
	s.DelayReplies("", "", 0)
	if took := takes(func() { findOne(t, victim, d("_id", 1)) }); took >= held {
		t.Errorf("it does not end: %v", took)
	}
}

func TestLaggingReadsAreAsOldAsTheyMayBe(t *testing.T) {
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
		t.Errorf("a read after the change does not have it: %v", got)
	}
	s.CatchUpReads()
	if got := findOne(t, majority, d("_id", 1)); field(got, "v") != "new" {
		t.Errorf("it does not end: %v", got)
	}
}

func TestRolledLogForgetsWhoIsBehindAndNobodyElse(t *testing.T) {
	t.Parallel()
	s, client, coll := keys(t)
	db := client.Database("app")
	must(coll.InsertOne(testContext(t), d("_id", 0)))(t)
	behind, abreast := watch(t, db, nil), watch(t, db, nil)
	for i := range 3 {
		must(coll.InsertOne(testContext(t), d("_id", i+1)))(t)
	}
	for range 3 {
		next(t, abreast)
	}
	s.RollLog()
	must(coll.InsertOne(testContext(t), d("_id", 4)))(t)
	if ev := next(t, abreast); part(ev, "documentKey._id") != int32(4) {
		t.Errorf("who had read all misses something: %v", ev)
	}
	if behind.Next(testContext(t)) || code(behind.Err()) != 136 {
		t.Errorf("who was behind gets %v, %v", behind.Current, behind.Err())
	}
}

// TestAWallClockCanDiffer: dates follow it, the cluster time never goes back.
func TestAWallClockCanDiffer(t *testing.T) {
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
		t.Errorf("%d documents have expired for a clock that is an hour ahead, want 1", n)
	}
}

// resumeToken is the token of a stream of the collection's database, now.
func resumeToken(t *testing.T, coll *mongo.Collection) bson.Raw {
	t.Helper()
	changes := must(coll.Database().Watch(testContext(t), mongo.Pipeline{}))(t)
	defer func() { _ = changes.Close(testContext(t)) }()
	return changes.ResumeToken()
}

func TestDelayedResumesHoldBackOnlyAggregatesWithAToken(t *testing.T) {
	t.Parallel()
	s, _, coll := keys(t)
	victim := named(t, s, "victim")
	token := resumeToken(t, victim)
	resume := func(coll *mongo.Collection) time.Duration {
		return takes(func() {
			changes := must(coll.Database().Watch(testContext(t), mongo.Pipeline{}, options.ChangeStream().SetResumeAfter(token)))(t)
			_ = changes.Close(testContext(t))
		})
	}
	s.DelayResumes("victim", held)
	if took := resume(victim); took < held {
		t.Errorf("a resume takes %v only", took)
	}
	if took := takes(func() { resumeToken(t, victim) }); took >= held {
		t.Errorf("a new stream takes long too: %v", took)
	}
	if took := resume(coll); took >= held {
		t.Errorf("another client waits too: %v", took)
	}
	s.DelayResumes("", 0)
	if took := resume(victim); took >= held {
		t.Errorf("it does not end: %v", took)
	}
}

func TestDelayedResumesEndWithWhoeverAsked(t *testing.T) {
	t.Parallel()
	const forEver = time.Hour
	for _, c := range []struct {
		name string
		end  func(s *Server, client context.CancelFunc)
	}{
		{"the client closes", func(_ *Server, client context.CancelFunc) { client() }},
		{"the node steps down", func(s *Server, _ context.CancelFunc) { s.StepDown(forEver) }},
		{"the delay ends", func(s *Server, _ context.CancelFunc) { s.DelayResumes("", 0) }},
		{"the server stops", nil}, // start's cleanup hangs otherwise
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			s, _, victim := keys(t)
			token := resumeToken(t, victim)
			s.DelayResumes("", forEver)
			ctx, cancel := context.WithCancel(testContext(t))
			defer cancel()
			done := make(chan struct{})
			go func() {
				defer close(done)
				changes, err := victim.Database().Watch(ctx, mongo.Pipeline{}, options.ChangeStream().SetResumeAfter(token))
				if err == nil {
					_ = changes.Close(testContext(t))
				}
			}()
			must(0, s.until(testContext(t), func() bool { return s.crawling > 0 }))(t)
			if c.end == nil {
				t.Cleanup(func() { <-done })
				return
			}
			c.end(s, cancel)
			must(0, s.until(testContext(t), func() bool { return s.crawling == 0 }))(t)
			cancel() // a driver that tries again
			<-done
		})
	}
}
