package auth_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/alloctest"
	"github.com/keytail/keytail/internal/revocation"
)

// constant is a RevocationWatcher that allocates nothing.
type constant struct {
	fixedVerdict
	watches *revocation.Watches
}

func (c constant) Mark() uint64 { return c.watches.Mark() }

func (c constant) Watch(request auth.WatchRequest) auth.Watch {
	return c.watches.Add(revocation.Entry(request))
}

func alwaysValid() constant {
	key := &auth.Key{KeyID: "k", UserID: "u", Active: true, Scopes: []string{"read"}}
	return constant{fixedVerdict{verdict: auth.Verdict{Code: auth.Valid, Key: key}}, revocation.New(revocation.Config{})}
}

// blank is a ResponseWriter that discards everything but the header.
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

// The allocations are the session, its function for the key, the handler's copy of the
// request, and the response's X-Request-Id.
func TestMiddlewareAllocations(t *testing.T) {
	v := alwaysValid()
	for name, c := range map[string]struct {
		with, without http.Handler
		most          float64
	}{
		"gin":      {ginWith(auth.Authenticate(v), auth.RequireScope("read")), ginWith(), 4},
		"net/http": {httpWith(auth.Middleware(v)), httpWith(func(h http.Handler) http.Handler { return h }), 4},
		// The cancellable context, the watch and its channel, the writer, and the functions
		// that end them.
		"with CancelOnRevocation": {ginWith(auth.Authenticate(v, auth.CancelOnRevocation())), ginWith(), 12},
	} {
		r, w := request(), blank{http.Header{}}
		count := func(h http.Handler) float64 { return alloctest.PerCall(func() { h.ServeHTTP(w, r) }) }
		if n := count(c.with) - count(c.without); n > c.most {
			t.Errorf("%s: %v allocations, expected at most %v", name, n, c.most)
		}
	}
}

func BenchmarkMiddleware(b *testing.B) {
	v := alwaysValid()
	for _, c := range []struct {
		name string
		h    http.Handler
	}{
		{"gin alone", ginWith()},
		{"gin Authenticate", ginWith(auth.Authenticate(v))},
		{"gin Authenticate RequireScope", ginWith(auth.Authenticate(v), auth.RequireScope("read"))},
		{"gin HideCredentials", ginWith(auth.Authenticate(v, auth.HideCredentials()))},
		{"gin CancelOnRevocation", ginWith(auth.Authenticate(v, auth.CancelOnRevocation()))},
		{"http alone", httpWith(func(h http.Handler) http.Handler { return h })},
		{"http Middleware", httpWith(auth.Middleware(v))},
	} {
		b.Run(c.name, func(b *testing.B) {
			r, w := request(), blank{http.Header{}}
			key := r.Header["Authorization"]
			b.ReportAllocs()
			for b.Loop() {
				r.Header["Authorization"] = key // HideCredentials removed it
				c.h.ServeHTTP(w, r)
			}
		})
	}
}
