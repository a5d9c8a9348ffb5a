package keystore

import (
	"context"
	"errors"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/mongotest"
)

func ids(all ...Details) []apikey.DocID {
	ids := make([]apikey.DocID, len(all))
	for i := range all {
		ids[i] = all[i].ID
	}
	return ids
}

// TestSeveralKeysAreChangedTogether, or none of them: if one is not as it was read, the
// transaction fails.
func TestSeveralKeysAreChangedTogether(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d := newWriteRig(t, s)
		if has, err := d.HasTransactions(testContext(t)); err != nil || !has {
			t.Skip("the server has no transactions")
		}
		keys := []Details{d.insert(t, "u"), d.insert(t, "u"), d.insert(t, "v")}
		found, err := d.FindDetails(testContext(t), ids(keys...))
		if err != nil || len(found) != 3 {
			t.Fatalf("%d keys, %v", len(found), err)
		}
		edits := make([]Edit, len(found))
		for i := range found {
			if edits[i], err = d.schema.Edit(found[i], Fields{Active: ptr(false)}, made); err != nil {
				t.Fatal(err)
			}
		}
		change := func() error {
			_, err := d.Transact(testContext(t), func(ctx context.Context) error { return d.ChangeAll(ctx, edits) })
			return err
		}
		off := bson.D{{Key: "is_active", Value: false}}
		name := func(v any) {
			t.Helper()
			id, err := idValue(keys[1].ID)
			if err == nil {
				_, err = d.keys.UpdateOne(testContext(t), bson.D{{Key: "_id", Value: id}}, bson.D{{Key: "$set", Value: bson.D{{Key: "name", Value: v}}}})
			}
			if err != nil {
				t.Fatal(err)
			}
		}
		name("another")
		if err := change(); !errors.Is(err, ErrChanged) || d.count(t, off) != 0 {
			t.Fatalf("a key was changed meanwhile: %v, and %d are off", err, d.count(t, off))
		}
		edits = append(edits[:1], edits[2])
		if err := change(); err != nil || d.count(t, off) != 2 {
			t.Errorf("%v, and %d are off", err, d.count(t, off))
		}
	})
}

// TestAllKeysWithAHash are found, also if the unique index is missing.
func TestAllKeysWithAHash(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d := newWriteRig(t, s)
		if found, err := d.FindAllByHash(testContext(t), testHash); err != nil || len(found) != 0 {
			t.Fatalf("%d keys, %v", len(found), err)
		}
		if err := d.keys.Indexes().DropOne(testContext(t), "key_hash_1"); err != nil {
			t.Fatal(err)
		}
		for _, id := range []string{"a", "b", "c"} {
			if _, err := d.keys.InsertOne(testContext(t), document(t, bson.E{Key: "_id", Value: id})); err != nil {
				t.Fatal(err)
			}
		}
		if found, err := d.FindAllByHash(testContext(t), testHash); err != nil || len(found) != 3 {
			t.Errorf("%d keys, %v", len(found), err)
		}
	})
}

// TestErrorsOfBulkWrites are read like those of a single write.
func TestErrorsOfBulkWrites(t *testing.T) {
	t.Parallel()
	raw, err := bson.Marshal(bson.D{{Key: "keyPattern", Value: bson.D{{Key: "email", Value: 1}}}})
	if err != nil {
		t.Fatal(err)
	}
	duplicate := mongo.BulkWriteException{WriteErrors: []mongo.BulkWriteError{{WriteError: mongo.WriteError{Code: codeDuplicateKey, Raw: raw}}}}
	if replies := serverReplies(duplicate); len(replies) != 1 || !hasCode(duplicate, codeDuplicateKey) {
		t.Errorf("%v", replies)
	}
	if isUncertain(duplicate) || !isUncertain(mongo.BulkWriteException{WriteConcernError: &mongo.WriteConcernError{Code: 64}}) {
		t.Error("the outcome of a bulk write is read wrongly")
	}
}
