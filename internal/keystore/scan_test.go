package keystore

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/mongotest"
)

func TestScanSeesEveryDocumentOnce(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		client, database := s.Client(t), s.Database(t)
		keys := mongotest.CreateAPIKeys(t, client.Database(database))
		const numbered = 500
		documents := []any{}
		for i := range numbered {
			documents = append(documents, bson.D{{Key: "_id", Value: i}, {Key: "key_hash", Value: apikey.HashOf(fmt.Sprint("number ", i)).Hex()}})
		}
		// Ids of other BSON types, which a range of numbers would skip.
		for _, id := range []any{"text", bson.NewObjectID(), bson.D{{Key: "a", Value: 1}}} {
			documents = append(documents, bson.D{{Key: "_id", Value: id}, {Key: "key_hash", Value: apikey.HashOf(fmt.Sprint(id)).Hex()}})
		}
		if _, err := keys.InsertMany(t.Context(), documents); err != nil {
			t.Fatal(err)
		}
		store, err := New(Config{Client: client, Database: database})
		if err != nil {
			t.Fatal(err)
		}
		if n, err := store.Count(t.Context()); err != nil || n != int64(len(documents)) {
			t.Fatalf("Count is %d, %v", n, err)
		}
		seen := map[apikey.DocID]int{}
		err = store.Scan(t.Context(), 0, func(d *Document) error {
			seen[d.ID]++
			if !d.HasHash {
				t.Errorf("%s has no hash", d.Record.KeyID)
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		if len(seen) != len(documents) {
			t.Fatalf("%d of %d documents were seen", len(seen), len(documents))
		}
		for id, n := range seen {
			if n != 1 {
				t.Fatalf("%q was seen %d times", id, n)
			}
		}
	})
}

func TestScanEndsWithTheErrorOfSee(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		client, database := s.Client(t), s.Database(t)
		keys := mongotest.CreateAPIKeys(t, client.Database(database))
		for i := range 3 {
			if _, err := keys.InsertOne(t.Context(), bson.D{{Key: "_id", Value: i}, {Key: "key_hash", Value: fmt.Sprint(i)}}); err != nil {
				t.Fatal(err)
			}
		}
		store, err := New(Config{Client: client, Database: database})
		if err != nil {
			t.Fatal(err)
		}
		stop, calls := errors.New("enough"), 0
		if err := store.Scan(t.Context(), 0, func(*Document) error { calls++; return stop }); !errors.Is(err, stop) || calls != 1 {
			t.Fatalf("got %v after %d calls", err, calls)
		}
		ctx, cancel := context.WithCancel(t.Context())
		err = store.Scan(ctx, 0, func(*Document) error { cancel(); return ctx.Err() })
		if !errors.Is(err, context.Canceled) {
			t.Fatalf("got %v", err)
		}
	})
}
