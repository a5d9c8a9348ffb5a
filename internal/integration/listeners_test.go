package integration

import (
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/mongotest"
)

// TestTokensAndPolicies: the handlers of a running service require the tokens and apply
// the policies of the configuration.
func TestTokensAndPolicies(t *testing.T) {
	mongotest.Each(t, testTokensAndPolicies)
}

func testTokensAndPolicies(t *testing.T, s *mongotest.Server) {
	dir := t.TempDir()
	file := func(name, content string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	r := start(t, s, func(c *daemon.Config) {
		c.CallerTokenFile = file("callers", "web=caller-token-of-web\n")
		c.AdminTokenFile = file("admins", "ann=admin-token-of-ann role=admin\n")
		c.Policies = map[string]forwardauth.Policy{"open": {}, "strict": {Scopes: []string{"unused:scope"}}}
	})
	for name, test := range map[string]struct {
		handler             http.Handler
		method, path, token string
		status              int
	}{
		"verify without a token":  {r.Public(), "POST", "/v1/keys/verify", "", http.StatusUnauthorized},
		"verify of an admin":      {r.Public(), "POST", "/v1/keys/verify", "admin-token-of-ann", http.StatusUnauthorized},
		"verify of a caller":      {r.Public(), "POST", "/v1/keys/verify", "caller-token-of-web", http.StatusOK},
		"a policy, unknown key":   {r.Public(), "GET", "/v1/auth/policy/open/x", "caller-token-of-web", http.StatusUnauthorized},
		"a policy, not there":     {r.Public(), "GET", "/v1/auth/policy/none", "caller-token-of-web", http.StatusNotFound},
		"status without a token":  {r.Admin(), "GET", "/v1/status", "", http.StatusUnauthorized},
		"status of a caller":      {r.Admin(), "GET", "/v1/status", "caller-token-of-web", http.StatusUnauthorized},
		"status of an admin":      {r.Admin(), "GET", "/v1/status", "admin-token-of-ann", http.StatusOK},
		"operations want nothing": {r.Operations(), "GET", "/readyz", "", http.StatusOK},
	} {
		request := httptest.NewRequest(test.method, test.path, strings.NewReader(`{"key":"an-unknown-key"}`))
		request.Header.Set("Content-Type", "application/json")
		if test.token != "" {
			request.Header.Set("Authorization", "Bearer "+test.token)
		}
		recorder := httptest.NewRecorder()
		test.handler.ServeHTTP(recorder, request)
		if recorder.Code != test.status {
			t.Errorf("%s: got status %d, want %d: %s", name, recorder.Code, test.status, recorder.Body)
		}
	}
}

// TestNoAdminWithoutTokens: the handler is nil, so that the API is not open to everybody.
func TestNoAdminWithoutTokens(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		if r := start(t, s); r.Admin() != nil {
			t.Error("got an admin handler without admin tokens, want nil")
		}
	})
}
