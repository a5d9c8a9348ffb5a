package integration

import (
	"fmt"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/zap/zaptest"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/preload"
)

// startSparse is start with a sparse unique index, which allows any number of documents
// without a hash. before runs when the collection exists, and before the service starts.
func startSparse(t *testing.T, s *mongotest.Server, before func(r *fixture), change ...func(*daemon.Config)) *fixture {
	t.Helper()
	database := s.Database(t)
	r := &fixture{t: t, server: s, registry: prometheus.NewRegistry(), appName: "keytail-" + database}
	r.db = s.Client(t, "other-client").Database(database)
	if err := r.db.CreateCollection(t.Context(), "api_keys"); err != nil {
		t.Fatal(err)
	}
	r.keys = r.db.Collection("api_keys")
	if _, err := r.keys.Indexes().CreateOne(t.Context(), mongo.IndexModel{
		Keys:    bson.D{{Key: "key_hash", Value: 1}},
		Options: options.Index().SetUnique(true).SetSparse(true),
	}); err != nil {
		t.Fatal(err)
	}
	before(r)
	r.Daemon = r.run(r.registry, zaptest.NewLogger(t), change...)
	return r
}

// withHash inserts a document with this value of the hash field; nil: without the field.
func (r *fixture) withHash(value any) string {
	r.t.Helper()
	id := fmt.Sprintf("odd-%d", r.made.Add(1))
	d := bson.D{{Key: "_id", Value: id}, {Key: "user_id", Value: "user-1"}, {Key: "is_active", Value: true}}
	if value != nil {
		d = append(d, bson.E{Key: "key_hash", Value: value})
	}
	if _, err := r.keys.InsertOne(r.t.Context(), d); err != nil {
		r.t.Fatal(err)
	}
	return id
}

// withFastHeartbeats lets answers take a change into account soon.
func withFastHeartbeats(c *daemon.Config) { c.HeartbeatInterval = 50 * time.Millisecond }

// newText returns the text of a key without a document.
func newText(t *testing.T) string {
	t.Helper()
	text, err := apikey.Generate(apikey.DefaultPrefix, nil)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func (r *fixture) waitUntilComplete() {
	r.t.Helper()
	mongotest.Eventually(r.t, testkit.WaitTimeout, func() bool { return r.metric("keytail_complete") == 1 }, "the cache is not complete")
}

// TestDocumentsWithoutAReadableHashCostNothing: no lookup finds such a document, so it must
// neither end the complete cache nor cause a scan.
func TestDocumentsWithoutAReadableHashCostNothing(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		var keys []key
		r := startSparse(t, s, func(r *fixture) {
			for range 20 {
				keys = append(keys, r.newKey())
			}
		})
		r.waitUntilComplete()
		ended, applied := 0, r.metric("keytail_changes_total")
		for i := range 50 {
			var id string
			switch i % 5 {
			case 0:
				id = r.withHash(nil)
			case 1:
				id = r.withHash(fmt.Sprintf("$2b$12$%053d", i))
			case 2:
				id = r.withHash(fmt.Sprintf("%064X", 0xABCDEF00+i)) // upper case is another encoding
			case 3:
				id = r.withHash(i)
			case 4:
				id = r.withHash(bson.A{fmt.Sprint("no hash ", i)})
			}
			if i%10 < 5 {
				if _, err := r.keys.UpdateByID(t.Context(), id, bson.D{{Key: "$set", Value: bson.D{{Key: "key_hash", Value: fmt.Sprint("foreign ", i)}}}}); err != nil {
					t.Fatal(err)
				}
			}
			mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return r.metric("keytail_changes_total") > applied }, "the insert is not applied")
			applied = r.metric("keytail_changes_total")
			if r.metric("keytail_complete") != 1 {
				ended++
			}
		}
		marker := r.newKey()
		r.waitForCode(marker, apikey.Valid)
		if scans, complete := r.metric("keytail_scans_total"), r.metric("keytail_complete"); scans != 1 || complete != 1 || ended != 0 {
			t.Errorf("got %v scans, want 1; complete: got %v, want 1; the completeness ended with %d of 50 documents", scans, complete, ended)
		}
		for _, k := range keys {
			if v := r.validate(k); v.Code != apikey.Valid || v.Source != apikey.SourceCache {
				t.Errorf("%s: got %v from %v, want VALID from the cache", k.id, v.Code, v.Source)
			}
		}
		if v := r.validate(key{id: "unknown", text: newText(t)}); v.Code != apikey.NotFound || v.Source != apikey.SourceCache {
			t.Errorf("an unknown key: got %v from %v", v.Code, v.Source)
		}
	})
}

// TestAHashWithinAnArrayIsNotAbsent: MongoDB finds a document by an element of an array,
// and finds a symbol by a string. Such a document is a defective key, DISABLED, and a
// complete cache must return the same verdict as a read.
func TestAHashWithinAnArrayIsNotAbsent(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		texts := []string{newText(t), newText(t), newText(t), newText(t)}
		hash := func(i int) string { return apikey.HashOf(texts[i]).Hex() }
		lazy := startSparse(t, s, func(r *fixture) { r.newKey(); r.withHash(bson.A{hash(0), 7, hash(1), hash(0)}) },
			func(c *daemon.Config) { c.Preload = "off" })
		want := lazy.validate(key{id: "by a read", text: texts[0]})
		if want.Code != apikey.Disabled {
			t.Fatalf("by a read: got %v", want.Code)
		}
		var id string
		r := startSparse(t, s, func(r *fixture) { r.newKey(); id = r.withHash(bson.A{hash(0), 7, hash(1), hash(0)}) }, withFastHeartbeats)
		r.waitUntilComplete()
		wantCode := func(i int, want apikey.Code) {
			t.Helper()
			if v := r.validateSince(key{id: "array", text: texts[i]}, time.Now()); v.Code != want {
				t.Errorf("key %d: got %v from %v, want %v", i, v.Code, v.Source, want)
			}
		}
		wantCode(0, want.Code)
		wantCode(1, want.Code)
		wantCode(2, apikey.NotFound)
		set := func(field string, value any) {
			t.Helper()
			if _, err := r.keys.UpdateByID(t.Context(), id, bson.D{{Key: "$set", Value: bson.D{{Key: field, Value: value}}}}); err != nil {
				t.Fatal(err)
			}
		}
		set("key_hash.1", hash(2)) // as an element
		wantCode(2, want.Code)
		wantCode(3, apikey.NotFound)
		set("key_hash", bson.A{hash(3)}) // as a whole
		wantCode(3, want.Code)
		wantCode(0, apikey.NotFound)
		if s.Name != mongotest.NameSecantus { // which stores a symbol as a string
			set("key_hash", bson.Symbol(hash(0)))
			wantCode(0, want.Code)
		}
		if scans, complete := r.metric("keytail_scans_total"), r.metric("keytail_complete"); scans != 1 || complete != 1 {
			t.Errorf("got %v scans, want 1; complete: got %v, want 1", scans, complete)
		}
	})
}

// TestAnEntryIsInvalidBesideADocumentWithTooManyHashes: without a unique index a document
// with more hashes than keytail tracks may share one with a cached key. No scan completes
// beside it, so its event must invalidate the entry.
func TestAnEntryIsInvalidBesideADocumentWithTooManyHashes(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		for _, mode := range []preload.Mode{preload.On, preload.Off} {
			r := start(t, s, withFastHeartbeats, func(c *daemon.Config) { c.Preload = mode })
			if err := r.keys.Indexes().DropOne(t.Context(), "key_hash_1"); err != nil {
				t.Fatal(err)
			}
			k := r.newKey()
			r.waitUntilCached(k)
			r.insertArray(k, keystore.MaxHashes+2)
			if w := violation(r.validateSince(k, time.Now()), apikey.Disabled); w != "" {
				t.Errorf("preload %s: %s", mode, w)
			}
		}
	})
}
