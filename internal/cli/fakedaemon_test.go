package cli

import (
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
)

// Secrets that may only occur in the right places.
const (
	adminToken  = "0123456789abcdef-admin"
	callerToken = "0123456789abcdef-caller"
	newSecret   = "kt_the-new-key-itself"
)

// key1 is a key in the server's JSON.
const key1 = `"id":"k1","key_prefix":"kt_the","user_id":"u1","org_id":"o1","project_id":null,"name":"first","scopes":["a","b:*"],"allowed_ips":["10.0.0.0/8"],
	"expires_at":"2999-01-02T03:04:05.6Z","metadata":{"team":"x"},"is_active":true,"created_at":"2026-01-02T03:04:05Z","last_used":null,"usage_count":7,"rotated_from":null,"defect":null`

// fakeDaemon responds like a daemon with one key.
type fakeDaemon struct {
	*httptest.Server
	mu       sync.Mutex
	requests []string // method, address and body of each request
	// responses overrides the responses by path.
	responses map[string]fakeResponse
	// revokedAll: the keys of every owner are revoked. failed is in each page of
	// such a revocation.
	revokedAll bool
	failed     string
	// hold, if not nil, is called before each response.
	hold func(r *http.Request)
}

type fakeResponse struct {
	status int
	body   string
}

func newFakeDaemon(t *testing.T) *fakeDaemon {
	t.Helper()
	f := &fakeDaemon{responses: map[string]fakeResponse{}}
	f.Server = httptest.NewServer(f)
	t.Cleanup(f.Close)
	t.Setenv("KEYTAIL_ADMIN_URL", f.URL)
	t.Setenv("KEYTAIL_URL", f.URL)
	t.Setenv(envToken, adminToken)
	return f
}

func (f *fakeDaemon) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	body, _ := io.ReadAll(r.Body)
	f.mu.Lock()
	f.requests = append(f.requests, r.Method+" "+r.RequestURI+" "+string(body))
	response, given := f.responses[r.URL.Path]
	f.mu.Unlock()
	if f.hold != nil {
		f.hold(r)
	}
	if !given {
		response = f.answer(r, string(body))
	}
	kind := "application/json"
	switch {
	case response.status >= http.StatusBadRequest:
		kind = "application/problem+json"
	case r.URL.Path == "/v1/events":
		kind = "text/event-stream"
	}
	w.Header().Set("Content-Type", kind)
	w.Header().Set("ETag", `"e1"`)
	w.WriteHeader(response.status)
	_, _ = io.WriteString(w, response.body)
}

func (f *fakeDaemon) answer(r *http.Request, body string) fakeResponse {
	want := adminToken
	if r.URL.Path == "/v1/keys/verify" {
		want = callerToken
	}
	if got := r.Header.Get("Authorization"); got != "Bearer "+want && (got != "" || want == adminToken) {
		return fakeResponse{http.StatusUnauthorized, `{"detail":"this listener wants a token","code":"UNAUTHENTICATED"}`}
	}
	syncFields := ""
	if r.URL.Query().Has("wait") {
		syncFields = `,"synced":true,"instances":[{"id":"i1","revision":"000000000000000a","last_seen":"2026-01-02T03:04:05Z"},{"id":"i2","revision":"000000000000000a","last_seen":"2026-01-02T03:04:05Z"}],"missing":[]`
	}
	written := key1 + `,"revision":"000000000000000a"` + syncFields
	switch r.Method + " " + r.URL.Path {
	case "POST /v1/keys", "POST /v1/keys/k1/rotate":
		return fakeResponse{http.StatusCreated, `{"key":"` + newSecret + `",` + written + `}`}
	case "PATCH /v1/keys/k1", "DELETE /v1/keys/k1", "POST /v1/keys/k1/revoke":
		return fakeResponse{http.StatusOK, `{` + written + `}`}
	case "POST /v1/keys/revoke-leaked":
		return fakeResponse{http.StatusOK, `{"keys":[{` + key1 + `}],"revoked":1,"revision":"000000000000000a"` + syncFields + `}`}
	case "POST /v1/keys/revoke":
		return f.revokePage(body)
	case "GET /v1/keys/k1":
		return fakeResponse{http.StatusOK, `{` + key1 + `}`}
	case "GET /v1/keys/k1/explain":
		return fakeResponse{http.StatusOK, `{"key_id":"k1","instance":"i1","valid":false,"code":"FORBIDDEN","reason":"ip","source":"cache","as_of":"2026-01-02T03:04:05Z","staleness_ms":3,"revision":"000000000000000a","database":{"valid":false,"code":"DISABLED","reason":"inactive","as_of":"2026-01-02T03:04:05Z"}}`}
	case "GET /v1/keys":
		if r.URL.Query().Get("cursor") != "" {
			return fakeResponse{http.StatusOK, `{"keys":[{"id":"k2","user_id":"u2","is_active":false}],"next_cursor":null}`}
		}
		return fakeResponse{http.StatusOK, `{"keys":[{` + key1 + `}],"next_cursor":"c1"}`}
	case "GET /v1/audit":
		return fakeResponse{http.StatusOK, `{"entries":[{"id":"e1","at":"2026-01-02T03:04:05.678Z","actor":"ops","action":"update","key_id":"k1","new_key_id":null,"user_id":"u1","request_id":"r","before":{"name":"a","scopes":[]},"after":{"name":"b"}},
			{"id":"e0","at":"2026-01-02T03:04:04Z","actor":"ops","action":"rotate","key_id":"k0","new_key_id":"k1","user_id":"u1","request_id":"r","before":{},"after":{}},
			{"id":"e0","at":"2026-01-02T03:04:03Z","actor":"ops","action":"create","key_id":"k0","new_key_id":null,"user_id":"u1","request_id":"r","before":null,"after":{"name":"z"}}],"next_cursor":null}`}
	case "GET /v1/instances":
		return fakeResponse{http.StatusOK, `{"instances":[{"id":"i1","version":"v1","revision":"000000000000000a","staleness_ms":12,"last_seen":"2026-01-02T03:04:05Z"}]}`}
	case "GET /v1/sync":
		return fakeResponse{http.StatusOK, `{"synced":true,"instances":[{"id":"i1","revision":"000000000000000a","last_seen":"2026-01-02T03:04:05Z"}],"missing":[]}`}
	case "POST /v1/keys/verify":
		return fakeResponse{http.StatusOK, `{"valid":true,"code":"VALID","key_id":"k1","user_id":"u1","scopes":["a"],"staleness_ms":3,"source":"cache","revision":"000000000000000a"}`}
	}
	return fakeResponse{http.StatusNotFound, `{"detail":"there is no such key","code":"NO_SUCH_KEY"}`}
}

// revokePage has two pages with three keys, and then none.
func (f *fakeDaemon) revokePage(body string) fakeResponse {
	f.mu.Lock()
	defer f.mu.Unlock()
	ids, next, revision := `"k1","k2"`, `"c1"`, `"000000000000000a"`
	switch {
	case f.revokedAll:
		ids, next, revision = "", "null", `"0000000000000009"`
	case strings.Contains(body, `"cursor":"c1"`):
		ids, next, revision = `"k3"`, "null", `"000000000000000b"`
	}
	dryRun := strings.Contains(body, `"dry_run":true`)
	if dryRun {
		revision = "null"
	}
	f.revokedAll = f.revokedAll || next == "null" && !dryRun
	return fakeResponse{http.StatusOK, fmt.Sprintf(`{"key_ids":[%s],"failed":[%s],"dry_run":%v,"next_cursor":%s,"revision":%s}`, ids, f.failed, dryRun, next, revision)}
}

func (f *fakeDaemon) seenRequests() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.requests)
}

// depsWithStdin returns Deps with this standard input.
func depsWithStdin(text string) Deps { return Deps{Version: "v1.2.3", Stdin: strings.NewReader(text)} }
