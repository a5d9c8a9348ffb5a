package devmongo

import (
	"context"
	"errors"
	"runtime"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// code is the server's error code, or zero.
func code(err error) int {
	if we, ok := errors.AsType[mongo.WriteException](err); ok && len(we.WriteErrors) > 0 {
		return we.WriteErrors[0].Code
	}
	if se, ok := errors.AsType[mongo.ServerError](err); ok && len(se.ErrorCodes()) > 0 {
		return se.ErrorCodes()[0]
	}
	return 0
}

func wantCode(t *testing.T, err error, want int) {
	t.Helper()
	if got := code(err); got != want {
		t.Errorf("error code %d, want %d: %v", got, want, err)
	}
}

func findOne(t *testing.T, coll *mongo.Collection, filter any) bson.D {
	t.Helper()
	var got bson.D
	if err := coll.FindOne(testContext(t), filter).Decode(&got); err != nil {
		t.Fatalf("find %v: %v", filter, err)
	}
	return got
}

func TestUpdateOperatorsChangeDocumentsAsMongoDBDoes(t *testing.T) {
	t.Parallel()
	_, _, coll := keys(t)
	start := d("_id", 1, "n", 5, "s", "x", "list", bson.A{1, 2}, "sub", d("a", 1))
	for _, c := range []struct {
		name         string
		update, want any
	}{
		{"set nested", d("$set", d("sub.b.c", true)), d("n", 5, "s", "x", "list", bson.A{1, 2}, "sub", d("a", 1, "b", d("c", true)))},
		{"set element", d("$set", d("list.1", "b")), d("n", 5, "s", "x", "list", bson.A{1, "b"}, "sub", d("a", 1))},
		{"pad", d("$set", d("list.3", 9)), d("n", 5, "s", "x", "list", bson.A{1, 2, nil, 9}, "sub", d("a", 1))},
		{"unset", d("$unset", d("s", "", "sub.a", "", "none", "")), d("n", 5, "list", bson.A{1, 2}, "sub", d())},
		{"inc", d("$inc", d("n", 2, "m", int64(1))), d("n", 7, "s", "x", "list", bson.A{1, 2}, "sub", d("a", 1), "m", int64(1))},
		{"push", d("$push", d("list", d("$each", bson.A{3, 4}))), d("n", 5, "s", "x", "list", bson.A{1, 2, 3, 4}, "sub", d("a", 1))},
		{"addToSet", d("$addToSet", d("list", d("$each", bson.A{2, 7}))), d("n", 5, "s", "x", "list", bson.A{1, 2, 7}, "sub", d("a", 1))},
		{"pull", d("$pull", d("list", d("$gte", 2))), d("n", 5, "s", "x", "list", bson.A{1}, "sub", d("a", 1))},
		{"rename", d("$rename", d("s", "sub.s")), d("n", 5, "list", bson.A{1, 2}, "sub", d("a", 1, "s", "x"))},
		{"min and max", d("$min", d("n", 9), "$max", d("m", 9)), d("n", 5, "s", "x", "list", bson.A{1, 2}, "sub", d("a", 1), "m", 9)},
		{"pipeline", bson.A{d("$set", d("n", d("$add", bson.A{"$n", 1}))), d("$unset", bson.A{"s", "list"})}, d("n", 6, "sub", d("a", 1))},
	} {
		t.Run(c.name, func(t *testing.T) {
			ctx := testContext(t)
			_, _ = coll.DeleteMany(ctx, d())
			must(coll.InsertOne(ctx, start))(t)
			must(coll.UpdateOne(ctx, d("_id", 1), c.update))(t)
			want, err := bson.Marshal(append(d("_id", 1), c.want.(bson.D)...))
			if err != nil {
				t.Fatal(err)
			}
			got, _ := bson.Marshal(findOne(t, coll, d("_id", 1)))
			if string(got) != string(want) {
				t.Errorf("got %v\nwant %v", bson.Raw(got), bson.Raw(want))
			}
		})
	}
}

func TestBadUpdatesAreRefusedWithMongoDBsCodes(t *testing.T) {
	t.Parallel()
	_, _, coll := keys(t)
	ctx := testContext(t)
	must(coll.InsertOne(ctx, d("_id", 1, "n", "text", "a", d("b", 1))))(t)
	for name, c := range map[string]struct {
		update any
		code   int
	}{
		"unknown operator": {d("$frob", d("a", 1)), 9},
		"conflict":         {d("$set", d("a", 1), "$inc", d("a.b", 1)), 40},
		"immutable":        {d("$set", d("_id", 2)), 66},
		"not a number":     {d("$inc", d("n", 1)), 14},
		"through a scalar": {d("$set", d("n.x", 1)), 28},
		"empty path":       {d("$set", d("a..b", 1)), 56},
		"stage":            {bson.A{d("$match", d())}, 72},
		"unknown stage":    {bson.A{d("$frob", d())}, 40324},
		"expression":       {bson.A{d("$set", d("a", d("$frob", 1)))}, 168},
		"variable":         {bson.A{d("$set", d("a", "$$frob"))}, 17276},
		"positional":       {d("$set", d("a.$", 1)), 238},
	} {
		t.Run(name, func(t *testing.T) {
			_, err := coll.UpdateOne(ctx, d("_id", 1), c.update)
			wantCode(t, err, c.code)
		})
	}
}

func TestUpsertIsMadeOfTheFilterAndTheUpdate(t *testing.T) {
	t.Parallel()
	_, _, coll := keys(t)
	ctx := testContext(t)
	r := must(coll.UpdateOne(ctx, d("_id", "a", "k", d("$eq", 1), "n", d("$gt", 3)), d("$set", d("x", 1), "$setOnInsert", d("y", 2)), options.UpdateOne().SetUpsert(true)))(t)
	if r.UpsertedID != "a" || r.UpsertedCount != 1 {
		t.Errorf("upserted %v", r)
	}
	if got, want := findOne(t, coll, d("_id", "a")), d("_id", "a", "k", int32(1), "x", int32(1), "y", int32(2)); !identical(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	r = must(coll.UpdateOne(ctx, d("_id", "a"), d("$setOnInsert", d("y", 3)), options.UpdateOne().SetUpsert(true)))(t)
	if r.MatchedCount != 1 || r.ModifiedCount != 0 {
		t.Errorf("a matching upsert did %+v", r)
	}
	rr := must(coll.ReplaceOne(ctx, d("_id", "b"), d("z", 1), options.Replace().SetUpsert(true)))(t)
	if rr.UpsertedID != "b" {
		t.Errorf("replaced %+v", rr)
	}
}

func TestUniqueIndexRefusesTheSecondDocument(t *testing.T) {
	t.Parallel()
	_, _, coll := keys(t)
	ctx := testContext(t)
	must(coll.InsertMany(ctx, []any{d("_id", 1, "h", "a"), d("_id", 2, "h", "a")}))(t)
	unique := mongo.IndexModel{Keys: d("h", 1), Options: options.Index().SetUnique(true)}
	_, err := coll.Indexes().CreateOne(ctx, unique)
	wantCode(t, err, 11000)
	must(coll.UpdateOne(ctx, d("_id", 2), d("$set", d("h", "b"))))(t)
	must(coll.Indexes().CreateOne(ctx, unique))(t)

	_, err = coll.InsertOne(ctx, d("_id", 3, "h", "b"))
	wantCode(t, err, 11000)
	we, _ := errors.AsType[mongo.WriteException](err)
	var detail struct{ KeyPattern, KeyValue bson.D }
	if err := bson.Unmarshal(we.WriteErrors[0].Raw, &detail); err != nil || !identical(detail.KeyValue, d("h", "b")) || compare(detail.KeyPattern, d("h", int32(1))) != 0 {
		t.Errorf("detail %+v, %v", detail, err)
	}
	_, err = coll.UpdateOne(ctx, d("_id", 1), d("$set", d("h", "b")))
	wantCode(t, err, 11000)
	_, err = coll.InsertOne(ctx, d("_id", int64(1), "h", "c"))
	wantCode(t, err, 11000)
	must(coll.DeleteOne(ctx, d("h", "b")))(t)
	must(coll.InsertOne(ctx, d("_id", 3, "h", "b")))(t)
	must(coll.InsertOne(ctx, d("_id", 4)))(t)
	_, err = coll.InsertOne(ctx, d("_id", 5))
	wantCode(t, err, 11000) // a missing field is null, once
}

func TestQueriesFindWhatMongoDBFinds(t *testing.T) {
	t.Parallel()
	_, _, coll := keys(t)
	ctx := testContext(t)
	must(coll.InsertMany(ctx, []any{
		d("_id", 1, "n", 1, "s", "apple", "t", bson.A{"x", "y"}, "sub", d("k", 1)),
		d("_id", 2, "n", 2.5, "s", "pear", "t", bson.A{}, "sub", bson.A{d("k", 1), d("k", 2)}),
		d("_id", 3, "n", nil, "s", 7),
		d("_id", "4", "t", "x"),
	}))(t)
	for _, c := range []struct {
		filter bson.D
		want   bson.A
	}{
		{d(), bson.A{1, 2, 3, "4"}},
		{d("n", 1.0), bson.A{1}},
		{d("n", d("$gt", 1)), bson.A{2}},
		{d("n", d("$gte", 1, "$lt", 2)), bson.A{1}},
		{d("n", nil), bson.A{3, "4"}},
		{d("n", d("$ne", nil)), bson.A{1, 2}},
		{d("n", d("$exists", true)), bson.A{1, 2, 3}},
		{d("n", d("$exists", false)), bson.A{"4"}},
		{d("s", d("$type", "string")), bson.A{1, 2}},
		{d("s", d("$type", bson.A{"number"})), bson.A{3}},
		{d("s", d("$regex", "^AP", "$options", "i")), bson.A{1}},
		{d("s", d("$not", bson.Regex{Pattern: "pp"})), bson.A{2, 3, "4"}},
		{d("t", "x"), bson.A{1, "4"}},
		{d("t", bson.A{"x", "y"}), bson.A{1}},
		{d("t.1", "y"), bson.A{1}},
		{d("sub.k", 2), bson.A{2}},
		{d("_id", d("$in", bson.A{int64(3), "4", 9})), bson.A{3, "4"}},
		{d("_id", d("$nin", bson.A{1, 2})), bson.A{3, "4"}},
		{d("$or", bson.A{d("_id", 1), d("n", 2.5)}), bson.A{1, 2}},
		{d("$nor", bson.A{d("_id", 1), d("n", 2.5)}), bson.A{3, "4"}},
		{d("$and", bson.A{d("_id", 1), d("n", 1)}), bson.A{1}},
		{d("$expr", d("$eq", bson.A{"$_id", "$n"})), bson.A{1}},
	} {
		var docs []bson.D
		cur := must(coll.Find(ctx, c.filter, options.Find().SetProjection(d("_id", 1)).SetBatchSize(2)))(t)
		if err := cur.All(ctx, &docs); err != nil {
			t.Fatalf("%v: %v", c.filter, err)
		}
		got := bson.A{}
		for _, doc := range docs {
			got = append(got, doc[0].Value)
		}
		if compareLoose(got, c.want) {
			t.Errorf("%v found %v, want %v", c.filter, got, c.want)
		}
		n := must(coll.CountDocuments(ctx, c.filter))(t)
		if n != int64(len(c.want)) {
			t.Errorf("%v counted %d, want %d", c.filter, n, len(c.want))
		}
	}
}

// compareLoose compares after the Go ints of a test have become BSON's.
func compareLoose(got, want bson.A) bool {
	raw, _ := bson.Marshal(d("v", want))
	back, _ := decode(raw)
	return compare(got, field(back, "v")) != 0
}

func TestUnknownOperatorsOptionsAndCommandsAreRefused(t *testing.T) {
	t.Parallel()
	_, client, coll := keys(t)
	ctx, db := testContext(t), client.Database("app")
	for _, c := range []struct {
		cmd  bson.D
		code int
	}{
		{d("frobnicate", 1), 59},
		{d("find", "x", "frob", 1), 40415},
		{d("find", "x", "filter", d("a", d("$frob", 1))), 2},
		{d("find", "x", "filter", d("$frob", 1)), 2},
		{d("find", "x", "filter", "y"), 14},
		{d("find", "x", "collation", d("locale", "en")), 40415},
		{d("find", ""), 73},
		{d("find", "x", "hint", "_id_"), 2},
		{d("find", "x", "hint", d("a", 1)), 2},
		{d("find", "x", "filter", d("a", d("$elemMatch", d("b", 1)))), 2},
		{d("find", "x", "projection", d("a", "$b")), 238},
		{d("aggregate", "x", "pipeline", bson.A{d("$out", "y"), d("$match", d())}, "cursor", d()), 40601},
		{d("aggregate", "x", "pipeline", bson.A{d("$match", d()), d("$changeStream", d())}, "cursor", d()), 40602},
		{d("aggregate", "x", "pipeline", bson.A{}), 9},
		{d("aggregate", "x", "pipeline", bson.A{d("$frob", d())}, "cursor", d()), 40324},
		{d("aggregate", "x", "pipeline", bson.A{d("$set", d("a", d("$frob", 1)))}, "cursor", d()), 168},
		{d("aggregate", 1, "pipeline", bson.A{d("$match", d())}, "cursor", d()), 73},
		{d("update", "x", "updates", bson.A{d("q", d(), "u", d("$set", d("a", 1)), "frob", 1)}), 40415},
		{d("delete", "x", "deletes", bson.A{d("q", d(), "limit", 2)}), 9},
		{d("insert", "x", "documents", bson.A{}), 16},
		{d("insert", "x", "documents", bson.A{d("_id", bson.A{})}), 53},
		{d("createIndexes", "x", "indexes", bson.A{d("key", d("a", "text"), "name", "a")}), 67},
		{d("createIndexes", "x", "indexes", bson.A{d("key", d("a", 1), "name", "a", "frob", 1)}), 197},
		{d("create", "x", "capped", true), 40415},
		{d("ping", 1, "readConcern", d("level", "majority")), 72},
		{d("find", "x", "readConcern", d("level", "snapshot")), 72},
		{d("find", "x", "readConcern", d("level", "frob")), 9},
		{d("find", "x", "writeConcern", d("w", 1)), 72},
		{d("insert", "x", "documents", bson.A{d()}, "writeConcern", d("w", "frob")), 79},
		{d("insert", "x", "documents", bson.A{d()}, "writeConcern", d("w", 2)), 100},
		{d("dropIndexes", "none", "index", "*"), 26},
		{d("getMore", int64(77), "collection", "x"), 43},
		{d("configureFailPoint", "failCommand", "mode", "off"), 13},
	} {
		err := db.RunCommand(ctx, c.cmd).Err()
		if got := code(err); got != c.code {
			t.Errorf("%v: code %d, want %d: %v", c.cmd, got, c.code, err)
		}
	}
	_ = coll
}

func TestFindAndModifyReturnsBeforeOrAfter(t *testing.T) {
	t.Parallel()
	_, _, coll := keys(t)
	ctx := testContext(t)
	must(coll.InsertMany(ctx, []any{d("_id", 1, "n", 1), d("_id", 2, "n", 2)}))(t)
	var got bson.D
	opts := options.FindOneAndUpdate().SetSort(d("n", -1)).SetReturnDocument(options.After)
	if err := coll.FindOneAndUpdate(ctx, d(), d("$inc", d("n", 10)), opts).Decode(&got); err != nil || !identical(got, d("_id", int32(2), "n", int32(12))) {
		t.Errorf("after: %v, %v", got, err)
	}
	if err := coll.FindOneAndReplace(ctx, d("_id", 1), d("m", 1)).Decode(&got); err != nil || !identical(got, d("_id", int32(1), "n", int32(1))) {
		t.Errorf("before: %v, %v", got, err)
	}
	if err := coll.FindOneAndDelete(ctx, d("_id", 1)).Decode(&got); err != nil || !identical(got, d("_id", int32(1), "m", int32(1))) {
		t.Errorf("deleted: %v, %v", got, err)
	}
	if err := coll.FindOneAndDelete(ctx, d("_id", 1)).Err(); !errors.Is(err, mongo.ErrNoDocuments) {
		t.Errorf("nothing to delete: %v", err)
	}
}

func TestRepeatedStatementReturnsItsRecordedResult(t *testing.T) {
	t.Parallel()
	s, _, coll := keys(t)
	ctx := testContext(t)
	cmd := func(number int64) bson.D {
		id := bson.Binary{Subtype: 4, Data: []byte("0123456789abcdef")}
		return d("update", "api_keys", "updates", bson.A{d("q", d("_id", 1), "u", d("$inc", d("n", 1)))}, "lsid", d("id", id), "txnNumber", number)
	}
	must(coll.InsertOne(ctx, d("_id", 1, "n", 0)))(t)
	run := func(number int64) bson.D {
		t.Helper()
		return s.direct(t, cmd(number)) // the driver would add a session of its own
	}
	first, again := run(1), run(1)
	if compare(field(first, "nModified"), int32(1)) != 0 || compare(field(again, "nModified"), int32(1)) != 0 {
		t.Errorf("replies %v and %v", first, again)
	}
	if n := field(findOne(t, coll, d("_id", 1)), "n"); n != int32(1) {
		t.Errorf("n is %v after a repeated statement, want 1", n)
	}
	run(2)
	if n := field(findOne(t, coll, d("_id", 1)), "n"); n != int32(2) {
		t.Errorf("n is %v after a new statement, want 2", n)
	}
	if old := run(1); field(old, "code") != int32(225) {
		t.Errorf("an old transaction number was answered %v", old)
	}
}

// direct executes a command as a connection would, without a driver between.
func (s *Server) direct(t *testing.T, cmd bson.D) bson.D {
	t.Helper()
	raw, err := bson.Marshal(append(cmd, bson.E{Key: "$db", Value: "app"}))
	if err != nil {
		t.Fatal(err)
	}
	body, err := decode(raw)
	if err != nil {
		t.Fatal(err)
	}
	reply, err := s.execute(context.Background(), &conn{s: s}, &request{body: body})
	if err != nil {
		t.Fatal(err)
	}
	return reply
}

func TestDriverRetriesAWriteWithoutDoingItTwice(t *testing.T) {
	t.Parallel()
	_, client, coll := keys(t)
	ctx := testContext(t)
	must(coll.InsertOne(ctx, d("_id", 1, "n", 0)))(t)
	setFailPoint(t, client, d("times", 1), d("failCommands", bson.A{"update"}, "writeConcernError", d("code", 91, "errmsg", "shutting down", "errorLabels", bson.A{"RetryableWriteError"})))
	_, err := coll.UpdateOne(ctx, d("_id", 1), d("$inc", d("n", 1)))
	if n := field(findOne(t, coll, d("_id", 1)), "n"); n != int32(1) {
		t.Errorf("n is %v, want 1 (%v)", n, err)
	}
	setFailPoint(t, client, d("times", 1), d("failCommands", bson.A{"update"}, "closeConnection", true))
	must(coll.UpdateOne(ctx, d("_id", 1), d("$inc", d("n", 1))))(t)
	if n := field(findOne(t, coll, d("_id", 1)), "n"); n != int32(2) {
		t.Errorf("n is %v, want 2", n)
	}
}

func setFailPoint(t *testing.T, client *mongo.Client, mode any, data bson.D) {
	t.Helper()
	cmd := d("configureFailPoint", "failCommand", "mode", mode, "data", data)
	if err := client.Database("admin").RunCommand(testContext(t), cmd).Err(); err != nil {
		t.Fatal(err)
	}
}

// until polls a condition under the server's lock, for tests that wait until
// somebody else waits.
func (s *Server) until(ctx context.Context, cond func() bool) error {
	for {
		s.mu.Lock()
		ok := cond()
		s.mu.Unlock()
		if ok || ctx.Err() != nil {
			return ctx.Err()
		}
		runtime.Gosched()
	}
}
