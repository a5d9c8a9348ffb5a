package devmongo

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"

	"github.com/keytail/keytail/internal/clustertime"
)

// watcher is what a collection, a database and a client have in common.
type watcher interface {
	Watch(context.Context, any, ...options.Lister[options.ChangeStreamOptions]) (*mongo.ChangeStream, error)
}

func watch(t *testing.T, w watcher, pipeline any, change ...func(*options.ChangeStreamOptionsBuilder)) *mongo.ChangeStream {
	t.Helper()
	opts := options.ChangeStream().SetMaxAwaitTime(100 * time.Millisecond)
	for _, f := range change {
		f(opts)
	}
	if pipeline == nil {
		pipeline = mongo.Pipeline{}
	}
	cs, err := w.Watch(testContext(t), pipeline, opts)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cs.Close(context.Background()) })
	return cs
}

// next returns the next event, or fails.
func next(t *testing.T, cs *mongo.ChangeStream) bson.D {
	t.Helper()
	if !cs.Next(testContext(t)) {
		t.Fatalf("no event: %v (id %d)", cs.Err(), cs.ID())
	}
	var ev bson.D
	if err := cs.Decode(&ev); err != nil {
		t.Fatal(err)
	}
	return ev
}

// nothing asserts that no event comes in one wait.
func nothing(t *testing.T, cs *mongo.ChangeStream) {
	t.Helper()
	for range 2 { // the first looks at the first batch only
		if cs.TryNext(testContext(t)) {
			t.Fatalf("unexpected event %v", cs.Current)
		}
		if cs.Err() != nil {
			t.Fatal(cs.Err())
		}
	}
}

func opOf(ev bson.D) string { s, _ := field(ev, "operationType").(string); return s }

func part(ev bson.D, path string) any { return lookup(ev, strings.Split(path, ".")) }

func TestEventsHaveMongoDBsShape(t *testing.T) {
	t.Parallel()
	_, client, coll := keys(t)
	ctx := testContext(t)
	must(coll.InsertOne(ctx, d("_id", 0)))(t)
	cs := watch(t, client.Database("app"), nil)
	must(coll.InsertOne(ctx, d("_id", 1, "scopes", bson.A{"a"}, "sub", d("x", 1))))(t)
	must(coll.UpdateOne(ctx, d("_id", 1), d("$set", d("sub.x", 2), "$push", d("scopes", "b"), "$unset", d("none", 1))))(t)
	must(coll.UpdateOne(ctx, d("_id", 1), bson.A{d("$set", d("scopes", bson.A{"a"})), d("$unset", "sub")}))(t)
	must(coll.ReplaceOne(ctx, d("_id", 1), d("z", 1)))(t)
	must(coll.UpdateOne(ctx, d("_id", 1), d("$set", d("z", 1))))(t) // changes nothing
	must(coll.DeleteOne(ctx, d("_id", 1)))(t)

	ins := next(t, cs)
	var names []string
	for _, e := range ins {
		names = append(names, e.Key)
	}
	if got := strings.Join(names, " "); got != "_id operationType clusterTime wallTime fullDocument ns documentKey" {
		t.Errorf("fields of an insert: %s", got)
	}
	if !identical(field(ins, "ns"), d("db", "app", "coll", "api_keys")) || !identical(field(ins, "documentKey"), d("_id", int32(1))) {
		t.Errorf("insert %v", ins)
	}
	up := next(t, cs)
	if want := d("updatedFields", d("scopes.1", "b", "sub.x", int32(2)), "removedFields", bson.A{}, "truncatedArrays", bson.A{}); !identical(field(up, "updateDescription"), want) {
		t.Errorf("update %v, want %v", field(up, "updateDescription"), want)
	}
	byPipeline := next(t, cs)
	if opOf(byPipeline) == kindUpdate {
		want := d("updatedFields", d(), "removedFields", bson.A{"sub"}, "truncatedArrays", bson.A{d("field", "scopes", "newSize", int32(1))})
		if !identical(field(byPipeline, "updateDescription"), want) {
			t.Errorf("update by pipeline %v, want %v", field(byPipeline, "updateDescription"), want)
		}
	} else if opOf(byPipeline) != kindReplace {
		t.Errorf("update by pipeline came as %v", byPipeline)
	}
	if ev := next(t, cs); opOf(ev) != kindReplace || !identical(field(ev, "fullDocument"), d("_id", int32(1), "z", int32(1))) {
		t.Errorf("replace %v", ev)
	}
	if ev := next(t, cs); opOf(ev) != kindDelete || !isMissing(field(ev, "fullDocument")) {
		t.Errorf("delete %v", ev)
	}
	nothing(t, cs)
}

func TestTokensAreOrderedAndInTheServersLayout(t *testing.T) {
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
	nothing(t, cs)
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
	nothing(t, cs)
}

// ignoreUsage is the pipeline of MONGODB.md.
func ignoreUsage() mongo.Pipeline {
	roots := func(input string, empty any, each string, in any) bson.D {
		list := any(d("$ifNull", bson.A{input, empty}))
		if _, ok := empty.(bson.D); ok {
			list = d("$objectToArray", list)
		}
		return d("$map", d("input", list, "as", each, "in", d("$arrayElemAt", bson.A{d("$split", bson.A{in, "."}), 0})))
	}
	union := d("$setUnion", bson.A{
		roots("$updateDescription.updatedFields", d(), "f", "$$f.k"),
		roots("$updateDescription.removedFields", bson.A{}, "f", "$$f"),
		roots("$updateDescription.truncatedArrays", bson.A{}, "a", "$$a.field"),
	})
	only := d("$and", bson.A{d("$gt", bson.A{d("$size", "$$roots"), 0}), d("$setIsSubset", bson.A{"$$roots", bson.A{"last_used", "usage_count"}})})
	expr := d("$let", d("vars", d("roots", union), "in", d("$not", bson.A{only})))
	return mongo.Pipeline{d("$match", d("$or", bson.A{d("operationType", d("$ne", "update")), d("$expr", expr)}))}
}

func TestFilterForUsageWritesIsReallyEvaluated(t *testing.T) {
	t.Parallel()
	_, client, coll := keys(t)
	ctx := testContext(t)
	must(coll.InsertOne(ctx, d("_id", 1, "scopes", bson.A{"a", "b"}, "sub", d("x", 1))))(t)
	cs := watch(t, client.Database("app"), ignoreUsage())
	for _, c := range []struct {
		update  any
		arrives bool
	}{
		{d("$set", d("last_used", 1)), false},
		{d("$inc", d("usage_count", 1)), false},
		{d("$set", d("last_used", 2), "$inc", d("usage_count", 1)), false},
		{d("$set", d("last_used", 3, "is_active", false)), true},
		{d("$set", d("last_used", d("at", 1))), false},
		{d("$set", d("last_used.at", 2)), false},
		{d("$set", d("sub.last_used", 2)), true},
		{d("$set", d("scopes.1", "c")), true},
		{d("$push", d("scopes", "d")), true},
		{d("$unset", d("usage_count", 1)), false},
		{d("$unset", d("sub", 1)), true},
		{bson.A{d("$set", d("scopes", bson.A{"a"}))}, true},
		{bson.A{d("$set", d("last_used", 4))}, false},
	} {
		must(coll.UpdateOne(ctx, d("_id", 1), c.update))(t)
		must(coll.InsertOne(ctx, d("mark", 1)))(t)
		ev := next(t, cs)
		if arrived := opOf(ev) != kindInsert; arrived != c.arrives {
			t.Errorf("%v: arrived %v, want %v (%v)", c.update, arrived, c.arrives, ev)
		}
		if opOf(ev) != kindInsert {
			next(t, cs)
		}
	}
	if err := client.Database("app").Drop(ctx); err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{kindDrop, kindDropDatabase, kindInvalidate} {
		if ev := next(t, cs); opOf(ev) != want {
			t.Errorf("got %s, want %s", opOf(ev), want)
		}
	}
	if cs.TryNext(ctx) || cs.ID() != 0 {
		t.Errorf("the stream is still open: id %d", cs.ID())
	}
}

func TestErrorInsideExprKillsTheStream(t *testing.T) {
	t.Parallel()
	_, client, coll := keys(t)
	ctx := testContext(t)
	match := mongo.Pipeline{d("$match", d("$expr", d("$gt", bson.A{d("$size", "$fullDocument.list"), 0})))}
	cs := watch(t, client.Database("app"), match)
	must(coll.InsertOne(ctx, d("list", "none")))(t)
	if cs.Next(ctx) {
		t.Fatal("an event passed")
	}
	wantCode(t, cs.Err(), 17124)
}

func TestLosingTheTokenInThePipelineIsFatal(t *testing.T) {
	t.Parallel()
	_, client, coll := keys(t)
	ctx := testContext(t)
	cs := watch(t, client.Database("app"), mongo.Pipeline{d("$project", d("_id", 0))})
	must(coll.InsertOne(ctx, d("a", 1)))(t)
	if cs.Next(ctx) {
		t.Fatal("an event passed")
	}
	wantCode(t, cs.Err(), 280)
}

func TestDriverResumesAfterALostConnection(t *testing.T) {
	t.Parallel()
	s, admin, coll := keys(t)
	ctx := testContext(t)
	must(coll.InsertOne(ctx, d("_id", 0)))(t)
	app := connect(t, s, func(o *options.ClientOptions) { o.SetAppName("victim") })
	cs := watch(t, app.Database("app"), nil)
	must(coll.InsertOne(ctx, d("_id", 1)))(t)
	next(t, cs)
	setFailPoint(t, admin, d("times", 1), d("failCommands", bson.A{"getMore"}, "closeConnection", true, "appName", "victim"))
	must(coll.InsertOne(ctx, d("_id", 2)))(t)
	if ev := next(t, cs); part(ev, "documentKey._id") != int32(2) {
		t.Errorf("after the resume came %v", ev)
	}
	nothing(t, cs)
}

func TestFailCommandStrikesOneAppOnly(t *testing.T) {
	t.Parallel()
	s, admin, _ := keys(t)
	ctx := testContext(t)
	victim := connect(t, s, func(o *options.ClientOptions) { o.SetAppName("victim").SetRetryReads(false) })
	setFailPoint(t, admin, d("times", 1), d("failCommands", bson.A{"find"}, "errorCode", 91, "appName", "victim", "errorLabels", bson.A{"Odd"}))
	if err := admin.Database("app").Collection("x").FindOne(ctx, d()).Err(); !errors.Is(err, mongo.ErrNoDocuments) {
		t.Errorf("another app was struck: %v", err)
	}
	err := victim.Database("app").Collection("x").FindOne(ctx, d()).Err()
	wantCode(t, err, 91)
	if se, ok := errors.AsType[mongo.ServerError](err); !ok || !se.HasErrorLabel("Odd") {
		t.Errorf("label is missing: %v", err)
	}
	if err := victim.Database("app").Collection("x").FindOne(ctx, d()).Err(); !errors.Is(err, mongo.ErrNoDocuments) {
		t.Errorf("struck more than once: %v", err)
	}
}

func TestResumeExactlyAfterAToken(t *testing.T) {
	t.Parallel()
	_, client, coll := keys(t)
	ctx := testContext(t)
	cs := watch(t, client.Database("app"), nil)
	var tokens []bson.Raw
	for i := range 4 {
		must(coll.InsertOne(ctx, d("_id", i)))(t)
		next(t, cs)
		tokens = append(tokens, cs.ResumeToken())
	}
	for i, token := range tokens[:3] {
		for name, set := range map[string]func(*options.ChangeStreamOptionsBuilder){
			"resumeAfter": func(o *options.ChangeStreamOptionsBuilder) { o.SetResumeAfter(token) },
			"startAfter":  func(o *options.ChangeStreamOptionsBuilder) { o.SetStartAfter(token) },
		} {
			if ev := next(t, watch(t, client.Database("app"), nil, set)); part(ev, "documentKey._id") != int32(i+1) {
				t.Errorf("%s %d: %v", name, i, ev)
			}
		}
	}
}

func TestStartAtOperationTimeIncludesThatTime(t *testing.T) {
	t.Parallel()
	_, client, coll := keys(t)
	ctx := testContext(t)
	cs := watch(t, client.Database("app"), nil)
	must(coll.InsertMany(ctx, []any{d("_id", 1), d("_id", 2)}))(t)
	next(t, cs)
	at := field(next(t, cs), "clusterTime").(bson.Timestamp)
	again := watch(t, client.Database("app"), nil, func(o *options.ChangeStreamOptionsBuilder) { o.SetStartAtOperationTime(&at) })
	if ev := next(t, again); part(ev, "documentKey._id") != int32(2) {
		t.Errorf("started with %v", ev)
	}
}

func TestHistoryLostOnResumeAndPositionLostOnAnOpenCursor(t *testing.T) {
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
	past := bson.Timestamp{T: 1}
	_, err = client.Database("app").Watch(ctx, mongo.Pipeline{}, options.ChangeStream().SetStartAtOperationTime(&past))
	wantCode(t, err, 286)
}

func TestNewStreamWithBatchSizeZeroSkipsWhatIsLostInSilence(t *testing.T) {
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

func TestCollectionStreamEndsInInvalidate(t *testing.T) {
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
			first := next(t, cs)
			if want := strings.TrimSuffix(name, "Database"); opOf(first) != want {
				t.Errorf("got %s, want %s", opOf(first), want)
			}
			dropToken := cs.ResumeToken()
			if ev := next(t, cs); opOf(ev) != kindInvalidate {
				t.Errorf("got %v, want an invalidate", ev)
			}
			token := cs.ResumeToken()
			if cs.Next(ctx) || cs.Err() != nil || cs.ID() != 0 {
				t.Errorf("after the invalidate: %v, id %d", cs.Err(), cs.ID())
			}
			_, err := coll.Watch(ctx, mongo.Pipeline{}, options.ChangeStream().SetResumeAfter(token))
			wantCode(t, err, 260)
			if name != kindDropDatabase { // which is logged after the drop, and ends this one too
				after := watch(t, coll, nil, func(o *options.ChangeStreamOptionsBuilder) { o.SetStartAfter(token) })
				must(coll.InsertOne(ctx, d("_id", "again")))(t)
				if ev := next(t, after); opOf(ev) != kindInsert {
					t.Errorf("after startAfter came %v", ev)
				}
			}
			again := watch(t, coll, nil, func(o *options.ChangeStreamOptionsBuilder) { o.SetResumeAfter(dropToken) })
			if ev := next(t, again); opOf(ev) != kindInvalidate {
				t.Errorf("resumed after the %s came %v", name, ev)
			}
		})
	}
}

func TestRenameOntoAndOutArriveUnderTheirTemporaryName(t *testing.T) {
	t.Parallel()
	_, client, coll := keys(t)
	ctx := testContext(t)
	db := client.Database("app")
	must(coll.InsertOne(ctx, d("_id", 1)))(t)
	must(coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: d("h", 1)}))(t)
	must(db.Collection("staging").InsertOne(ctx, d("_id", 2)))(t)
	cs := watch(t, db, mongo.Pipeline{d("$match", d("to.coll", "api_keys"))})
	rename := d("renameCollection", "app.staging", "to", "app.api_keys")
	wantCode(t, client.Database("admin").RunCommand(ctx, rename).Err(), 48)
	if err := client.Database("admin").RunCommand(ctx, append(rename, bson.E{Key: "dropTarget", Value: true})).Err(); err != nil {
		t.Fatal(err)
	}
	if ev := next(t, cs); part(ev, "ns.coll") != "staging" {
		t.Errorf("rename %v", ev)
	}
	cur := must(coll.Aggregate(ctx, mongo.Pipeline{d("$match", d()), d("$out", "api_keys")}))(t)
	_ = cur.Close(ctx)
	ev := next(t, cs)
	if from, _ := part(ev, "ns.coll").(string); opOf(ev) != kindRename || !strings.HasPrefix(from, "tmp.agg_out.") {
		t.Errorf("$out came as %v", ev)
	}
	if got := findOne(t, coll, d()); !identical(got, d("_id", int32(2))) {
		t.Errorf("after $out: %v", got)
	}
}

func TestDatabaseStreamSurvivesADrop(t *testing.T) {
	t.Parallel()
	_, client, coll := keys(t)
	ctx := testContext(t)
	must(coll.InsertOne(ctx, d("_id", 1)))(t)
	cs := watch(t, client.Database("app"), nil)
	if err := coll.Drop(ctx); err != nil {
		t.Fatal(err)
	}
	must(coll.InsertOne(ctx, d("_id", 2)))(t)
	for _, want := range []string{kindDrop, kindInsert} {
		if ev := next(t, cs); opOf(ev) != want {
			t.Errorf("got %v, want %s", ev, want)
		}
	}
}

func TestUpdateLookupReturnsALaterDocument(t *testing.T) {
	t.Parallel()
	_, client, coll := keys(t)
	ctx := testContext(t)
	must(coll.InsertOne(ctx, d("_id", 1)))(t)
	cs := watch(t, client.Database("app"), nil, func(o *options.ChangeStreamOptionsBuilder) { o.SetFullDocument(options.UpdateLookup) })
	must(coll.UpdateOne(ctx, d("_id", 1), d("$set", d("a", 1))))(t)
	must(coll.UpdateOne(ctx, d("_id", 1), d("$set", d("a", 2))))(t)
	if ev := next(t, cs); part(ev, "fullDocument.a") != int32(2) {
		t.Errorf("looked up %v", ev)
	}
	next(t, cs)
	must(coll.UpdateOne(ctx, d("_id", 1), d("$set", d("a", 3))))(t)
	must(coll.DeleteOne(ctx, d("_id", 1)))(t)
	if ev := next(t, cs); field(ev, "fullDocument") != nil {
		t.Errorf("looked up %v", ev)
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
		t.Errorf("the waiting getMore said %v", got)
	}
}

// The token of an empty batch shows how far the committed log has been read: it
// follows writes that the stream does not show, and nothing that is not
// committed.
func TestCollectionStreamsTokenFollowsTheMajority(t *testing.T) {
	t.Parallel()
	s, client, coll := keys(t)
	ctx := testContext(t)
	elsewhere := client.Database("other").Collection("heartbeats", options.Collection().SetWriteConcern(writeconcern.W1()))
	cs := watch(t, coll, nil)
	nothing(t, cs)
	place := func() uint64 {
		t.Helper()
		if cs.TryNext(ctx) || cs.Err() != nil {
			t.Fatalf("an event, or %v", cs.Err())
		}
		return uint64(tokenAt(t, cs.ResumeToken()))
	}
	write := func() uint64 {
		t.Helper()
		session := must(client.StartSession())(t)
		defer session.EndSession(ctx)
		must(elsewhere.InsertOne(mongo.NewSessionContext(ctx, session), d()))(t)
		at := session.OperationTime()
		return uint64(clustertime.New(at.T, at.I))
	}
	at := write()
	if got := place(); got < at {
		t.Errorf("the token is at %x after a wait, a write was acknowledged at %x before it", got, at)
	}
	s.HoldMajority()
	at = write()
	for range 3 {
		if got := place(); got >= at {
			t.Errorf("the token is at %x, but what is at %x is not committed", got, at)
		}
	}
	s.ReleaseMajority()
	if place(); place() < at {
		t.Error("the token does not follow when it is")
	}
}

func tokenAt(t *testing.T, raw bson.Raw) clustertime.Time {
	t.Helper()
	var token bson.D
	if err := bson.Unmarshal(raw, &token); err != nil {
		t.Fatal(err)
	}
	p, err := parseToken(token)
	if err != nil {
		t.Fatal(err)
	}
	return p.at
}
