package conformance

import (
	"errors"
	"slices"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

func (r *rig) createIndex(keys bson.D, opts *options.IndexOptionsBuilder) error {
	_, err := r.coll.Indexes().CreateOne(r.ctx, mongo.IndexModel{Keys: keys, Options: opts})
	return err
}

func TestUniqueIndexRejectsTheSecondDocument(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		r.insert(t, d("_id", 1, "h", "a"), d("_id", 2, "h", "a"))
		unique := options.Index().SetUnique(true)
		wantCode(t, r.createIndex(d("h", 1), unique), 11000)
		r.update(t, 2, d("$set", d("h", "b")))
		if err := r.createIndex(d("h", 1), unique); err != nil {
			t.Fatal(err)
		}
		_, err := r.coll.InsertOne(r.ctx, d("_id", 3, "h", "b"))
		wantCode(t, err, 11000)
		if !mongo.IsDuplicateKeyError(err) {
			t.Errorf("the driver does not recognise %v", err)
		}
		_, err = r.coll.UpdateByID(r.ctx, 1, d("$set", d("h", "b")))
		wantCode(t, err, 11000)
		if _, err := r.coll.DeleteOne(r.ctx, d("h", "b")); err != nil {
			t.Fatal(err)
		}
		r.insert(t, d("_id", 3, "h", "b"), d("_id", 4))
		_, err = r.coll.InsertOne(r.ctx, d("_id", 5))
		wantCode(t, err, 11000) // a missing field counts as null
	})
}

func TestDuplicateKeyErrorHasTheKey(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		if err := r.createIndex(d("h", 1), options.Index().SetUnique(true)); err != nil {
			t.Fatal(err)
		}
		r.insert(t, d("_id", 1, "h", "a"))
		_, err := r.coll.InsertOne(r.ctx, d("_id", 2, "h", "a"))
		we, ok := errors.AsType[mongo.WriteException](err)
		if !ok || len(we.WriteErrors) != 1 {
			t.Fatal(err)
		}
		var detail struct{ KeyPattern, KeyValue bson.D }
		if err := bson.Unmarshal(we.WriteErrors[0].Raw, &detail); err != nil || !equal(t, detail.KeyValue, d("h", "a")) || part(detail.KeyPattern, "h") == nil {
			t.Errorf("detail %+v, %v", detail, err)
		}
	})
}

func TestSparseAndMultikeyUniqueIndex(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		if err := r.createIndex(d("s", 1), options.Index().SetUnique(true).SetSparse(true)); err != nil {
			t.Fatal(err)
		}
		r.insert(t, d("_id", 1), d("_id", 2), d("_id", 3, "s", bson.A{1, 2, 2}))
		_, err := r.coll.InsertOne(r.ctx, d("_id", 4, "s", 2))
		wantCode(t, err, 11000)
		_, err = r.coll.InsertOne(r.ctx, d("_id", 5, "s", bson.A{4, 1}))
		wantCode(t, err, 11000)
	})
}

// TestPartialIndexHasOnlyDocumentsOfItsFilter, so that others may share a value of it.
func TestPartialIndexHasOnlyDocumentsOfItsFilter(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		if err := r.createIndex(d("a", 1, "b", -1), options.Index().SetUnique(true).SetPartialFilterExpression(d("a", d("$exists", true)))); err != nil {
			t.Fatal(err)
		}
		r.insert(t, d("_id", 1, "b", 1), d("_id", 2, "b", 1), d("_id", 3, "a", nil, "b", 1), d("_id", 4, "a", 7, "b", 1))
		_, err := r.coll.InsertOne(r.ctx, d("_id", 5, "a", 7, "b", 1))
		wantCode(t, err, 11000)
		for filter, want := range map[any]bson.A{nil: {1, 2, 3}, 7: {4}} {
			if got := r.ids(t, d("a", filter), options.Find().SetSort(d("a", 1, "b", -1, "_id", 1))); !equal(t, got, want) {
				t.Errorf("a: %v found %v, want %v", filter, got, want)
			}
		}
		var specs []bson.D
		cursor, err := r.coll.Indexes().List(r.ctx)
		if err != nil {
			t.Fatal(err)
		}
		if err := cursor.All(r.ctx, &specs); err != nil || len(specs) != 2 || !equal(t, part(specs[1], "partialFilterExpression"), d("a", d("$exists", true))) {
			t.Errorf("indexes %v, %v", specs, err)
		}
	})
}

func TestIndexesAreListedAndDropped(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		named := func(name string) *options.IndexOptionsBuilder { return options.Index().SetName(name) }
		for range 2 { // the second call changes nothing
			if err := r.createIndex(d("a", 1), named("x")); err != nil {
				t.Fatal(err)
			}
		}
		wantCode(t, r.createIndex(d("a", 1), named("y")), 85)
		wantCode(t, r.createIndex(d("b", 1), named("x")), 86)
		specs, err := r.coll.Indexes().ListSpecifications(r.ctx)
		if err != nil || len(specs) != 2 || specs[0].Name != "_id_" || specs[1].Name != "x" {
			t.Errorf("indexes %v, %v", specs, err)
		}
		wantCode(t, r.coll.Indexes().DropOne(r.ctx, "_id_"), 72)
		if err := r.coll.Indexes().DropOne(r.ctx, "x"); err != nil {
			t.Fatal(err)
		}
		wantCode(t, r.coll.Indexes().DropOne(r.ctx, "x"), 27)
	})
}

func TestCollectionsAreListedRenamedAndDropped(t *testing.T) {
	each(t, func(t *testing.T, r *rig) {
		if err := r.db.CreateCollection(r.ctx, "empty"); err != nil {
			t.Fatal(err)
		}
		r.insert(t, d("_id", 1))
		list := func(filter bson.D) []string {
			t.Helper()
			names, err := r.db.ListCollectionNames(r.ctx, filter)
			if err != nil {
				t.Fatal(err)
			}
			slices.Sort(names)
			return names
		}
		if got := list(d()); !slices.Equal(got, []string{"api_keys", "empty"}) {
			t.Errorf("collections %v", got)
		}
		if got := list(d("name", "empty")); !slices.Equal(got, []string{"empty"}) {
			t.Errorf("filtered: %v", got)
		}
		rename := d("renameCollection", r.db.Name()+".api_keys", "to", r.db.Name()+".empty")
		_, err := r.command("admin", rename)
		wantCode(t, err, 48)
		if _, err := r.command("admin", append(rename, bson.E{Key: "dropTarget", Value: true})); err != nil {
			t.Fatal(err)
		}
		_, err = r.command("admin", rename)
		wantCode(t, err, 26)
		if got := list(d()); !slices.Equal(got, []string{"empty"}) {
			t.Errorf("after the rename: %v", got)
		}
		if err := r.db.Collection("empty").Drop(r.ctx); err != nil {
			t.Fatal(err)
		}
		if got := list(d()); len(got) != 0 {
			t.Errorf("after the drop: %v", got)
		}
	})
}
