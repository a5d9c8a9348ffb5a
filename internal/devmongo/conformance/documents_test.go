package conformance

import (
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func TestEveryTypeIsStoredUnchanged(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		for name, v := range map[string]any{
			"null": nil, "bool": true, "int": int32(-1), "long": int64(1) << 53, "double": 1.5,
			"decimal":   bson.NewDecimal128(0x303e000000000000, 70),
			"string":    "äö\x00$.",
			"object":    d("b", int32(1), "a", d()),
			"array":     bson.A{bson.A{}, nil, "x"},
			"objectId":  bson.ObjectID{1, 2, 3},
			"date":      bson.DateTime(-1),
			"timestamp": bson.Timestamp{T: 1, I: 9},
			"binary":    bson.Binary{Data: []byte{0, 255}},
			"uuid":      bson.Binary{Subtype: bson.TypeBinaryUUID, Data: make([]byte, 16)},
			"regex":     bson.Regex{Pattern: "a.c", Options: "i"},
			"code":      bson.JavaScript("x"),
			"minKey":    bson.MinKey{}, "maxKey": bson.MaxKey{},
		} {
			r.run(t, name, func(t *testing.T, r *rig) {
				r.insert(t, d("_id", int32(1), "v", v))
				if got, want := r.find(t, d("_id", 1)), d("_id", int32(1), "v", v); !equal(t, got, want) {
					t.Errorf("got %v, want %v", got, want)
				}
			})
		}
	})
}

func TestIdIsTheFirstFieldAndUnique(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.insert(t, d("a", int32(1), "_id", int32(7)))
		if got := r.find(t, d("_id", 7)); got[0].Key != "_id" {
			t.Errorf("stored as %v", got)
		}
		_, err := r.coll.InsertOne(r.ctx, d("_id", int64(7)))
		wantCode(t, err, 11000) // numbers of different types are equal
	})
}

func TestArrayIsRejectedAsId(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		_, err := r.coll.InsertOne(r.ctx, d("_id", bson.A{1}))
		wantCode(t, err, 53, 2)
	})
}

func TestUnorderedInsertContinuesAfterAnError(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		for ordered, want := range map[bool]int{true: 1, false: 2} {
			if _, err := r.coll.DeleteMany(r.ctx, d()); err != nil {
				t.Fatal(err)
			}
			_, err := r.coll.InsertMany(r.ctx, []any{d("_id", 1), d("_id", 1), d("_id", 2)}, options.InsertMany().SetOrdered(ordered))
			if err == nil || len(r.ids(t, d())) != want {
				t.Errorf("ordered %v: %v, documents %v", ordered, err, r.ids(t, d()))
			}
		}
	})
}

func TestUpdatesChangeDocuments(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		start := d("_id", int32(1), "n", int32(5), "s", "x", "list", bson.A{int32(1), int32(2)}, "sub", d("a", int32(1)))
		for name, c := range map[string]struct {
			update any
			want   bson.D
		}{
			"set nested":     {d("$set", d("sub.b.c", true)), d("n", int32(5), "s", "x", "list", bson.A{int32(1), int32(2)}, "sub", d("a", int32(1), "b", d("c", true)))},
			"set an element": {d("$set", d("list.1", "b")), d("n", int32(5), "s", "x", "list", bson.A{int32(1), "b"}, "sub", d("a", int32(1)))},
			"set behind the end of an array": {
				d("$set", d("list.3", int32(9))),
				d("n", int32(5), "s", "x", "list", bson.A{int32(1), int32(2), nil, int32(9)}, "sub", d("a", int32(1))),
			},
			"unset":      {d("$unset", d("s", "", "sub.a", "", "none", "")), d("n", int32(5), "list", bson.A{int32(1), int32(2)}, "sub", d())},
			"inc":        {d("$inc", d("n", int32(2), "m", int64(1))), d("n", int32(7), "s", "x", "list", bson.A{int32(1), int32(2)}, "sub", d("a", int32(1)), "m", int64(1))},
			"inc double": {d("$inc", d("n", 0.5)), d("n", 5.5, "s", "x", "list", bson.A{int32(1), int32(2)}, "sub", d("a", int32(1)))},
			"max":        {d("$max", d("n", int32(4), "m", int32(4))), d("n", int32(5), "s", "x", "list", bson.A{int32(1), int32(2)}, "sub", d("a", int32(1)), "m", int32(4))},
			"pull":       {d("$pull", d("list", int64(2))), d("n", int32(5), "s", "x", "list", bson.A{int32(1)}, "sub", d("a", int32(1)))},
			"pipeline":   {bson.A{d("$set", d("n", d("$size", "$list")))}, d("n", int32(2), "s", "x", "list", bson.A{int32(1), int32(2)}, "sub", d("a", int32(1)))},
		} {
			r.run(t, name, func(t *testing.T, r *rig) {
				r.insert(t, start)
				r.update(t, 1, c.update)
				if got, want := r.find(t, d("_id", 1)), append(d("_id", int32(1)), c.want...); !equal(t, got, want) {
					t.Errorf("got  %v\nwant %v", got, want)
				}
			})
		}
	})
}

func TestCurrentDateIsTheServersClock(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.insert(t, d("_id", 1))
		r.update(t, 1, d("$currentDate", d("at", true)))
		at, ok := part(r.find(t, d("_id", 1)), "at").(bson.DateTime)
		if difference := time.Since(at.Time()).Abs(); !ok || difference > time.Hour {
			t.Errorf("got %v, which differs by %v", at, difference)
		}
	})
}

func TestInvalidUpdatesAreRejected(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		for name, c := range map[string]struct {
			update any
			code   []int
		}{
			"unknown operator":           {d("$frob", d("a", 1)), []int{9}},
			"conflict":                   {d("$set", d("a", 1), "$inc", d("a.b", 1)), []int{40}},
			"immutable _id":              {d("$set", d("_id", 2)), []int{66}},
			"inc of a string":            {d("$inc", d("n", 1)), []int{14}},
			"inc by a string":            {d("$inc", d("m", "x")), []int{14}},
			"path through a scalar":      {d("$set", d("n.x", 1)), []int{28}},
			"empty path element":         {d("$set", d("a..b", 1)), []int{56}},
			"pull from a scalar":         {d("$pull", d("n", 1)), []int{2}},
			"stage":                      {bson.A{d("$match", d())}, []int{72}},
			"unknown stage":              {bson.A{d("$frob", d())}, []int{40324}},
			"unknown expression":         {bson.A{d("$set", d("a", d("$frob", 1)))}, []int{168}},
			"unknown variable":           {bson.A{d("$set", d("a", "$$frob"))}, []int{17276}},
			"size of a string":           {bson.A{d("$set", d("a", d("$size", "$n")))}, []int{17124}},
			"field name starting with $": {bson.A{d("$set", d("$a", 1))}, []int{16410, 52, 16412}},
		} {
			r.run(t, name, func(t *testing.T, r *rig) {
				r.insert(t, d("_id", 1, "n", "text", "a", d("b", 1)))
				_, err := r.coll.UpdateByID(r.ctx, 1, c.update)
				wantCode(t, err, c.code...)
			})
		}
	})
}

func TestUpsertCombinesTheFilterAndTheUpdate(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		upsert := options.UpdateOne().SetUpsert(true)
		result, err := r.coll.UpdateOne(r.ctx, d("_id", "a", "k", d("$eq", int32(1)), "n", d("$lt", int32(3))), d("$set", d("x", int32(1))), upsert)
		if err != nil || result.UpsertedID != "a" || result.UpsertedCount != 1 {
			t.Errorf("upserted %+v, %v", result, err)
		}
		if got, want := r.find(t, d("_id", "a")), d("_id", "a", "k", int32(1), "x", int32(1)); !equal(t, got, want) {
			t.Errorf("got %v, want %v", got, want)
		}
		result, err = r.coll.UpdateOne(r.ctx, d("_id", "a"), d("$set", d("x", int32(1))), upsert)
		if err != nil || result.MatchedCount != 1 || result.ModifiedCount != 0 || result.UpsertedCount != 0 {
			t.Errorf("an upsert that matches and changes nothing: %+v, %v", result, err)
		}
		result, err = r.coll.ReplaceOne(r.ctx, d("_id", "b"), d("z", 1), options.Replace().SetUpsert(true))
		if err != nil || result.UpsertedID != "b" {
			t.Errorf("replaced %+v, %v", result, err)
		}
	})
}

func TestUpdateManyChangesAllThatMatch(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.insert(t, d("_id", 1, "a", 1), d("_id", 2, "a", 1), d("_id", 3, "a", 2))
		result, err := r.coll.UpdateMany(r.ctx, d("a", 1), d("$set", d("b", true)))
		if err != nil || result.MatchedCount != 2 || result.ModifiedCount != 2 {
			t.Errorf("%+v, %v", result, err)
		}
		deleted, err := r.coll.DeleteMany(r.ctx, d("b", true))
		if err != nil || deleted.DeletedCount != 2 {
			t.Errorf("%+v, %v", deleted, err)
		}
	})
}

func TestFindOneAndUpdateReturnsTheDocumentBeforeOrAfter(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.insert(t, d("_id", int32(1), "n", int32(1)))
		for after, want := range map[options.ReturnDocument]int32{options.Before: 1, options.After: 11} {
			r.update(t, 1, d("$set", d("n", int32(1))))
			var got bson.D
			err := r.coll.FindOneAndUpdate(r.ctx, d("_id", 1), d("$inc", d("n", int32(10))), options.FindOneAndUpdate().SetReturnDocument(after)).Decode(&got)
			if err != nil || part(got, "n") != want {
				t.Errorf("return document %v: got %v, %v", after, got, err)
			}
		}
		err := r.coll.FindOneAndUpdate(r.ctx, d("_id", 2), d("$set", d("n", 1))).Err()
		if code(err) != 0 || err == nil {
			t.Errorf("no document: %v", err)
		}
	})
}
