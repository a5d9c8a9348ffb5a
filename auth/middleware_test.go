package auth_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/google/go-cmp/cmp"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/apikey"
)

// hello writes the principal.
func hello(w http.ResponseWriter, r *http.Request) {
	if p := auth.FromContext(r.Context()); p != nil {
		_, _ = fmt.Fprint(w, p)
		return
	}
	_, _ = fmt.Fprint(w, "nobody")
}

func bodyOf(t *testing.T, response *http.Response) string {
	t.Helper()
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return string(body)
}

// checkRefusal checks a response against docs/http.md.
func checkRefusal(t *testing.T, response *http.Response, status int, code, challenge string) {
	t.Helper()
	body := bodyOf(t, response)
	var problem struct {
		Type, Title, Detail, Code string
		Status                    int
	}
	if err := json.Unmarshal([]byte(body), &problem); err != nil {
		t.Fatalf("%d %q: %v", response.StatusCode, body, err)
	}
	h := response.Header
	got := []string{
		fmt.Sprint(response.StatusCode), fmt.Sprint(problem.Status), problem.Code, problem.Type, problem.Title,
		h.Get("Content-Type"), h.Get("WWW-Authenticate"), h.Get("Cache-Control"), h.Get("Retry-After"),
	}
	retry := ""
	if code == "UNAVAILABLE" {
		retry = "1"
	}
	want := []string{
		fmt.Sprint(status), fmt.Sprint(status), code, "about:blank", http.StatusText(status),
		"application/problem+json", challenge, "no-store", retry,
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	if problem.Detail == "" || h.Get("X-Request-Id") == "" && status != http.StatusInternalServerError {
		t.Errorf("detail %q, request id %q", problem.Detail, h.Get("X-Request-Id"))
	}
}

func TestPrincipalOfAValidKey(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		ends := time.Now().Add(time.Hour).UTC()
		k.put("good", func(r *apikey.Record) {
			r.OrgID, r.ProjectID, r.ExpiresAt, r.Metadata = "o", "p", ends, json.RawMessage(`{"a":1}`)
		})
		var got auth.Principal
		h := f.serve(k, func(_ http.ResponseWriter, r *http.Request) {
			got = *auth.FromContext(r.Context())
			if !got.HasScope("read") || !got.HasScope("admin:x") || got.HasScope("write") {
				t.Error("HasScope is wrong")
			}
		}, []string{"admin:y"}, auth.OrgID(func(*http.Request) string { return "o" }), auth.ProjectID(func(*http.Request) string { return "p" }))
		response := send(h, "GET", "/", "Authorization", "Bearer good")
		if response.StatusCode != http.StatusOK || response.Header.Get("X-Request-Id") == "" || response.Header.Get("Cache-Control") != "" {
			t.Errorf("%d %v", response.StatusCode, response.Header)
		}
		want := []any{"id-good", "user-1", "o", "p", "a key", []string{"read", "admin:*"}, `{"a":1}`, ends, false}
		if diff := cmp.Diff(want, []any{got.KeyID, got.UserID, got.OrgID, got.ProjectID, got.Name, got.Scopes, string(got.Metadata), got.ExpiresAt, got.AsOf.IsZero()}); diff != "" {
			t.Error(diff)
		}
	})
}

func TestRefusalOfEachCode(t *testing.T) {
	const realm = `Bearer realm="keytail"`
	cases := []struct {
		key       string
		change    func(*apikey.Record)
		status    int
		code      string
		challenge string
	}{
		{"", nil, 401, "MISSING", realm},
		{"no key", nil, 401, "MALFORMED", realm + `, error="invalid_token"`},
		{"unknown", nil, 401, "NOT_FOUND", realm + `, error="invalid_token"`},
		{"k", revoked, 401, "DISABLED", realm + `, error="invalid_token"`},
		{"k", func(r *apikey.Record) { r.ExpiresAt = time.Now() }, 401, "EXPIRED", realm + `, error="invalid_token"`},
		{"k", func(r *apikey.Record) { r.AllowedIPs = []netip.Prefix{netip.MustParsePrefix("198.51.100.0/24")} }, 403, "FORBIDDEN", ""},
		{"k", func(r *apikey.Record) { r.Scopes = nil }, 403, "INSUFFICIENT_PERMISSIONS", realm + `, error="insufficient_scope", scope="read a%22b"`},
	}
	forEachFramework(t, func(t *testing.T, f framework) {
		for _, c := range cases {
			t.Run(c.code, func(t *testing.T) {
				k := newKeys(t)
				if c.change != nil {
					k.put("k", c.change)
				}
				called := false
				h := f.serve(k, func(http.ResponseWriter, *http.Request) { called = true }, nil, auth.Scopes("read", `a"b`))
				headers := []string{}
				if c.key != "" {
					headers = []string{"X-Api-Key", c.key}
				}
				checkRefusal(t, send(h, "GET", "/", headers...), c.status, c.code, c.challenge)
				k.setOutage(true)
				checkRefusal(t, send(h, "POST", "/", headers...), 503, "UNAVAILABLE", "")
				if called {
					t.Error("the handler was called")
				}
			})
		}
	})
}

// fixedVerdict is a Validator that always returns the same, even what no Validator may
// return.
type fixedVerdict struct {
	verdict auth.Verdict
	err     error
}

func (l fixedVerdict) Validate(context.Context, string, auth.Request) (auth.Verdict, error) {
	return l.verdict, l.err
}

func TestInvalidVerdictIsRefused(t *testing.T) {
	key := &auth.Key{KeyID: "k", UserID: "u", Active: true}
	forEachFramework(t, func(t *testing.T, f framework) {
		for name, c := range map[string]struct {
			v      fixedVerdict
			status int
			code   string
		}{
			"zero verdict":              {fixedVerdict{}, 503, "UNAVAILABLE"},
			"VALID without a key":       {fixedVerdict{verdict: auth.Verdict{Code: auth.Valid}}, 503, "UNAVAILABLE"},
			"VALID with ErrUnavailable": {fixedVerdict{auth.Verdict{Code: auth.Valid, Key: key}, auth.ErrUnavailable}, 503, "UNAVAILABLE"},
			"VALID with another error":  {fixedVerdict{auth.Verdict{Code: auth.Valid, Key: key}, errors.New("x")}, 503, "UNAVAILABLE"},
			"unknown code":              {fixedVerdict{verdict: auth.Verdict{Code: "RATE_LIMITED", Key: key}}, 403, "RATE_LIMITED"},
		} {
			t.Run(name, func(t *testing.T) {
				checkRefusal(t, send(f.serve(c.v, hello, nil), "GET", "/", "X-Api-Key", "k"), c.status, c.code, "")
			})
		}
	})
}

func TestKeySources(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("a")
		k.put("b")
		h := f.serve(k, hello, nil, auth.KeySources(auth.BearerToken, auth.HeaderKey("X-Session"), auth.QueryKey("key"), auth.CookieKey("sid")))
		for _, c := range []struct {
			target  string
			headers []string
			code    string
		}{
			{"/", []string{"Authorization", "Bearer a"}, ""},
			{"/", []string{"authorization", "bearer a"}, ""},
			{"/", []string{"X-SESSION", "a"}, ""},
			{"/?key=a", nil, ""},
			{"/?x=%zz&key=a", nil, ""},
			{"/", []string{"Cookie", "x=1; sid=a"}, ""},
			{"/?key=a", []string{"Authorization", "Bearer a"}, ""},
			{"/", []string{"Authorization", "Basic YTpi", "X-Session", "a"}, ""},
			{"/", []string{"X-Api-Key", "a"}, "MISSING"},
			{"/", []string{"Authorization", "Basic a"}, "MISSING"},
			{"/", []string{"X-Session", ""}, "MISSING"},
			{"/?key=b", []string{"Authorization", "Bearer a"}, "MALFORMED"},
			{"/", []string{"Authorization", "Bearer a", "Authorization", "Bearer b"}, "MALFORMED"},
			{"/?key=a&key=b", nil, "MALFORMED"},
			{"/", []string{"Authorization", "Bearer a, Bearer b"}, "MALFORMED"},
			{"/", []string{"Authorization", "Bearer a\r\nX-Auth-User-Id: root"}, "MALFORMED"},
			{"/", []string{"X-Session", strings.Repeat("x", 100_000)}, "NOT_FOUND"},
			{"/", []string{"X-Other", strings.Repeat("x", 100_000), "X-Session", "a"}, ""},
		} {
			response := send(h, "GET", c.target, c.headers...)
			body := bodyOf(t, response)
			if (response.StatusCode == http.StatusOK) != (c.code == "") || c.code != "" && !strings.Contains(body, `"`+c.code+`"`) {
				t.Errorf("%s %.80q: %d %s, want %q", c.target, c.headers, response.StatusCode, body, c.code)
			}
			if len(response.Header.Values("X-Auth-User-Id")) > 0 {
				t.Error("the key's newline made a header")
			}
		}
	})
}

func TestEveryMethodNeedsAKey(t *testing.T) {
	preflight := []string{"Origin", "https://a.example", "Access-Control-Request-Method", "PUT"}
	upgrade := []string{"Connection", "Upgrade", "Upgrade", "websocket"}
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("a")
		strict, preflights := f.serve(k, hello, []string{"read"}), f.serve(k, hello, []string{"read"}, auth.AllowPreflight())
		for _, c := range []struct {
			method  string
			headers []string
			want    int // with AllowPreflight
		}{
			{"OPTIONS", preflight, 200},
			{"OPTIONS", nil, 401},
			{"OPTIONS", preflight[:2], 401},
			{"OPTIONS", preflight[2:], 401},
			{"OPTIONS", []string{"Origin", "", "Access-Control-Request-Method", ""}, 401},
			{"GET", preflight, 401},
			{"PUT", preflight, 401},
			{"HEAD", nil, 401},
			{"GET", upgrade, 401},
			{"CONNECT", preflight, 401},
		} {
			if got := send(strict, c.method, "/", c.headers...).StatusCode; got != http.StatusUnauthorized {
				t.Errorf("%s %v: %d", c.method, c.headers, got)
			}
			response := send(preflights, c.method, "/", c.headers...)
			if response.StatusCode != c.want {
				t.Errorf("with AllowPreflight, %s %v: %d", c.method, c.headers, response.StatusCode)
			}
			if c.want == 200 && bodyOf(t, response) != "nobody" {
				t.Error("a preflight has a principal")
			}
			if got := send(strict, c.method, "/", append([]string{"X-Api-Key", "a"}, c.headers...)...).StatusCode; got != http.StatusOK {
				t.Errorf("with a key, %s: %d", c.method, got)
			}
		}
	})
}

// In every spelling, with a key and without.
func TestIdentityHeadersAreRemoved(t *testing.T) {
	forged := []string{
		"X-Auth-User-Id", "x-auth-key-id", "X-AUTH-ORG-ID", "x-aUTH-pROJECT-iD", "X_Auth_Scopes", "x_auth-user_id", "X-Auth-Result",
		"X-Auth-Staleness-Ms", "X_AUTH_USER_ID",
	}
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("a")
		var seen http.Header
		var who string
		h := f.serve(k, func(w http.ResponseWriter, r *http.Request) {
			seen = r.Header.Clone()
			hello(w, r)
		}, nil, auth.AllowPreflight())
		for _, request := range [][]string{
			{"GET", "X-Api-Key", "a"},
			{"OPTIONS", "Origin", "https://a.example", "Access-Control-Request-Method", "PUT"},
		} {
			r := httptest.NewRequest(request[0], "/", nil)
			for pair := range slices.Chunk(request[1:], 2) {
				r.Header.Set(pair[0], pair[1])
			}
			for _, name := range forged {
				r.Header[name] = []string{"root"} // not in the canonical spelling
				r.Header.Add(name, "root")
			}
			r.Header.Set("X-Auth-Token", "another system's")
			r.Header.Set("X-Author", "someone")
			recorder := httptest.NewRecorder()
			h.ServeHTTP(recorder, r)
			who += recorder.Body.String() + "; "
			for name := range seen {
				if strings.HasPrefix(strings.ToLower(strings.ReplaceAll(name, "_", "-")), "x-auth-") && name != "X-Auth-Token" {
					t.Errorf("%s reached the handler", name)
				}
			}
			if seen.Get("X-Auth-Token") == "" || seen.Get("X-Author") == "" {
				t.Error("other headers were removed")
			}
		}
		if who != "key id-a of user user-1; nobody; " {
			t.Errorf("the principals are %s", who)
		}
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		for _, name := range forged {
			r.Header.Add(name, "user-1")
		}
		recorder := httptest.NewRecorder()
		h.ServeHTTP(recorder, r)
		if recorder.Code != http.StatusUnauthorized {
			t.Errorf("identity headers without a key: %d", recorder.Code)
		}
	})
}

func TestRequestID(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("kt_a")
		inside := ""
		h := f.serve(k, func(_ http.ResponseWriter, r *http.Request) {
			inside = strings.Join(r.Header["X-Request-Id"], "|")
		}, nil)
		for sent, kept := range map[string]bool{
			"trace-1": true, "": false, "a b": false, strings.Repeat("x", 129): false, "<script>": false, "id-kt_a": false,
		} {
			response := send(h, "GET", "/", "X-Api-Key", "kt_a", "X-Request-Id", sent)
			id := response.Header.Get("X-Request-Id")
			if id == "" || (id == sent) != kept || id != inside {
				t.Errorf("%q became %q in the response and %q for the handler", sent, id, inside)
			}
		}
		if id := send(h, "GET", "/", "X-Request-Id", "trace-1").Header.Get("X-Request-Id"); id != "trace-1" {
			t.Errorf("a refusal has the id %q", id)
		}
		if id := send(h, "GET", "/", "X-Api-Key", "kt_a", "X-Request-Id", "a", "X-Request-Id", "b").Header.Get("X-Request-Id"); id == "a" || id == "b" {
			t.Errorf("one of two ids was used: %q", id)
		}
	})
}

func TestHideCredentials(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("secret")
		var seen *http.Request
		handler := func(_ http.ResponseWriter, r *http.Request) { seen = r }
		sources := auth.KeySources(auth.BearerToken, auth.XAPIKey, auth.QueryKey("key"), auth.CookieKey("sid"))
		r := func(h http.Handler) string {
			request := httptest.NewRequest(http.MethodGet, "/?a=1&key=secret&b=2", nil)
			request.Header = http.Header{"Authorization": {"Bearer secret", "Basic eDp5"}, "X-Api-Key": {"secret"}, "Cookie": {"x=1; sid=secret"}, "X-Keep": {"1"}}
			_ = request.ParseForm()
			h.ServeHTTP(httptest.NewRecorder(), request)
			if request.URL.RawQuery != "a=1&key=secret&b=2" {
				t.Error("the URL of the outer handlers was changed")
			}
			return fmt.Sprint(seen.Header, seen.URL, seen.RequestURI, seen.Form)
		}
		if text := r(f.serve(k, handler, nil, sources)); strings.Count(text, "secret") != 6 {
			t.Errorf("without the option: %s", text)
		}
		text := r(f.serve(k, handler, nil, sources, auth.HideCredentials()))
		if strings.Contains(text, "secret") {
			t.Errorf("the key is still there: %s", text)
		}
		want := "/?a=1&b=2"
		if seen.RequestURI != want || seen.URL.String() != want || seen.Header.Get("Authorization") != "Basic eDp5" || seen.Header.Get("Cookie") != "x=1" || seen.Header.Get("X-Keep") != "1" {
			t.Errorf("the handler got %s", text)
		}
		send(f.serve(k, handler, nil, auth.KeySources("query:key"), auth.HideCredentials()), "GET", "/?key=secret")
		if seen.RequestURI != "/" {
			t.Errorf("the handler got %s", seen.RequestURI)
		}
	})
}

// TestHideCredentialsFromGinsQuery: Gin keeps a query that an earlier middleware has
// read.
func TestHideCredentialsFromGinsQuery(t *testing.T) {
	k := newKeys(t)
	k.put("secret")
	for name, opts := range map[string][]auth.Option{
		"plain": {auth.HideCredentials()}, "cancelling": {auth.HideCredentials(), auth.CancelOnRevocation()},
	} {
		engine := gin.New()
		var before, after string
		engine.Use(func(c *gin.Context) { before = c.Query("key") }, auth.Authenticate(k, append(opts, auth.KeySources(auth.QueryKey("key")))...))
		engine.GET("/", func(c *gin.Context) { after = fmt.Sprint(c.Query("key"), c.QueryArray("key"), c.Query("a")) })
		send(engine, "GET", "/?key=secret&a=1")
		if before != "secret" || strings.Contains(after, "secret") || !strings.HasSuffix(after, "1") {
			t.Errorf("%s: before %q, in the handler %q", name, before, after)
		}
	}
}

// httputil.ReverseProxy panics with http.ErrAbortHandler when its client disconnects,
// and Gin's Recovery then logs all headers except Authorization.
func TestGinRecoveryDoesNotLogAHiddenKey(t *testing.T) {
	for hidden, opts := range map[bool][]auth.Option{false: nil, true: {auth.HideCredentials()}} {
		k := newKeys(t)
		k.put("secret-key")
		var log strings.Builder
		engine := gin.New()
		engine.GET("/", gin.RecoveryWithWriter(&log), auth.Authenticate(k, opts...), func(*gin.Context) { panic(http.ErrAbortHandler) })
		send(engine, "GET", "/", "X-Api-Key", "secret-key")
		if shown := strings.Contains(log.String(), "secret-key"); log.Len() == 0 || shown == hidden {
			t.Errorf("HideCredentials is %v and the log has %s", hidden, &log)
		}
	}
}

func TestOrgIDAndProjectID(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("bound", func(r *apikey.Record) { r.OrgID = "acme" })
		k.put("free")
		h := f.serve(k, hello, nil, auth.OrgID(auth.PathParam("org")))
		for _, c := range []struct {
			target, key string
			status      int
		}{
			{"/orgs/acme", "bound", 200},
			{"/orgs/other", "bound", 403},
			{"/", "bound", 403}, // a path without the parameter
			{"/", "free", 200},
			{"/orgs/other", "free", 200},
			{"/orgs/a%00b", "free", 400},
			{"/orgs/" + strings.Repeat("x", 300), "free", 400},
		} {
			if response := send(h, "GET", c.target, "X-Api-Key", c.key); response.StatusCode != c.status {
				t.Errorf("%s with %s: %d %s", c.target, c.key, response.StatusCode, bodyOf(t, response))
			}
		}
		checkRefusal(t, send(h, "GET", "/orgs/a%00b", "X-Api-Key", "free"), 400, "BAD_REQUEST", "")
		project := f.serve(k, hello, nil, auth.ProjectID(func(r *http.Request) string { return r.Header.Get("X-Project") }))
		send(project, "GET", "/", "X-Api-Key", "free", "X-Project", "p1")
		if got := k.lastRequest(); got.ProjectID != "p1" || got.OrgID != "" {
			t.Errorf("Validate got %+v", got)
		}
	})
}

// TestOrganisationOfTheKey: a request that names none is for the key's own, unless the
// route requires that one is named.
func TestOrganisationOfTheKey(t *testing.T) {
	header := func(name string) func(*http.Request) string {
		return func(r *http.Request) string { return r.Header.Get(name) }
	}
	org, project := auth.OrgID(header("X-Org")), auth.ProjectID(header("X-Project"))
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("bound", func(r *apikey.Record) { r.OrgID, r.ProjectID = "acme", "p1" })
		k.put("free")
		for name, c := range map[string]struct {
			key     string
			options []auth.Option
			headers []string
			want    string // the principal's organisation and project, or the code of the refusal
		}{
			"nothing is named":                {"bound", nil, nil, "acme p1"},
			"functions that name nothing":     {"bound", []auth.Option{org, project}, nil, "acme p1"},
			"both are named":                  {"bound", []auth.Option{org, project}, []string{"X-Org", "acme", "X-Project", "p1"}, "acme p1"},
			"one is named":                    {"bound", []auth.Option{org, project}, []string{"X-Org", "acme"}, "acme p1"},
			"another is named":                {"bound", []auth.Option{org, project}, []string{"X-Org", "emca"}, "FORBIDDEN"},
			"another project is named":        {"bound", []auth.Option{org, project}, []string{"X-Org", "acme", "X-Project", "p2"}, "FORBIDDEN"},
			"org required":                    {"bound", []auth.Option{auth.RequireOrg()}, nil, "FORBIDDEN"},
			"project required":                {"bound", []auth.Option{auth.RequireProject()}, nil, "FORBIDDEN"},
			"org required and not named":      {"bound", []auth.Option{org, auth.RequireOrg()}, nil, "FORBIDDEN"},
			"org required and named":          {"bound", []auth.Option{org, auth.RequireOrg()}, []string{"X-Org", "acme"}, "acme p1"},
			"both required, one is named":     {"bound", []auth.Option{org, auth.RequireOrg(), auth.RequireProject()}, []string{"X-Org", "acme"}, "FORBIDDEN"},
			"project required and named":      {"bound", []auth.Option{project, auth.RequireProject()}, []string{"X-Project", "p1"}, "acme p1"},
			"not in the path":                 {"bound", []auth.Option{auth.ProjectID(auth.PathParam("project"))}, nil, "FORBIDDEN"},
			"not bound":                       {"free", nil, nil, " "},
			"not bound, required":             {"free", []auth.Option{auth.RequireOrg(), auth.RequireProject()}, nil, " "},
			"not bound, required and named":   {"free", []auth.Option{org, auth.RequireOrg()}, []string{"X-Org", "acme"}, " "},
			"not bound, and not in the path":  {"free", []auth.Option{auth.OrgID(auth.PathParam("team"))}, nil, " "},
			"invalid, where one is required":  {"bound", []auth.Option{org, auth.RequireOrg()}, []string{"X-Org", "a\x00"}, "BAD_REQUEST"},
			"invalid, although none is bound": {"free", []auth.Option{org}, []string{"X-Org", "a\x00"}, "BAD_REQUEST"},
		} {
			h := f.serve(k, func(w http.ResponseWriter, r *http.Request) {
				p := auth.FromContext(r.Context())
				_, _ = io.WriteString(w, p.OrgID+" "+p.ProjectID)
			}, nil, c.options...)
			response := send(h, "GET", "/", append(c.headers, "X-Api-Key", c.key)...)
			if body := bodyOf(t, response); body != c.want && !strings.Contains(body, `"code":"`+c.want+`"`) {
				t.Errorf("%s: %d %s, want %s", name, response.StatusCode, body, c.want)
			}
		}
	})
}

func TestTrustedProxies(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k", func(r *apikey.Record) { r.AllowedIPs = []netip.Prefix{netip.MustParsePrefix("203.0.113.0/24")} })
		direct, behind := f.serve(k, hello, nil), f.serve(k, hello, nil, auth.TrustedProxies("192.0.2.0/24"))
		forwarded := []string{"X-Api-Key", "k", "X-Forwarded-For", "198.51.100.1, 203.0.113.7"}
		if got := send(direct, "GET", "/", forwarded...).StatusCode; got != http.StatusForbidden {
			t.Errorf("X-Forwarded-For from an untrusted client: %d", got)
		}
		if got := send(behind, "GET", "/", forwarded...).StatusCode; got != http.StatusOK {
			t.Errorf("X-Forwarded-For from a trusted proxy: %d", got)
		}
		if got := send(behind, "GET", "/", "X-Api-Key", "k", "X-Forwarded-For", "203.0.113.7, 198.51.100.1").StatusCode; got != http.StatusForbidden {
			t.Errorf("first address of X-Forwarded-For: %d", got)
		}
	})
}

func TestRefusalsCanBeReplaced(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k")
		statuses := auth.Statuses(map[auth.Code]int{auth.NotFound: 418})
		checkRefusal(t, send(f.serve(k, hello, nil, statuses, auth.Realm(`a "b"`)), "GET", "/", "X-Api-Key", "x"), 418, "NOT_FOUND", `Bearer realm="a \"b\"", error="invalid_token"`)

		var got auth.Refusal
		h := f.serve(k, hello, []string{"write"}, auth.OnRefusal(func(w http.ResponseWriter, _ *http.Request, r auth.Refusal) {
			got = r
			w.WriteHeader(r.Status)
			_, _ = io.WriteString(w, "custom")
		}))
		response := send(h, "GET", "/", "X-Api-Key", "k", "X-Request-Id", "t1")
		if bodyOf(t, response) != "custom" || response.StatusCode != http.StatusForbidden || response.Header.Get("WWW-Authenticate") != got.Challenge || response.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%d %v", response.StatusCode, response.Header)
		}
		want := auth.Refusal{Code: auth.InsufficientPermissions, Status: 403, Detail: got.Detail, Needed: []string{"write"}, RequestID: "t1", Challenge: `Bearer realm="keytail", error="insufficient_scope", scope="write"`}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
		k.setOutage(true)
		send(h, "GET", "/", "X-Api-Key", "k")
		if got.RetryAfter != time.Second || !errors.Is(got.Err, auth.ErrUnavailable) {
			t.Errorf("%+v", got)
		}
		k.setOutage(false)
		k.put("k", revoked)
		send(h, "GET", "/", "X-Api-Key", "k")
		if got.Key == nil || got.Key.KeyID != "id-k" || got.Reason != "inactive" {
			t.Errorf("the refusal has no Key or no Reason: %+v", got)
		}
	})
}

// TestTheDefaultRefusalHasNoReason: the reason is for the service's own log.
func TestTheDefaultRefusalHasNoReason(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k", func(r *apikey.Record) {
			r.Active, r.Defect, r.DefectReason = false, "a sentence", "missing:secret_field"
		})
		response := send(f.serve(k, hello, nil), "GET", "/", "X-Api-Key", "k")
		body := bodyOf(t, response)
		if response.StatusCode != http.StatusUnauthorized || strings.Contains(fmt.Sprint(response.Header)+body, "secret_field") {
			t.Errorf("%d %v %s", response.StatusCode, response.Header, body)
		}
	})
}

func TestOnGinRefusal(t *testing.T) {
	k := newKeys(t)
	engine := gin.New()
	engine.Use(auth.Authenticate(k, auth.OnGinRefusal(func(c *gin.Context, r auth.Refusal) {
		c.JSON(r.Status, gin.H{"error": r.Code})
	})))
	engine.GET("/", func(*gin.Context) { t.Error("called") })
	response := send(engine, "GET", "/")
	if body := bodyOf(t, response); body != `{"error":"MISSING"}` || response.StatusCode != http.StatusUnauthorized || response.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("%d %s", response.StatusCode, body)
	}
}

func TestRequireScopeRequiresAllScopes(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k")
		checkRefusal(t, send(f.serve(k, hello, []string{"read", "write"}), "GET", "/", "X-Api-Key", "k"), 403, "INSUFFICIENT_PERMISSIONS", `Bearer realm="keytail", error="insufficient_scope", scope="read write"`)
	})
}

func TestRequireAnyScope(t *testing.T) {
	k := newKeys(t)
	k.put("k")
	engine := gin.New()
	engine.GET("/some", auth.Authenticate(k), auth.RequireAnyScope("write", "admin:x"), func(c *gin.Context) { hello(c.Writer, c.Request) })
	engine.GET("/none", auth.Authenticate(k), auth.RequireAnyScope("write", "delete"), func(*gin.Context) { t.Error("called") })
	mux := http.NewServeMux()
	mux.Handle("/some", auth.Middleware(k)(auth.AnyScopeMiddleware("write", "admin:x")(http.HandlerFunc(hello))))
	mux.Handle("/none", auth.Middleware(k)(auth.AnyScopeMiddleware("write", "delete")(nil)))
	for _, h := range []http.Handler{engine, mux} {
		if response := send(h, "GET", "/some", "X-Api-Key", "k"); response.StatusCode != http.StatusOK {
			t.Errorf("one of two: %d", response.StatusCode)
		}
		checkRefusal(t, send(h, "GET", "/none", "X-Api-Key", "k"), 403, "INSUFFICIENT_PERMISSIONS", `Bearer realm="keytail", error="insufficient_scope", scope="write delete"`)
	}
}

func TestRequirementWithoutAuthenticationIsRefused(t *testing.T) {
	engine := gin.New()
	engine.GET("/", auth.RequireScope("read"), func(*gin.Context) { t.Error("called") })
	for _, h := range []http.Handler{engine, auth.ScopeMiddleware("read")(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("called") }))} {
		checkRefusal(t, send(h, "GET", "/", "X-Api-Key", "k"), 500, "INTERNAL_ERROR", "")
	}
}

func TestInvalidOptionsPanicAtSetup(t *testing.T) {
	k := newKeys(t)
	for _, c := range []struct {
		do   func()
		want []string
	}{
		{func() { auth.Authenticate(nil) }, []string{"auth.Authenticate: the Validator is nil"}},
		{func() {
			auth.Middleware(k, auth.KeySources("basic"), auth.TrustedProxies("x"), auth.Realm("ä"), auth.Scopes("a b"), auth.Statuses(map[auth.Code]int{auth.Missing: 200}))
		}, []string{"auth.Middleware: ", `option KeySources: key source "basic"`, `option TrustedProxies: trusted proxy "x"`, "option Realm: ", `option Scopes: scope "a b"`, "option Statuses: status 200 for MISSING"}},
		{func() {
			auth.Authenticate(k, nil, auth.OrgID(nil), auth.ProjectID(nil), auth.OnRefusal(nil), auth.OnGinRefusal(nil), auth.KeySources(), auth.Statuses(map[auth.Code]int{auth.Valid: 403}))
		}, []string{"auth.Authenticate: option 1 is nil", "option OrgID: ", "option ProjectID: ", "option OnRefusal: ", "option OnGinRefusal: ", "option KeySources: name at least one", "option Statuses: VALID is not a refusal"}},
		{func() { auth.RequireScope() }, []string{"auth.RequireScope: 1 to 100 scopes"}},
		{func() { auth.RequireAnyScope("") }, []string{`auth.RequireAnyScope: scope ""`}},
		{func() { auth.ScopeMiddleware(make([]string, 101)...) }, []string{"auth.ScopeMiddleware: 1 to 100 scopes"}},
		{func() { auth.AnyScopeMiddleware("a\n") }, []string{"auth.AnyScopeMiddleware: "}},
	} {
		func() {
			defer func() {
				text := fmt.Sprint(recover())
				for _, want := range c.want {
					if !strings.Contains(text, want) {
						t.Errorf("%q does not contain %q", text, want)
					}
				}
			}()
			c.do()
		}()
	}
	if err := auth.CheckOptions(auth.KeySources("basic")); err == nil {
		t.Error("CheckOptions returns nil")
	}
	if err := auth.CheckOptions(auth.KeySources("bearer", "query:k"), auth.Scopes("a"), auth.Scopes("b")); err != nil {
		t.Error(err)
	}
}

func TestRequestWithoutAPrincipal(t *testing.T) {
	if auth.FromGin(&gin.Context{}) != nil || auth.FromContext(context.Background()) != nil {
		t.Error("there is a principal")
	}
	p := &auth.Principal{}
	if p.Done() != nil || p.Err() != nil {
		t.Error("the zero Principal has Done or Err")
	}
}

func TestNoFormatVerbPrintsTheKey(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("secret-key-text", func(r *apikey.Record) { r.KeyID = "id" })
		send(f.serve(k, func(_ http.ResponseWriter, r *http.Request) {
			p := auth.FromContext(r.Context())
			p.Done()
			derived := context.WithValue(r.Context(), t, t)
			asJSON, err := json.Marshal(p)
			if err != nil {
				t.Error(err)
			}
			for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q"} {
				for _, value := range []any{p, *p, r.Context(), derived, []any{p}, []any{*p}, struct{ p *auth.Principal }{p}} {
					if text := fmt.Sprintf(verb, value); strings.Contains(text, "secret-key-text") {
						t.Errorf("%s of a %T: %s", verb, value, text)
					}
				}
			}
			if strings.Contains(string(asJSON), "secret-key-text") {
				t.Errorf("%s", asJSON)
			}
		}, nil, auth.HideCredentials()), "GET", "/", "X-Api-Key", "secret-key-text")
	})
}
