package routes

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"net/url"
	"strings"
	"testing"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/rights"
)

// recordingValidator is a Validator that records the last request.
type recordingValidator struct {
	request apikey.Request
	keys    int
}

func (a *recordingValidator) Validate(_ context.Context, _ string, req *apikey.Request) apikey.Verdict {
	a.request = *req
	a.keys++
	return apikey.Verdict{Code: apikey.Valid, Record: &apikey.Record{KeyID: "k", UserID: "u"}}
}

func (a *recordingValidator) Refuse(code apikey.Code) apikey.Verdict {
	return apikey.Verdict{Code: code}
}

func TestPoliciesAreChecked(t *testing.T) {
	t.Parallel()
	for name, test := range map[string]struct {
		policy forwardauth.Policy
		want   string // empty: valid
	}{
		"a-b.c_d~9":             {forwardauth.Policy{Scopes: []string{"a", "b"}, OrgID: "o", ProjectID: "p"}, ""},
		"":                      {forwardauth.Policy{}, "a name must have 1 to 64"},
		"a/b":                   {forwardauth.Policy{}, "a name must have 1 to 64"},
		"a b":                   {forwardauth.Policy{}, "a name must have 1 to 64"},
		"..":                    {forwardauth.Policy{}, "a name must not consist of dots only"},
		strings.Repeat("a", 65): {forwardauth.Policy{}, "a name must have 1 to 64"},
		"space":                 {forwardauth.Policy{Scopes: []string{"a b"}}, `policy "space": a scope has no white space`},
		"twice":                 {forwardauth.Policy{Scopes: []string{"a", "a"}}, `policy "twice": the scope "a" is repeated`},
		"org":                   {forwardauth.Policy{OrgID: "a\n"}, `policy "org": org_id: `},
		"many":                  {forwardauth.Policy{Scopes: make([]string, forwardauth.MaxScopes+1)}, "at most 100 scopes"},
	} {
		err := forwardauth.CheckPolicy(name, test.policy)
		_, built := NewPublic(PublicConfig{Config: forwardauth.Config{Validator: goldenKeys{}, Policies: map[string]forwardauth.Policy{name: test.policy}}})
		if (err == nil) != (built == nil) {
			t.Errorf("%q: CheckPolicy returns %v, NewPublic %v", name, err, built)
		}
		if test.want == "" && err != nil || test.want != "" && (err == nil || !strings.Contains(err.Error(), test.want)) {
			t.Errorf("%q: %v, want %q", name, err, test.want)
		}
	}
}

// FuzzPolicyPath: whatever a client appends to a policy's path, and whatever the
// query, the policy is that of the first segment as it was written.
func FuzzPolicyPath(f *testing.F) {
	for _, tail := range []string{
		"", "/", "/../open", "/%2e%2e/open", "%2Fopen", "/..%2fopen", "//open", `/"`, "/%zz", "?scope=x", "/\x80", ";x", "/%00", "%",
		"/a?x=/v1/auth/policy/open", "#/../open",
	} {
		f.Add("GET", tail)
	}
	var v recordingValidator
	handler := newPublic(f, PublicConfig{Config: forwardauth.Config{Validator: &v, Policies: map[string]forwardauth.Policy{
		"open": {}, "strict": {Scopes: []string{"nobody:has"}, OrgID: "acme"},
	}}})
	f.Fuzz(func(t *testing.T, method, tail string) {
		parsed, err := url.ParseRequestURI(api.PathPolicy + "strict" + tail)
		if err != nil {
			t.Skip() // net/http answers 400 itself
		}
		r := authRequest("key-of-root")
		r.Method, r.URL = method, parsed
		v = recordingValidator{}
		got := answerOf(handler, r)
		checkFuzzed(t, got, "key-of-root")
		exact := tail == "" || tail[0] == '/' || tail[0] == '?'
		switch {
		case exact && (got.StatusCode != http.StatusOK || v.keys != 1 || len(v.request.Scopes) != 1 || v.request.OrgID != "acme"):
			t.Errorf("%q: status %d, requested %v", tail, got.StatusCode, v.request)
		case !exact && (got.StatusCode != http.StatusNotFound || v.keys != 0):
			t.Errorf("%q: status %d for a policy that is not there", tail, got.StatusCode)
		}
	})
}

// TestCallerTokensAreCheckedBeforeTheBody: a request without a token must not
// cost work.
func TestCallerTokensAreCheckedBeforeTheBody(t *testing.T) {
	t.Parallel()
	var v recordingValidator
	handler := newPublic(t, PublicConfig{Config: forwardauth.Config{Validator: &v}, Callers: fakeTokens{"caller-token-of-web": "web"}})
	r := verifyOf(`{"key":"key-of-root"}`)
	r.Header.Set("X-Request-Id", "key-of-root")
	got := answerOf(handler, r)
	checkAlways(t, got, "key-of-root")
	if got.StatusCode != http.StatusUnauthorized || v.keys != 0 {
		t.Errorf("without a token: %d after %d questions", got.StatusCode, v.keys)
	}
	r = verifyOf(`{"key":"key-of-root"}`)
	r.Header.Set("Authorization", "Bearer caller-token-of-web")
	r.Header.Set("X-Request-Id", "caller-token-of-web")
	got = answerOf(handler, r)
	checkAlways(t, got, "caller-token-of-web")
	if got.StatusCode != http.StatusOK || v.keys != 1 {
		t.Errorf("with a token: %d after %d questions", got.StatusCode, v.keys)
	}
}

func TestCallerTokensAreNotRepeatedWhereKeysAreElsewhere(t *testing.T) {
	t.Parallel()
	sources, err := forwardauth.ParseKeySources([]string{"x-api-key"})
	if err != nil {
		t.Fatal(err)
	}
	handler := newPublic(t, PublicConfig{Config: forwardauth.Config{Validator: &recordingValidator{}, KeySources: sources}, Callers: fakeTokens{"caller-token-of-web": "web"}})
	r := verifyOf(`{"key":"key-of-root"}`)
	r.Header.Set("Authorization", "Bearer caller-token-of-web")
	r.Header.Set("X-Request-Id", "caller-token-of-web")
	checkAlways(t, answerOf(handler, r), "caller-token-of-web")
}

// TestForwardAuthIsClosedToStrangers: they learn nothing about a key, by any method, and
// not even that a policy exists. The log has one line a minute.
func TestForwardAuthIsClosedToStrangers(t *testing.T) {
	t.Parallel()
	var v recordingValidator
	core, logs := observer.New(zap.WarnLevel)
	handler := newPublic(t, PublicConfig{
		Config:      forwardauth.Config{Validator: &v, Policies: map[string]forwardauth.Policy{"open": {}}, TrustedProxies: []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}},
		AuthCallers: []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8"), netip.MustParsePrefix("fd00::/8")}, Logger: zap.New(core),
	})
	for _, path := range []string{api.PathAuth, api.PathPolicy + "open", api.PathPolicy + "none", api.PathAuth + "?scope=%zz"} {
		for _, method := range []string{"GET", "OPTIONS", "PURGE"} {
			for peer, allowed := range map[string]bool{
				"10.0.0.7:1": true, "[::ffff:10.0.0.7]:1": true, "[fd00::1]:1": true,
				"192.0.2.1:1": false, "[2001:db8::1]:1": false, "@": false,
			} {
				v.keys = 0
				r := httptest.NewRequest(method, path, nil)
				r.RemoteAddr = peer
				r.Header.Set("X-Api-Key", "key-of-root")
				r.Header.Set("X-Forwarded-For", "10.0.0.7") // the stranger's claim
				got := answerOf(handler, r)
				checkAlways(t, got, "key-of-root")
				refused := got.StatusCode == http.StatusForbidden && problemCodeOf(t, got.body) == "CALLER_NOT_ALLOWED"
				if refused == allowed || !allowed && v.keys != 0 {
					t.Errorf("%s %s from %s: status %d, %d keys were validated", method, path, peer, got.StatusCode, v.keys)
				}
			}
		}
	}
	if logs.Len() != 1 {
		t.Errorf("%d log lines, want 1", logs.Len())
	}
	if got := answerOf(handler, verifyOf(`{"key":"key-of-root"}`)); got.StatusCode != http.StatusOK {
		t.Errorf("verify: status %d", got.StatusCode)
	}
}

// TestForwardAuthCanBeOff: its paths do not exist, by any method.
func TestForwardAuthCanBeOff(t *testing.T) {
	t.Parallel()
	var v recordingValidator
	handler := newPublic(t, PublicConfig{Config: forwardauth.Config{Validator: &v, Policies: map[string]forwardauth.Policy{"open": {}}}, NoForwardAuth: true})
	for _, path := range []string{api.PathAuth, api.PathPolicy + "open"} {
		for _, method := range []string{"GET", "POST", "PURGE"} {
			r := httptest.NewRequest(method, path, nil)
			r.Header.Set("X-Api-Key", "key-of-root")
			if got := answerOf(handler, r); got.StatusCode != http.StatusNotFound || v.keys != 0 {
				t.Errorf("%s %s: status %d, %d keys were validated", method, path, got.StatusCode, v.keys)
			}
		}
	}
}

const adminToken1 = "admin-token-of-ann"

func newTestAdmin(t *testing.T) http.Handler {
	t.Helper()
	handler, err := NewAdmin(AdminConfig{
		Callers: fakeAdmins{adminToken1: {Name: "ann", Role: rights.Admin}}, Status: func() Status { return goldenStates()["stale"] },
		Instance: "<b>host-1</b>", Version: "v1.2.3",
	})
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

func adminRequest(method, path string, prepare func(*http.Request)) *http.Request {
	r := httptest.NewRequest(method, path, nil)
	r.Header.Set("X-Request-Id", adminToken1)
	if prepare != nil {
		prepare(r)
	}
	return r
}

func bearer(token string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set("Authorization", "Bearer "+token) }
}

func basic(password string) func(*http.Request) {
	return func(r *http.Request) { r.SetBasicAuth("anyone", password) }
}

func TestAdminRequiresATokenOnEveryPath(t *testing.T) {
	t.Parallel()
	handler := newTestAdmin(t)
	for name, test := range map[string]struct {
		method, path string
		prepare      func(*http.Request)
		status       int
	}{
		"livez is for everyone":   {"GET", "/livez", nil, 200},
		"page":                    {"GET", "/", nil, 401},
		"status":                  {"GET", "/v1/status", nil, 401},
		"unknown path":            {"GET", "/v1/none", nil, 401},
		"unknown method":          {"POST", "/", nil, 401},
		"livez, other method":     {"POST", "/livez", nil, 401},
		"wrong token":             {"GET", "/", bearer("admin-token-of-bob"), 401},
		"wrong password":          {"GET", "/", basic("admin-token-of-bob"), 401},
		"no password":             {"GET", "/", basic(""), 401},
		"token":                   {"GET", "/", bearer(adminToken1), 200},
		"password":                {"GET", "/", basic(adminToken1), 200},
		"head":                    {"HEAD", "/", basic(adminToken1), 200},
		"status with a token":     {"GET", "/v1/status", bearer(adminToken1), 200},
		"unknown, with a token":   {"GET", "/v1/none", bearer(adminToken1), 404},
		"method, with a token":    {"POST", "/", bearer(adminToken1), 405},
		"no change by a password": {"POST", "/", basic(adminToken1), 401},
		"no delete by a password": {"DELETE", "/v1/none", basic(adminToken1), 401},
		"two authorizations": {"GET", "/", func(r *http.Request) {
			r.Header["Authorization"] = []string{"Bearer " + adminToken1, "Bearer " + adminToken1}
		}, 401},
		"escaped path":             {"GET", "/%6civez", nil, 401},
		"double slash before live": {"GET", "//livez", nil, 401},
	} {
		got := answerOf(handler, adminRequest(test.method, test.path, test.prepare))
		if got.StatusCode != test.status {
			t.Errorf("%s: status %d, want %d", name, got.StatusCode, test.status)
		}
		if test.prepare != nil {
			checkAlways(t, got, adminToken1)
		}
		challenges := strings.Join(got.Header["Www-Authenticate"], ", ")
		if (got.StatusCode == http.StatusUnauthorized) != (strings.Contains(challenges, "Basic realm") && strings.Contains(challenges, "Bearer realm")) {
			t.Errorf("%s: status %d with the challenges %s", name, got.StatusCode, challenges)
		}
		if got.StatusCode == http.StatusUnauthorized && (problemCodeOf(t, got.body) != "UNAUTHENTICATED" || got.Header.Get("Allow") != "") {
			t.Errorf("%s: %v %s", name, got.Header, got.body)
		}
	}
	if _, err := NewAdmin(AdminConfig{Status: func() Status { return Status{} }}); err == nil {
		t.Error("an admin listener for everyone, and no error")
	}
}

func TestStatusPage(t *testing.T) {
	t.Parallel()
	handler := newTestAdmin(t)
	page := answerOf(handler, adminRequest("GET", "/", basic(adminToken1)))
	for _, text := range []string{
		"keytail is stale", "16.0 s", "unknown", "190", "the collection was dropped", "v1.2.3", "&lt;b&gt;host-1&lt;/b&gt;", "a sentence about a sharded cluster",
	} {
		if !strings.Contains(page.body, text) {
			t.Errorf("the page lacks %q:\n%s", text, page.body)
		}
	}
	if policy := page.Header.Get("Content-Security-Policy"); !strings.HasPrefix(policy, "default-src 'none'") {
		t.Errorf("the policy is %q", policy)
	}
	status := answerOf(handler, adminRequest("GET", "/v1/status", bearer(adminToken1)))
	if kind := status.Header.Get("Content-Type"); kind != "application/json" {
		t.Errorf("the status has the content type %q", kind)
	}
	for _, text := range []string{`"instance":`, `"version":"v1.2.3"`, `"state":"stale"`, `"staleness_ms":16000`, `"epoch":4`} {
		if !strings.Contains(status.body, text) {
			t.Errorf("the status lacks %s: %s", text, status.body)
		}
	}
}

// TestActorIsTheTokensName: the audit names the token.
func TestActorIsTheTokensName(t *testing.T) {
	t.Parallel()
	a := &admin{AdminConfig: AdminConfig{Callers: fakeAdmins{adminToken1: {Name: "ann", Role: rights.Admin}}}}
	c, _ := gin.CreateTestContext(httptest.NewRecorder())
	c.Request = adminRequest("POST", "/v1/keys", bearer(adminToken1))
	a.requireAdmin(c)
	if callerOf(c).Actor != "ann" || c.IsAborted() {
		t.Errorf("the actor is %q", callerOf(c).Actor)
	}
}
