package integration

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/zap/zaptest"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/keyadmin"
	"github.com/keytail/keytail/internal/mongotest"
)

// adminFixture is a fixture whose daemon has the admin API.
type adminFixture struct {
	*fixture
	audit *mongo.Collection
}

// withAdmin configures an admin token.
func withAdmin(t *testing.T) func(*daemon.Config) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "admins")
	if err := os.WriteFile(path, []byte("ann=admin-token-of-ann role=admin\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(c *daemon.Config) { c.AdminTokenFile = path }
}

// startAdmin runs a daemon on an empty collection of this shape.
func startAdmin(t *testing.T, server *mongotest.Server, s shape, change ...func(*daemon.Config)) *adminFixture {
	t.Helper()
	r := &fixture{t: t, server: server, registry: prometheus.NewRegistry()}
	database := server.Database(t)
	r.appName = "keytail-" + database
	r.db = server.Client(t, "other-client").Database(database)
	r.keys = r.db.Collection("customerKeys")
	m := s.names()
	if _, err := r.keys.Indexes().CreateOne(t.Context(), mongo.IndexModel{Keys: bson.D{{Key: m.Hash, Value: 1}}, Options: unique()}); err != nil {
		t.Fatal(err)
	}
	r.Daemon = r.run(r.registry, zaptest.NewLogger(t), append([]func(*daemon.Config){withAdmin(t), func(c *daemon.Config) { s.configure(&c.Config, r.keys.Name()) }}, change...)...)
	return &adminFixture{r, r.db.Collection(keyadmin.CollectionName)}
}

// reply is a response of the admin API.
type reply struct {
	status int
	header http.Header
	body   map[string]any
	text   string
}

func (r reply) str(name string) string {
	text, _ := r.body[name].(string)
	return text
}

// revision returns the revision of the write.
func (r reply) revision(t *testing.T) uint64 {
	t.Helper()
	revision, err := clustertime.Parse(r.str("revision"))
	if err != nil {
		t.Fatalf("got no revision in %s", r.text)
	}
	return uint64(revision)
}

// call sends a request; header alternates names and values.
func (o *adminFixture) call(method, path, body string, header ...string) reply {
	o.t.Helper()
	request := httptest.NewRequestWithContext(o.t.Context(), method, path, strings.NewReader(body))
	request.Header.Set("Authorization", "Bearer admin-token-of-ann")
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	recorder := httptest.NewRecorder()
	o.Admin().ServeHTTP(recorder, request)
	r := reply{status: recorder.Code, header: recorder.Result().Header, text: recorder.Body.String()}
	if err := json.Unmarshal(recorder.Body.Bytes(), &r.body); err != nil && method != http.MethodHead {
		o.t.Fatalf("%s %s: %d %q: %v", method, path, r.status, r.text, err)
	}
	return r
}

// mustCall is call, and checks the status.
func (o *adminFixture) mustCall(status int, method, path, body string, header ...string) reply {
	o.t.Helper()
	r := o.call(method, path, body, header...)
	if r.status != status {
		o.t.Fatalf("%s %s %s: got status %d, want %d: %s", method, path, body, r.status, status, r.text)
	}
	return r
}

// mustHaveVerdict checks the key's verdict with the revision of a write: once, without
// waiting.
func (o *adminFixture) mustHaveVerdict(text string, after reply, want apikey.Code, request apikey.Request) *apikey.Record {
	o.t.Helper()
	request.MinRevision = after.revision(o.t)
	v := o.Validate(o.t.Context(), text, &request)
	if v.Code != want || v.Revision < request.MinRevision {
		o.t.Fatalf("after %s: got verdict %v at revision %x, want %v", after.text, v.Code, v.Revision, want)
	}
	return v.Record
}

// mustList checks the ids of a user's list, one on a page.
func (o *adminFixture) mustList(user string, want []string, more string) {
	o.t.Helper()
	var got []string
	for cursor := ""; ; {
		page := o.mustCall(http.StatusOK, "GET", "/v1/keys?limit=1&user_id="+user+more+cursor, "")
		list, _ := page.body["keys"].([]any)
		for _, k := range list {
			id, _ := k.(map[string]any)["id"].(string)
			got = append(got, id)
		}
		if page.str("next_cursor") == "" {
			break
		}
		cursor = "&cursor=" + page.str("next_cursor")
	}
	if !slices.Equal(got, want) {
		o.t.Errorf("list of %s%s: got %q, want %q", user, more, got, want)
	}
}

// mustAudit checks the actions of the audit, the newest first.
func (o *adminFixture) mustAudit(path string, want ...string) {
	o.t.Helper()
	page := o.mustCall(http.StatusOK, "GET", path, "")
	list, _ := page.body["entries"].([]any)
	var got []string
	for _, e := range list {
		entry, _ := e.(map[string]any)
		action, _ := entry["action"].(string)
		got = append(got, action)
		if entry["actor"] != "ann" || entry["request_id"] == "" || entry["user_id"] == "" {
			o.t.Errorf("audit entry: got %v", entry)
		}
	}
	if !slices.Equal(got, want) {
		o.t.Errorf("%s: got %q, want %q: %s", path, got, want, page.text)
	}
}

// mustStoreNoSecret searches everything that was stored.
func (o *adminFixture) mustStoreNoSecret(texts ...string) {
	o.t.Helper()
	for _, collection := range []*mongo.Collection{o.keys, o.audit} {
		cursor, err := collection.Find(o.t.Context(), bson.D{})
		if err != nil {
			o.t.Fatal(err)
		}
		var all []bson.Raw
		if err := cursor.All(o.t.Context(), &all); err != nil || len(all) == 0 {
			o.t.Fatalf("%d documents in %s: %v", len(all), collection.Name(), err)
		}
		for _, raw := range all {
			for _, text := range texts {
				if strings.Contains(string(raw), text[len(text)-20:]) {
					o.t.Errorf("%s contains the secret: %v", collection.Name(), raw)
				}
				if collection == o.audit && strings.Contains(raw.String(), apikey.HashOf(text).Hex()) {
					o.t.Errorf("the audit contains a hash: %v", raw)
				}
			}
		}
	}
}

func addr(text string) (a netip.Addr) {
	if text != "" {
		a = netip.MustParseAddr(text)
	}
	return a
}
