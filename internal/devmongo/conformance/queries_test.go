package conformance

import (
	"context"
	"math"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func TestFiltersFindDocuments(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.insert(t,
			d("_id", int32(1), "n", int32(1), "s", "apple", "t", bson.A{"x", "y"}, "sub", d("k", int32(1))),
			d("_id", int32(2), "n", 2.5, "s", "pear", "t", bson.A{}, "sub", bson.A{d("k", int32(1)), d("k", int32(2))}),
			d("_id", int32(3), "n", nil, "s", int32(7)),
			d("_id", "4", "t", "x"),
		)
		for _, c := range []struct {
			filter bson.D
			want   bson.A
		}{
			{d(), bson.A{int32(1), int32(2), int32(3), "4"}},
			{d("n", 1.0), bson.A{int32(1)}},
			{d("n", d("$gt", 1)), bson.A{int32(2)}},
			{d("n", d("$gt", 0, "$lte", 1)), bson.A{int32(1)}},
			{d("n", d("$lt", 2)), bson.A{int32(1)}},
			{d("n", d("$not", d("$gt", 1))), bson.A{int32(1), int32(3), "4"}},
			{d("n", d("$lte", 2.5)), bson.A{int32(1), int32(2)}},
			{d("n", nil), bson.A{int32(3), "4"}},
			{d("n", d("$ne", nil)), bson.A{int32(1), int32(2)}},
			{d("n", d("$exists", true)), bson.A{int32(1), int32(2), int32(3)}},
			{d("n", d("$exists", false)), bson.A{"4"}},
			{d("s", d("$type", "string")), bson.A{int32(1), int32(2)}},
			{d("s", d("$type", 16)), bson.A{int32(3)}},
			{d("s", d("$type", bson.A{"int", "string"})), bson.A{int32(1), int32(2), int32(3)}},
			{d("n", d("$type", "number")), bson.A{int32(1), int32(2)}},
			{d("n", d("$type", bson.A{"date", "null"})), bson.A{int32(3)}}, // but no absent field
			{d("n", d("$in", bson.A{nil, 1})), bson.A{int32(1), int32(3), "4"}},
			{d("t", d("$in", bson.A{bson.A{}})), bson.A{int32(2)}},
			{d("s", d("$regex", "^ap")), bson.A{int32(1)}},
			{d("t", "x"), bson.A{int32(1), "4"}},
			{d("t", bson.A{"x", "y"}), bson.A{int32(1)}},
			{d("t.1", "y"), bson.A{int32(1)}},
			{d("sub.k", 2), bson.A{int32(2)}},
			{d("_id", d("$in", bson.A{int64(3), "4", 9})), bson.A{int32(3), "4"}},
			{d("_id", d("$nin", bson.A{1, 2})), bson.A{int32(3), "4"}},
			{d("$or", bson.A{d("_id", 1), d("n", 2.5)}), bson.A{int32(1), int32(2)}},
			{d("$and", bson.A{d("_id", 1), d("n", 1)}), bson.A{int32(1)}},
			{d("$expr", d("$eq", bson.A{"$_id", "$n"})), bson.A{int32(1)}},
			{d("$expr", d("$eq", bson.A{d("$setIntersection", bson.A{bson.A{"y", "$s", "y"}, bson.A{"y", "pear"}}), bson.A{"y"}})), bson.A{int32(1), int32(3), "4"}},
			{d("$expr", d("$eq", bson.A{d("$setIntersection", bson.A{"$missing", bson.A{"x"}}), nil})), bson.A{int32(1), int32(2), int32(3), "4"}},
		} {
			if got := r.ids(t, c.filter, options.Find().SetSort(d("_id", 1))); !equal(t, got, c.want) {
				t.Errorf("%v found %v, want %v", c.filter, got, c.want)
			}
			if n, err := r.coll.CountDocuments(r.ctx, c.filter); err != nil || n != int64(len(c.want)) {
				t.Errorf("%v counted %d, want %d: %v", c.filter, n, len(c.want), err)
			}
		}
	})
}

// The order of types is on the page "Comparison/Sort Order" of MongoDB's manual.
// TestNotANumber is less than no number in a filter, although a sort has it first.
func TestNotANumber(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		nan := math.NaN()
		r.insert(t, d("_id", int32(1), "n", nan), d("_id", int32(2), "n", int32(1)))
		for _, c := range []struct {
			filter bson.D
			want   bson.A
		}{
			{d("n", d("$lt", 5)), bson.A{int32(2)}},
			{d("n", d("$lte", 5)), bson.A{int32(2)}},
			{d("n", d("$gt", nan)), bson.A{}},
			{d("n", d("$lte", nan)), bson.A{int32(1)}},
			{d("n", nan), bson.A{int32(1)}},
			{d("n", d("$not", d("$gt", nan))), bson.A{int32(1), int32(2)}},
		} {
			if got := r.ids(t, c.filter, options.Find().SetSort(d("_id", 1))); !equal(t, got, c.want) {
				t.Errorf("%v: %v, want %v", c.filter, got, c.want)
			}
		}
	})
}

func TestSortsFollowTheOrderOfTypes(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		inOrder := []any{
			bson.MinKey{},
			nil,
			bson.NewDecimal128(0xb040000000000000, 2), -1.5, int32(0), 0.5, int64(1), bson.NewDecimal128(0x3040000000000000, 2), int64(1 << 53), float64(1<<53 + 2),
			"", "a", "b",
			d(), d("a", int32(1)), d("a", int32(2)), d("b", int32(1)),
			bson.Binary{},
			bson.Binary{Data: []byte{0}},
			bson.ObjectID{},
			false, true,
			bson.DateTime(-1), bson.DateTime(1),
			bson.Timestamp{T: 1, I: 9},
			bson.Timestamp{T: 2},
			bson.Regex{Pattern: "a"},
			bson.MaxKey{},
		}
		var docs []any
		want := bson.A{}
		for i, v := range inOrder {
			docs = append([]any{d("_id", int32(i), "v", v)}, docs...)
			want = append(want, int32(i))
		}
		r.insert(t, docs...)
		if got := r.ids(t, d(), options.Find().SetSort(d("v", 1))); !equal(t, got, want) {
			t.Errorf("got the order %v", got)
		}
	})
}

func TestSortUsesTheLeastOrGreatestElementOfAnArray(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.insert(t, d("_id", int32(1), "v", bson.A{1, 9}), d("_id", int32(2), "v", 5), d("_id", int32(3), "v", bson.A{}), d("_id", int32(4)))
		if got, want := r.ids(t, d(), options.Find().SetSort(d("v", 1, "_id", 1))), (bson.A{int32(3), int32(4), int32(1), int32(2)}); !equal(t, got, want) {
			t.Errorf("ascending %v, want %v", got, want)
		}
		if got, want := r.ids(t, d(), options.Find().SetSort(d("v", -1, "_id", 1))), (bson.A{int32(1), int32(2), int32(4), int32(3)}); !equal(t, got, want) {
			t.Errorf("descending %v, want %v", got, want)
		}
	})
}

func TestProjectionsSelectFields(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.insert(t, d("_id", int32(1), "a", int32(1), "b", d("c", int32(2), "e", int32(3)), "l", bson.A{d("c", int32(4), "e", int32(5)), int32(6)}))
		for _, c := range []struct{ projection, want bson.D }{
			{d("a", 1), d("_id", int32(1), "a", int32(1))},
			{d("a", 1, "_id", 0), d("a", int32(1))},
			{d("b.c", 1, "l.c", 1), d("_id", int32(1), "b", d("c", int32(2)), "l", bson.A{d("c", int32(4))})},
			{d("b.c", 0, "l", 0), d("_id", int32(1), "a", int32(1), "b", d("e", int32(3)))},
			{d("_id", 0, "b", 0, "l", 0), d("a", int32(1))},
		} {
			var got bson.D
			if err := r.coll.FindOne(r.ctx, d(), options.FindOne().SetProjection(c.projection)).Decode(&got); err != nil || !equal(t, got, c.want) {
				t.Errorf("%v: got %v, want %v, %v", c.projection, got, c.want, err)
			}
		}
		err := r.coll.FindOne(r.ctx, d(), options.FindOne().SetProjection(d("a", 1, "b", 0))).Err()
		wantCode(t, err, 31253, 31254, 2)
	})
}

func TestLargeResultsArriveInBatches(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		var docs []any
		for i := range 1000 {
			docs = append(docs, d("_id", int32(999-i)))
		}
		r.insert(t, docs...)
		got := r.ids(t, d(), options.Find().SetSort(d("_id", 1)).SetBatchSize(100))
		for i, id := range got {
			if id != int32(i) {
				t.Fatalf("document %d has the _id %v", i, id)
			}
		}
		if len(got) != 1000 {
			t.Errorf("%d documents, want 1000", len(got))
		}
		if got := r.ids(t, d(), options.Find().SetSort(d("_id", -1)).SetLimit(2)); !equal(t, got, bson.A{int32(999), int32(998)}) {
			t.Errorf("with a limit: %v", got)
		}
		if n, err := r.coll.EstimatedDocumentCount(r.ctx); err != nil || n != 1000 {
			t.Errorf("estimated %d, %v", n, err)
		}
	})
}

func TestKilledCursorIsNotFound(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.insert(t, d("_id", 1), d("_id", 2), d("_id", 3))
		session, err := r.client.StartSession()
		if err != nil {
			t.Fatal(err)
		}
		defer session.EndSession(r.ctx)
		err = mongo.WithSession(r.ctx, session, func(ctx context.Context) error {
			reply, err := r.commandIn(ctx, d("find", "api_keys", "batchSize", 1))
			if err != nil {
				return err
			}
			id := part(reply, "cursor.id")
			if _, err := r.commandIn(ctx, d("killCursors", "api_keys", "cursors", bson.A{id})); err != nil {
				return err
			}
			_, err = r.commandIn(ctx, d("getMore", id, "collection", "api_keys"))
			wantCode(t, err, 43)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
	})
}

func TestInvalidCommandsAreRejected(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		for name, c := range map[string]struct {
			command bson.D
			code    []int
		}{
			"unknown command":                     {d("frobnicate", 1), []int{59}},
			"unknown option of find":              {d("find", "x", "frob", 1), []int{40415, 9}},
			"unknown operator":                    {d("find", "x", "filter", d("a", d("$frob", 1))), []int{2}},
			"unknown top-level operator":          {d("find", "x", "filter", d("$frob", 1)), []int{2}},
			"empty $or":                           {d("find", "x", "filter", d("$or", bson.A{})), []int{2}},
			"$in without an array":                {d("find", "x", "filter", d("a", d("$in", 1))), []int{2}},
			"unknown type":                        {d("find", "x", "filter", d("a", d("$type", "frob"))), []int{2}},
			"filter that is not a document":       {d("find", "x", "filter", "y"), []int{14, 9}},
			"empty collection name":               {d("find", ""), []int{73}},
			"sort by a word":                      {d("find", "x", "sort", d("a", "up")), []int{15974, 2}},
			"negative limit":                      {d("find", "x", "limit", -1), []int{51024, 2, 9}},
			"unknown read concern":                {d("find", "x", "readConcern", d("level", "frob")), []int{9, 2}},
			"linearizable with afterClusterTime":  {d("find", "x", "readConcern", d("level", "linearizable", "afterClusterTime", bson.Timestamp{T: 1, I: 1})), []int{72}},
			"$changeStream as the second stage":   {d("aggregate", "x", "pipeline", bson.A{d("$match", d()), d("$changeStream", d())}, "cursor", d()), []int{40602}},
			"aggregate without a cursor":          {d("aggregate", "x", "pipeline", bson.A{}), []int{9}},
			"unknown stage":                       {d("aggregate", "x", "pipeline", bson.A{d("$frob", d())}, "cursor", d()), []int{40324}},
			"stage with two fields":               {d("aggregate", "x", "pipeline", bson.A{d("$match", d(), "$set", d())}, "cursor", d()), []int{40323}},
			"unknown expression":                  {d("aggregate", "x", "pipeline", bson.A{d("$set", d("a", d("$frob", 1)))}, "cursor", d()), []int{168}},
			"unknown variable":                    {d("aggregate", "x", "pipeline", bson.A{d("$match", d("$expr", "$$frob"))}, "cursor", d()), []int{17276}},
			"aggregate without a collection":      {d("aggregate", 1, "pipeline", bson.A{d("$match", d())}, "cursor", d()), []int{73}},
			"unknown option of an update":         {d("update", "x", "updates", bson.A{d("q", d(), "u", d("$set", d("a", 1)), "frob", 1)}), []int{40415, 9}},
			"replacement of many documents":       {d("update", "x", "updates", bson.A{d("q", d(), "u", d("a", 1), "multi", true)}), []int{9}},
			"delete limit of two":                 {d("delete", "x", "deletes", bson.A{d("q", d(), "limit", 2)}), []int{9}},
			"insert of nothing":                   {d("insert", "x", "documents", bson.A{}), []int{16}},
			"createIndexes of nothing":            {d("createIndexes", "x", "indexes", bson.A{}), []int{2}},
			"unknown option of an index":          {d("createIndexes", "x", "indexes", bson.A{d("key", d("a", 1), "name", "a", "frob", 1)}), []int{197}},
			"dropIndexes of a missing collection": {d("dropIndexes", "none", "index", "a_1"), []int{26}},
			"unknown cursor":                      {d("getMore", int64(77), "collection", "x"), []int{43}},
			"renameCollection outside admin":      {d("renameCollection", "a.b", "to", "a.c"), []int{13}},
		} {
			r.run(t, name, func(t *testing.T, r *rig) {
				_, err := r.command(r.db.Name(), c.command)
				if got := code(err); got == 0 || !slices.Contains(c.code, got) {
					t.Errorf("%v: code %d, want %v: %v", c.command, got, c.code, err)
				}
			})
		}
	})
}
