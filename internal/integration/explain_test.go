package integration

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/zap/zaptest"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/keyadmin"
	"github.com/keytail/keytail/internal/mongotest"
)

// withCallers configures a caller token.
func withCallers(t *testing.T) func(*daemon.Config) {
	t.Helper()
	path := filepath.Join(t.TempDir(), "callers")
	if err := os.WriteFile(path, []byte("web=caller-token-of-web\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return func(c *daemon.Config) { c.CallerTokenFile = path }
}

// explain is the explanation of a key.
func (o *adminFixture) explain(k key, query string) api.Explanation {
	o.t.Helper()
	got := o.mustCall(http.StatusOK, "GET", "/v1/keys/"+k.id+"/explain?"+query, "")
	var e api.Explanation
	if err := json.Unmarshal([]byte(got.text), &e); err != nil {
		o.t.Fatal(err)
	}
	if hash := apikey.HashOf(k.text).Hex(); strings.Contains(got.text, k.text) || strings.Contains(strings.ToLower(got.text), hash) {
		o.t.Errorf("the explanation contains the key or its hash: %s", got.text)
	}
	return e
}

// verify is the response of verify. Without a token the request has none.
func verify(t *testing.T, handler http.Handler, token string, request api.VerifyRequest) (api.Verdict, string) {
	t.Helper()
	body, err := json.Marshal(request)
	if err != nil {
		t.Fatal(err)
	}
	r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, api.PathVerify, strings.NewReader(string(body)))
	r.Header.Set("Content-Type", "application/json")
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, r)
	var v api.Verdict
	if err := json.Unmarshal(recorder.Body.Bytes(), &v); err != nil || recorder.Code != http.StatusOK {
		t.Fatalf("%d %s: %v", recorder.Code, recorder.Body, err)
	}
	return v, recorder.Body.String()
}

// refusals are changes of a key's document and requests with it, by their reason.
var refusals = map[string]struct {
	code    string
	change  bson.D
	request api.VerifyRequest
	query   string // the same request, for explain
}{
	"":                   {"VALID", nil, api.VerifyRequest{}, ""},
	"inactive":           {"DISABLED", setting("is_active", false), api.VerifyRequest{}, ""},
	"missing:user_id":    {"DISABLED", bson.D{{Key: "$unset", Value: bson.D{{Key: "user_id", Value: ""}}}}, api.VerifyRequest{}, ""},
	"type:expires_at":    {"DISABLED", setting("expires_at", "tomorrow"), api.VerifyRequest{}, ""},
	"expired":            {"EXPIRED", setting("expires_at", time.Unix(0, 0)), api.VerifyRequest{}, ""},
	"org":                {"FORBIDDEN", setting("org_id", "acme"), api.VerifyRequest{OrgID: "other"}, "org_id=other"},
	"project":            {"FORBIDDEN", setting("project_id", "live"), api.VerifyRequest{RequireProject: true}, "require_project=true"},
	"ip":                 {"FORBIDDEN", setting("allowed_ips", bson.A{"192.0.2.0/24"}), api.VerifyRequest{IP: "198.51.100.1"}, "ip=198.51.100.1"},
	"scope:billing:read": {"INSUFFICIENT_PERMISSIONS", nil, api.VerifyRequest{Scopes: []string{"billing:read"}}, "scope=billing:read"},
}

func setting(field string, value any) bson.D {
	return bson.D{{Key: "$set", Value: bson.D{{Key: field, Value: value}}}}
}

// TestWhyAKeyIsRefused: verify says it to a caller with a token, and explain to an admin.
// Verify without tokens says the code alone.
func TestWhyAKeyIsRefused(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s, withCallers(t), withAdmin(t))
		o := &adminFixture{r, r.db.Collection(keyadmin.CollectionName)}
		open := r.run(prometheus.NewRegistry(), zaptest.NewLogger(t))
		for reason, test := range refusals {
			k := r.newKey()
			if test.change != nil {
				r.update(k, test.change)
			}
			test.request.Key = k.text
			verdict := func(handler http.Handler, token string) (v api.Verdict, body string) {
				mongotest.Eventually(t, testkit.WaitTimeout, func() bool {
					v, body = verify(t, handler, token, test.request)
					return v.Code == test.code
				}, "the key is not ", test.code)
				return v, body
			}
			if v, _ := verdict(r.Public(), "caller-token-of-web"); v.Reason != reason {
				t.Errorf("with a token: %s because of %q, want %q", v.Code, v.Reason, reason)
			}
			if _, body := verdict(open.Public(), ""); strings.Contains(body, "reason") {
				t.Errorf("without a token: %s", body)
			}
			e := o.explain(k, test.query)
			if e.Code != test.code || e.Reason != reason || e.Database.Code != test.code || e.Database.Reason != reason {
				t.Errorf("explained: %+v, want %s because of %q", e, test.code, reason)
			}
			if e.KeyID != k.id || e.Instance == "" || e.Valid != (reason == "") || e.Source == "" || e.StalenessMS == nil || e.Revision == "" {
				t.Errorf("explained: %+v", e)
			}
		}
	})
}

// TestAStalledStreamIsExplained: the cache still has the key as it was, the database does
// not, and the age grows. No explanation counts as a request or as a use of the key.
func TestAStalledStreamIsExplained(t *testing.T) {
	node := mongotest.StartDevmongo(t, devmongo.Config{})
	r := start(t, &node.Server, withAdmin(t))
	o := &adminFixture{r, r.db.Collection(keyadmin.CollectionName)}
	k := r.newKey()
	mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return o.explain(k, "").Source == "cache" }, "the key does not get into the cache")
	node.Node.DelayReplies(r.appName, "getMore", time.Hour)
	r.set(k, "is_active", false)
	first := o.explain(k, "")
	var later api.Explanation
	mongotest.Eventually(t, testkit.WaitTimeout, func() bool {
		later = o.explain(k, "")
		return *later.StalenessMS >= *first.StalenessMS+200
	}, "the age does not grow")
	for _, e := range []api.Explanation{first, later} {
		if e.Code != "VALID" || e.Source != "cache" || e.Database.Code != "DISABLED" || e.Database.Reason != "inactive" || !e.Database.AsOf.After(e.AsOf.Time) {
			t.Errorf("got %+v", e)
		}
	}
	if n := r.metric("keytail_verdicts_total"); n != 0 {
		t.Errorf("%v verdicts are counted", n)
	}
	if usage := r.Core.Status().Usage; usage == nil || usage.PendingKeys != 0 {
		t.Errorf("usage is %+v", usage)
	}
}
