package auth_test

import (
	"math"
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/revocation"
)

// known is a validator that costs nothing.
type known struct {
	lie
	watches *revocation.Watches
}

func (k known) Watches() *revocation.Watches { return k.watches }

func always() known {
	key := &auth.Key{KeyID: "k", UserID: "u", Active: true, Scopes: []string{"read"}}
	return known{lie{verdict: auth.Verdict{Code: auth.Valid, Key: key}}, revocation.New(revocation.Config{})}
}

// blank is an answer that is thrown away. Its header is kept, as net/http keeps none
// of an ended request.
type blank struct{ header http.Header }

func (b blank) Header() http.Header                { return b.header }
func (blank) Write(data []byte) (int, error)       { return len(data), nil }
func (blank) WriteString(text string) (int, error) { return len(text), nil }
func (blank) WriteHeader(int)                      {}

func request() *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/", nil)
	r.Header.Set("Authorization", "Bearer kt_0123456789abcdef")
	r.Header.Set("Accept", "*/*")
	r.Header.Set("User-Agent", "test")
	r.Header.Set("X-Request-Id", "0123456789abcdef")
	return r
}

func ginWith(chain ...gin.HandlerFunc) http.Handler {
	engine := gin.New()
	engine.GET("/", append(chain, func(c *gin.Context) { c.Status(http.StatusNoContent) })...)
	return engine
}

func httpWith(middleware func(http.Handler) http.Handler) http.Handler {
	return middleware(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }))
}

// TestAHitAllocatesLittle: the session, what reaches its key, the handler's copy of
// the request, and the answer's X-Request-Id.
func TestAHitAllocatesLittle(t *testing.T) {
	v := always()
	for name, c := range map[string]struct {
		with, without http.Handler
		most          float64
	}{
		"gin":      {ginWith(auth.Authenticate(v), auth.RequireScope("read")), ginWith(), 4},
		"net/http": {httpWith(auth.Middleware(v)), httpWith(func(h http.Handler) http.Handler { return h }), 4},
		// The context that can be cancelled, the watch and its channel, the writer, and
		// what ends them.
		"with WithRevocationCancel": {ginWith(auth.Authenticate(v, auth.WithRevocationCancel())), ginWith(), 12},
	} {
		r, w := request(), blank{http.Header{}}
		// The least of some: under the race detector pools forget at random.
		count := func(h http.Handler) float64 {
			least := math.Inf(1)
			for range 20 {
				least = min(least, testing.AllocsPerRun(10, func() { h.ServeHTTP(w, r) }))
			}
			return least
		}
		if n := count(c.with) - count(c.without); n > c.most {
			t.Errorf("%s: %v allocations, expected at most %v", name, n, c.most)
		}
	}
}

func BenchmarkMiddleware(b *testing.B) {
	v := always()
	for _, c := range []struct {
		name string
		h    http.Handler
	}{
		{"gin alone", ginWith()},
		{"gin Authenticate", ginWith(auth.Authenticate(v))},
		{"gin Authenticate RequireScope", ginWith(auth.Authenticate(v), auth.RequireScope("read"))},
		{"gin HideCredentials", ginWith(auth.Authenticate(v, auth.HideCredentials()))},
		{"gin WithRevocationCancel", ginWith(auth.Authenticate(v, auth.WithRevocationCancel()))},
		{"http alone", httpWith(func(h http.Handler) http.Handler { return h })},
		{"http Middleware", httpWith(auth.Middleware(v))},
	} {
		b.Run(c.name, func(b *testing.B) {
			r, w := request(), blank{http.Header{}}
			key := r.Header["Authorization"]
			b.ReportAllocs()
			for b.Loop() {
				r.Header["Authorization"] = key // HideCredentials has taken it
				c.h.ServeHTTP(w, r)
			}
		})
	}
}
