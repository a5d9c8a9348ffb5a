package devmongo

import (
	"context"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func TestTokensHaveMongoDBsLayout(t *testing.T) {
	t.Parallel()
	s, client, coll := keys(t)
	ctx := testContext(t)
	must(coll.InsertOne(ctx, d("_id", 0)))(t)
	cs := watch(t, client.Database("app"), nil)
	first := cs.ResumeToken().Lookup("_data").StringValue()
	if !strings.HasPrefix(first, "82") || len(first) < 18 {
		t.Fatalf("token %s", first)
	}
	must(coll.InsertOne(ctx, d("_id", 1)))(t)
	ev := next(t, cs)
	token, _ := part(ev, "_id._data").(string)
	ts := field(ev, "clusterTime").(bson.Timestamp)
	p, err := parseToken(field(ev, "_id").(bson.D))
	if err != nil || timestamp(p.at) != ts || !p.event || token <= first {
		t.Errorf("token %s after %s: %+v, %v", token, first, p, err)
	}
	s.TickNoop()
	noEvent(t, cs)
	if idle := cs.ResumeToken().Lookup("_data").StringValue(); idle <= token {
		t.Errorf("an idle stream's token %s did not pass %s", idle, token)
	}
}

func TestNewStreamStartsAfterTheLastAppliedWrite(t *testing.T) {
	t.Parallel()
	s, client, coll := keys(t)
	must(coll.InsertOne(testContext(t), d("_id", 0)))(t)
	s.mu.Lock()
	applied := s.oplog.applied
	s.mu.Unlock()
	cs := watch(t, client.Database("app"), nil)
	p, err := parseToken(d("_data", cs.ResumeToken().Lookup("_data").StringValue()))
	if err != nil || p.at != applied+1 {
		t.Errorf("first token at %v, the last write at %v: %v", p.at, applied, err)
	}
	noEvent(t, cs)
}

func TestLostHistoryEndsStreams(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) { c.OplogSize = 10 })
	client := connect(t, s)
	coll := client.Database("app").Collection("api_keys")
	ctx := testContext(t)
	cs := watch(t, client.Database("app"), nil)
	must(coll.InsertOne(ctx, d("_id", "first")))(t)
	next(t, cs)
	token := cs.ResumeToken()
	for i := range 30 {
		must(coll.InsertOne(ctx, d("_id", i)))(t)
	}
	if cs.TryNext(ctx) {
		t.Fatalf("an event after the loss: %v", cs.Current)
	}
	wantCode(t, cs.Err(), 136)
	_, err := client.Database("app").Watch(ctx, mongo.Pipeline{}, options.ChangeStream().SetResumeAfter(token))
	wantCode(t, err, 286)
}

func TestNewStreamWithBatchSizeZeroSkipsLostEvents(t *testing.T) {
	t.Parallel()
	s := start(t, func(c *Config) { c.OplogSize = 10 })
	client := connect(t, s)
	coll := client.Database("app").Collection("api_keys")
	ctx := testContext(t)
	must(coll.InsertOne(ctx, d("_id", "first")))(t)
	cs := watch(t, client.Database("app"), nil, func(o *options.ChangeStreamOptionsBuilder) { o.SetBatchSize(0) })
	for i := range 30 {
		must(coll.InsertOne(ctx, d("_id", i)))(t)
	}
	if ev := next(t, cs); part(ev, "documentKey._id") == int32(0) {
		t.Errorf("nothing was skipped: %v", ev)
	}
}

func TestResumeBeforeAnInvalidateDeliversIt(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(ctx context.Context, coll *mongo.Collection) error{
		kindDrop: func(ctx context.Context, coll *mongo.Collection) error { return coll.Drop(ctx) },
		kindRename: func(ctx context.Context, coll *mongo.Collection) error {
			return coll.Database().Client().Database("admin").RunCommand(ctx, d("renameCollection", "app.api_keys", "to", "app.old")).Err()
		},
		kindDropDatabase: func(ctx context.Context, coll *mongo.Collection) error { return coll.Database().Drop(ctx) },
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			_, _, coll := keys(t)
			ctx := testContext(t)
			must(coll.InsertOne(ctx, d("_id", 1)))(t)
			cs := watch(t, coll, nil)
			if err := end(ctx, coll); err != nil {
				t.Fatal(err)
			}
			next(t, cs)
			dropToken := cs.ResumeToken()
			again := watch(t, coll, nil, func(o *options.ChangeStreamOptionsBuilder) { o.SetResumeAfter(dropToken) })
			if ev := next(t, again); opOf(ev) != kindInvalidate {
				t.Errorf("resumed after the %s came %v", name, ev)
			}
		})
	}
}

func TestKilledCursorEndsItsWait(t *testing.T) {
	t.Parallel()
	s := start(t)
	cs := s.direct(t, d("aggregate", 1, "pipeline", bson.A{d("$changeStream", d())}, "cursor", d()))
	id, _ := part(cs, "cursor.id").(int64)
	waited := make(chan bson.D, 1)
	go func() {
		waited <- s.direct(t, d("getMore", id, "collection", "$cmd.aggregate", "maxTimeMS", 20_000))
	}()
	if err := s.until(testContext(t), func() bool { return s.cursors[id].busy }); err != nil {
		t.Fatal(err)
	}
	reply := s.direct(t, d("killCursors", "$cmd.aggregate", "cursors", bson.A{id}))
	if killed, _ := field(reply, "cursorsKilled").(bson.A); len(killed) != 1 {
		t.Errorf("killCursors: %v", reply)
	}
	if got := <-waited; field(got, "code") != int32(237) {
		t.Errorf("the waiting getMore returned %v", got)
	}
}
