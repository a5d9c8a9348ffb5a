package devmongo

import (
	"errors"
	"slices"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func TestNewRefusesProductionAndForeignAddresses(t *testing.T) {
	t.Parallel()
	for _, name := range []string{"KEYTAIL_ENV", "ENVIRONMENT"} {
		_, err := New(Config{Getenv: func(asked string) string {
			if asked == name {
				return "Production"
			}
			return ""
		}})
		if !errors.Is(err, ErrProduction) {
			t.Errorf("%s: %v", name, err)
		}
	}
	for _, addr := range []string{"0.0.0.0:0", ":0", "192.0.2.1:0", "example.org:0"} {
		if _, err := New(Config{Getenv: noEnv, Addr: addr}); !errors.Is(err, ErrNotLoopback) {
			t.Errorf("%s: %v", addr, err)
		}
	}
	if _, err := New(Config{Getenv: noEnv, Addr: "nonsense"}); err == nil {
		t.Error("an address without a port was taken")
	}
}

func TestCollectionsAreListedAndDropped(t *testing.T) {
	t.Parallel()
	_, client, coll := keys(t)
	ctx := testContext(t)
	db := client.Database("app")
	if err := db.CreateCollection(ctx, "empty"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, db.CreateCollection(ctx, "empty"), 48)
	must(coll.InsertOne(ctx, d("_id", 1)))(t)
	if names := must(db.ListCollectionNames(ctx, d()))(t); !slices.Equal(names, []string{"api_keys", "empty"}) {
		t.Errorf("collections %v", names)
	}
	if specs := must(db.ListCollectionSpecifications(ctx, d("name", "empty")))(t); len(specs) != 1 || specs[0].Type != "collection" {
		t.Errorf("specification %v", specs)
	}
	only := options.ListCollections().SetNameOnly(true).SetAuthorizedCollections(true)
	if cur := must(db.ListCollections(ctx, d("name", "api_keys"), only))(t); !cur.Next(ctx) || !identical(must(decode(cur.Current))(t), d("name", "api_keys", "type", "collection")) {
		t.Errorf("name only: %v", cur.Current)
	}
	if names := must(client.ListDatabaseNames(ctx, d()))(t); !slices.Equal(names, []string{"app"}) {
		t.Errorf("databases %v", names)
	}
	if err := coll.Drop(ctx); err != nil {
		t.Fatal(err)
	}
	if n := must(coll.EstimatedDocumentCount(ctx))(t); n != 0 {
		t.Errorf("%d documents in a dropped collection", n)
	}
	if err := db.Drop(ctx); err != nil {
		t.Fatal(err)
	}
	if names := must(client.ListDatabaseNames(ctx, d()))(t); len(names) != 0 {
		t.Errorf("databases %v", names)
	}
}

func TestIndexesAreListedAndConflictsRefused(t *testing.T) {
	t.Parallel()
	_, _, coll := keys(t)
	ctx := testContext(t)
	model := func(keys bson.D, name string) mongo.IndexModel {
		return mongo.IndexModel{Keys: keys, Options: options.Index().SetName(name)}
	}
	must(coll.Indexes().CreateOne(ctx, model(d("a", 1), "x")))(t)
	must(coll.Indexes().CreateOne(ctx, model(d("a", 1), "x")))(t)
	_, err := coll.Indexes().CreateOne(ctx, model(d("a", 1), "y"))
	wantCode(t, err, 85)
	_, err = coll.Indexes().CreateOne(ctx, model(d("b", 1), "x"))
	wantCode(t, err, 86)
	specs := must(coll.Indexes().ListSpecifications(ctx))(t)
	if len(specs) != 2 || specs[0].Name != "_id_" || specs[1].Name != "x" {
		t.Errorf("indexes %v", specs)
	}
	if err := coll.Indexes().DropOne(ctx, "x"); err != nil {
		t.Fatal(err)
	}
	wantCode(t, coll.Indexes().DropOne(ctx, "x"), 27)
	_, err = coll.Database().Collection("none").Indexes().ListSpecifications(ctx)
	if err != nil && code(err) != 26 {
		t.Errorf("indexes of nothing: %v", err)
	}
}

func TestPartialAndSparseUniqueIndexes(t *testing.T) {
	t.Parallel()
	_, _, coll := keys(t)
	ctx := testContext(t)
	must(coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: d("p", 1), Options: options.Index().SetUnique(true).SetPartialFilterExpression(d("on", true))}))(t)
	must(coll.Indexes().CreateOne(ctx, mongo.IndexModel{Keys: d("s", 1), Options: options.Index().SetUnique(true).SetSparse(true)}))(t)
	must(coll.InsertMany(ctx, []any{d("p", 1, "on", true), d("p", 1, "on", false), d("p", 1)}))(t)
	_, err := coll.InsertOne(ctx, d("p", 1, "on", true))
	wantCode(t, err, 11000)
	must(coll.InsertOne(ctx, d("s", bson.A{1, 2})))(t)
	_, err = coll.InsertOne(ctx, d("s", 2))
	wantCode(t, err, 11000)
	_, err = coll.UpdateMany(ctx, d("p", 1), d("$set", d("on", true)))
	wantCode(t, err, 11000)
}

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
	if at := field(next1(t, client), "localTime"); at != bson.NewDateTimeFromTime(now) {
		t.Errorf("the clock is not the one that was given: %v", at)
	}
}

func next1(t *testing.T, client *mongo.Client) bson.D {
	t.Helper()
	var reply bson.D
	if err := client.Database("admin").RunCommand(testContext(t), d("hello", 1)).Decode(&reply); err != nil {
		t.Fatal(err)
	}
	return reply
}

func TestSortedScanOfManyDocumentsInBatches(t *testing.T) {
	t.Parallel()
	_, _, coll := keys(t)
	ctx := testContext(t)
	var docs []any
	for i := range 1000 {
		docs = append(docs, d("_id", 999-i, "h", i%7))
	}
	must(coll.InsertMany(ctx, docs))(t)
	cur := must(coll.Find(ctx, d(), options.Find().SetSort(d("_id", 1)).SetBatchSize(100)))(t)
	n := int32(0)
	for cur.Next(ctx) {
		if id := cur.Current.Lookup("_id").Int32(); id != n {
			t.Fatalf("document %d has _id %d", n, id)
		}
		n++
	}
	if n != 1000 || cur.Err() != nil {
		t.Errorf("%d documents, %v", n, cur.Err())
	}
	agg := must(coll.Aggregate(ctx, mongo.Pipeline{d("$group", d("_id", "$h", "n", d("$sum", 1))), d("$sort", d("_id", 1)), d("$limit", 1)}))(t)
	var out []bson.D
	if err := agg.All(ctx, &out); err != nil || len(out) != 1 || !identical(out[0], d("_id", int32(0), "n", int32(143))) {
		t.Errorf("groups %v, %v", out, err)
	}
}

func TestEndedSessionTakesItsCursorsAlong(t *testing.T) {
	t.Parallel()
	s := start(t)
	lsid := d("id", bson.Binary{Subtype: 4, Data: make([]byte, 16)})
	s.direct(t, d("insert", "x", "documents", bson.A{d(), d(), d()}))
	reply := s.direct(t, d("find", "x", "batchSize", 1, "lsid", lsid))
	id := part(reply, "cursor.id").(int64)
	if more := s.direct(t, d("getMore", id, "collection", "x", "batchSize", 1)); field(more, "ok") != 1.0 {
		t.Fatalf("getMore: %v", more)
	}
	s.direct(t, d("endSessions", bson.A{lsid}))
	if more := s.direct(t, d("getMore", id, "collection", "x")); field(more, "code") != int32(43) {
		t.Errorf("after endSessions: %v", more)
	}
}

func BenchmarkLookUpAmong200000(b *testing.B) {
	s := quiet(b)
	coll := newCollection(namespace{"app", "k"}, newUUID(), nil)
	if err := coll.addIndex(&index{name: "h", key: d("h", 1), unique: true}); err != nil {
		b.Fatal(err)
	}
	for i := range 200_000 {
		doc := d("_id", int32(i), "h", int64(i), "name", "key")
		raw, _ := encode(doc)
		if err := coll.put(doc, raw, 1); err != nil {
			b.Fatal(err)
		}
	}
	for i := 0; b.Loop(); i++ {
		rows, err := query{filter: d("h", int32(i%200_000))}.run(coll, s.variables())
		if err != nil || len(rows) != 1 {
			b.Fatal(len(rows), err)
		}
	}
}
