package integration

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/preload"
)

// readyz returns status and body of readyz.
func (r *fixture) readyz(query string) (int, string) {
	recorder := httptest.NewRecorder()
	r.Operations().ServeHTTP(recorder, httptest.NewRequestWithContext(r.t.Context(), http.MethodGet, "/readyz"+query, nil))
	return recorder.Code, recorder.Body.String()
}

// TestAMissingUniqueIndexIsReported: the service continues, and readyz?strict=1 returns
// 503 with the reason. An audit and a new stream both detect it.
func TestAMissingUniqueIndexIsReported(t *testing.T) {
	audits := func(c *daemon.Config) { c.AuditInterval = 100 * time.Millisecond }
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		t.Run("by_an_audit", func(t *testing.T) {
			testMissingIndex(t, start(t, s, audits), func(r *fixture) {
				if err := r.keys.Indexes().DropOne(t.Context(), "key_hash_1"); err != nil {
					t.Fatal(err)
				}
			})
		})
		t.Run("by_a_new_stream", func(t *testing.T) {
			testMissingIndex(t, start(t, s, staged), func(r *fixture) {
				dropped(r, key{})
				if err := r.db.CreateCollection(t.Context(), r.keys.Name()); err != nil {
					t.Fatal(err)
				}
			})
		})
	})
}

func testMissingIndex(t *testing.T, r *fixture, take func(*fixture)) {
	t.Helper()
	strictly := func(want int, missing bool) {
		t.Helper()
		mongotest.Eventually(t, testkit.WaitTimeout, func() bool {
			code, body := r.readyz("?strict=1")
			return code == want && strings.Contains(body, "index_missing") == missing
		}, "readyz does not report it")
	}
	strictly(http.StatusOK, false)
	take(r)
	strictly(http.StatusServiceUnavailable, true)
	r.waitForState("live")
	if code, body := r.readyz(""); code != http.StatusOK || !strings.Contains(body, `createIndex({\"key_hash\": 1}, {unique: true})`) {
		t.Errorf("readyz: %d, %s", code, body)
	}
	if got := r.metric("keytail_unique_index"); got != 0 {
		t.Errorf("metric: got %v", got)
	}
	r.waitForCode(r.newKey(), apikey.Valid)
	if _, err := r.keys.Indexes().CreateOne(t.Context(), mongo.IndexModel{Keys: bson.D{{Key: "key_hash", Value: 1}}, Options: unique()}); err != nil {
		t.Fatal(err)
	}
	strictly(http.StatusOK, false)
	if got := r.metric("keytail_unique_index"); got != 1 {
		t.Errorf("metric: got %v", got)
	}
}

// TestAKeyWorksAgainWithOneDocument, in a cache of either kind.
func TestAKeyWorksAgainWithOneDocument(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		for _, mode := range []preload.Mode{preload.Off, preload.On} {
			r := start(t, s, staged, func(c *daemon.Config) { c.Preload = mode })
			if err := r.keys.Indexes().DropOne(t.Context(), "key_hash_1"); err != nil {
				t.Fatal(err)
			}
			k := r.newKey()
			r.waitForCode(k, apikey.Valid)
			other := key{id: "other", text: k.text}
			if _, err := r.keys.InsertOne(t.Context(), other.document()); err != nil {
				t.Fatal(err)
			}
			r.waitForCode(k, apikey.Disabled)
			deleted(r, other)
			r.waitForCode(k, apikey.Valid)
			r.waitUntilCached(k)
		}
	})
}
