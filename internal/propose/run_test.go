package propose

import (
	"fmt"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/mongoclient"
	"github.com/keytail/keytail/internal/mongotest"
)

// collection is a new collection with these documents.
func collection(t *testing.T, server *mongotest.Server, documents ...bson.D) *mongo.Collection {
	t.Helper()
	keys := mongoclient.Database(server.Client(t), server.Database(t)).Collection("keys")
	if len(documents) == 0 {
		return keys
	}
	if _, err := keys.InsertMany(t.Context(), documents); err != nil {
		t.Fatal(err)
	}
	return keys
}

func index(t *testing.T, keys *mongo.Collection, field string) {
	t.Helper()
	if _, err := keys.Indexes().CreateOne(t.Context(), mongo.IndexModel{Keys: bson.D{{Key: field, Value: 1}}, Options: options.Index().SetUnique(true)}); err != nil {
		t.Fatal(err)
	}
}

func run(t *testing.T, cfg Config) *Proposal {
	t.Helper()
	p, err := Run(t.Context(), cfg)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// numbered are n documents of keys "text 0", "text 1", … with rising _ids.
func numbered(n int, text string, more func(i int) bson.D) []bson.D {
	documents := make([]bson.D, n)
	for i := range documents {
		documents[i] = append(bson.D{
			{Key: "_id", Value: fmt.Sprintf("%08d", i)},
			{Key: "hash", Value: hexHash(fmt.Sprint(text, i))},
			{Key: "owner", Value: "user"},
			{Key: "active", Value: true},
		}, more(i)...)
	}
	return documents
}

func nothing(int) bson.D { return nil }

// TestSmallCollections: an empty one proposes nothing, one document is enough for a
// proposal that says how weak it is.
func TestSmallCollections(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		if p := run(t, Config{Keys: collection(t, server)}); p.OK() || p.Documents != 0 || p.Roles != nil {
			t.Errorf("empty: got %+v", p)
		}
		p := run(t, Config{Keys: collection(t, server, numbered(1, "text ", nothing)...)})
		if !p.OK() || settings(p, "map_hash") != "hash" {
			t.Errorf("one document: %s", said(p))
		}
		mustSay(t, p, "from 1 document, so that every guess is weak", "hex of 32 bytes in the only document read")
	})
}

// TestAViewIsNoCollection, but it is recognized.
func TestAViewIsNoCollection(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, server *mongotest.Server) {
		server.Needs(t, mongotest.Views)
		keys := collection(t, server, numbered(1, "text ", nothing)...)
		if err := keys.Database().CreateView(t.Context(), "tokens", "keys", mongo.Pipeline{}); err != nil {
			t.Fatal(err)
		}
		found, err := Collections(t.Context(), keys.Database())
		if err != nil || found.Exists("tokens") || !found.IsView("tokens") || !found.Exists("keys") || found.IsView("keys") || len(found.Likely) != 1 {
			t.Errorf("got %+v: %v", found, err)
		}
	})
}

// TestBothEndsAreRead: the middle of a large collection is not.
func TestBothEndsAreRead(t *testing.T) {
	server := mongotest.StartDevmongo(t, devmongoConfig)
	keys := collection(t, &server.Server, numbered(1200, "text ", func(i int) bson.D {
		switch {
		case i >= 700:
			return bson.D{{Key: "revoked", Value: false}}
		case i >= 500:
			return bson.D{{Key: "middle", Value: 1}}
		}
		return bson.D{{Key: "disabled", Value: false}}
	})...)
	p := run(t, Config{Keys: keys})
	mustSay(t, p, "1000 of about 1200 documents, the 500 oldest and the 500 newest by _id", "revoked also looks like a switch: no document read is off by it and on by active")
	if strings.Contains(said(p), "middle") {
		t.Errorf("the middle was read:\n%s", said(p))
	}
	// As many as one end has, and one more: no document counts twice
	for _, n := range []int{500, 501, 999} {
		p := run(t, Config{Keys: collection(t, &server.Server, numbered(n, "text ", nothing)...)})
		mustSay(t, p, fmt.Sprintf("from all %d documents", n), fmt.Sprintf("hex of 32 bytes in all %d documents read, no two alike", n))
	}
}

// TestLargeDocumentsEndTheReading early, and are said.
func TestLargeDocumentsEndTheReading(t *testing.T) {
	server := mongotest.StartDevmongo(t, devmongoConfig)
	large := strings.Repeat("x", 1<<20)
	keys := collection(t, &server.Server, numbered(36, "text-number-", func(int) bson.D {
		return bson.D{{Key: "notes", Value: large}, {Key: "name", Value: "n"}}
	})...)
	index(t, keys, "hash")
	p := run(t, Config{Keys: keys, Key: "text-number-18"})
	if p.Documents >= 36 || p.Documents < 30 || !p.OK() {
		t.Errorf("read %d documents, OK %v:\n%s", p.Documents, p.OK(), said(p))
	}
	mustSay(t, p, "no more, because they are large", "With this mapping its verdict is VALID, as expected")
}
