package routes

import (
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keytail/keytail/internal/forwardauth"
)

// discard is a ResponseWriter that allocates nothing itself.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// TestAllocations bounds what a request costs, so that a regression shows. The
// bounds leave room for other versions of Go and Gin.
func TestAllocations(t *testing.T) {
	handler := newPublic(t, PublicConfig{Config: forwardauth.Config{Validator: loadKeys(t), Policies: map[string]forwardauth.Policy{"open": {Scopes: []string{"read"}}}}})
	const body = `{"key":"key-of-root","scopes":["read"]}`
	for _, test := range []struct {
		name, method, target, key string
		most                      float64
	}{
		{"forward-auth, valid", http.MethodGet, "/v1/auth?scope=read", "key-of-root", 25},
		{"forward-auth, refused", http.MethodGet, "/v1/auth", "key-of-nobody", 25},
		{"forward-auth by policy", http.MethodGet, "/v1/auth/policy/open/a/b?c=d", "key-of-root", 25},
		{"verify", http.MethodPost, "/v1/keys/verify", "", 75},
	} {
		r := httptest.NewRequest(test.method, test.target, nil)
		r.Header.Set("Content-Type", "application/json")
		r.Header.Set("X-Request-Id", "req-1")
		r.Header.Set("X-Api-Key", test.key)
		w := discard{http.Header{}}
		reader := strings.NewReader(body)
		r.Body = http.NoBody
		if test.method == http.MethodPost {
			r.Body = readCloser{reader}
		}
		n := testing.AllocsPerRun(100, func() {
			clear(w.header)
			reader.Reset(body)
			handler.ServeHTTP(w, r)
		})
		t.Logf("%s: %v allocations", test.name, n)
		if n > test.most {
			t.Errorf("%s: %v allocations, at most %v are meant to be", test.name, n, test.most)
		}
	}
}

// readCloser is a body that can be read again.
type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }
