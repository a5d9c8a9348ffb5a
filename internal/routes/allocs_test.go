package routes

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/keytail/keytail/internal/alloctest"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/serverspan"
)

// discard is a ResponseWriter that allocates nothing itself.
type discard struct{ header http.Header }

func (d discard) Header() http.Header         { return d.header }
func (d discard) Write(p []byte) (int, error) { return len(p), nil }
func (d discard) WriteHeader(int)             {}

// TestAllocations bounds what a request costs, so that a regression shows: the bounds are what is
// made. The hit in the cache makes none.
func TestAllocations(t *testing.T) {
	handler := newPublic(t, PublicConfig{Config: forwardauth.Config{Validator: loadKeys(t), Policies: map[string]forwardauth.Policy{"open": {Scopes: []string{"read"}}}}})
	const body = `{"key":"key-of-root","scopes":["read"]}`
	for _, test := range []struct {
		name, method, target, key string
		most                      float64
	}{
		{"forward-auth, valid", http.MethodGet, "/v1/auth?scope=read", "key-of-root", 5},
		{"forward-auth, refused", http.MethodGet, "/v1/auth", "key-of-nobody", 10},
		{"forward-auth by policy", http.MethodGet, "/v1/auth/policy/open/a/b?c=d", "key-of-root", 5},
		{"verify", http.MethodPost, "/v1/keys/verify", "", 27},
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
		n := alloctest.PerCall(func() {
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

// TestAnOrdinaryAnswerIsSmall: an allowed request of a key without an organisation has at
// most eight headers. A Go map has room for eight; with the ninth it allocates a table, and
// so does the copy that net/http makes of it.
func TestAnOrdinaryAnswerIsSmall(t *testing.T) {
	identity, err := forwardauth.ParseIdentity(forwardauth.IdentityHeaders())
	if err != nil {
		t.Fatal(err)
	}
	cost := func(identity forwardauth.Identity) (headers int, made float64) {
		handler := newPublic(t, PublicConfig{Config: forwardauth.Config{Validator: loadKeys(t), Identity: identity}})
		r := httptest.NewRequest(http.MethodGet, "/v1/auth", nil)
		r.Header.Set("X-Request-Id", "req-1")
		r.Header.Set("X-Api-Key", "key-of-alice")
		made = alloctest.PerCall(func() {
			w := &discard{make(http.Header)}
			handler.ServeHTTP(w, r)
			headers = len(w.header.Clone())
		})
		return headers, made
	}
	headers, made := cost(forwardauth.Identity{})
	all, allMade := cost(identity)
	t.Logf("%d headers and %v allocations; with all identity headers %d and %v", headers, made, all, allMade)
	if headers > 8 || all <= 8 {
		t.Errorf("%d headers, want at most 8; with all identity headers %d, want more", headers, all)
	}
	if made >= allMade {
		t.Errorf("%v allocations, no fewer than the %v with all identity headers", made, allMade)
	}
}

// TestTracingThatIsOffCostsNothing: the handlers of a daemon without a TracerProvider are
// those of one that has never heard of tracing. The other bounds are what a request may
// cost that is not sampled, and one that is.
func TestTracingThatIsOffCostsNothing(t *testing.T) {
	cost := func(name string) float64 {
		return alloctest.PerCall(traceCases(t)[name])
	}
	for _, request := range []string{"auth", "verify"} {
		absent := cost(request + "/absent")
		for state, most := range map[string]float64{"off": 0, "unsampled": 12, "sampled": 20} {
			more := cost(request+"/"+state) - absent
			t.Logf("%s, tracing %s: %v allocations more than %v", request, state, more, absent)
			if more > most {
				t.Errorf("%s, tracing %s: %v allocations more than without, at most %v are meant to be", request, state, more, most)
			}
		}
	}
}

// BenchmarkTracing compares a request without tracing, with tracing that is off, and with
// requests that are not sampled and that are.
func BenchmarkTracing(b *testing.B) {
	cases := traceCases(b)
	for _, request := range []string{"auth", "verify"} {
		for _, state := range []string{"absent", "off", "unsampled", "sampled"} {
			serve := cases[request+"/"+state]
			b.Run(request+"/"+state, func(b *testing.B) {
				b.ReportAllocs()
				for b.Loop() {
					serve()
				}
			})
		}
	}
}

// traceCases maps a request and a state of tracing to a function that serves the request
// once.
func traceCases(t testing.TB) map[string]func() {
	config := PublicConfig{Config: forwardauth.Config{Validator: loadKeys(t)}}
	cases := map[string]func(){}
	for state, tracer := range map[string]*serverspan.Tracer{
		"absent":    nil,
		"off":       serverspan.New(nil, nil),
		"unsampled": serverspan.New(sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.NeverSample())), nil),
		"sampled":   serverspan.New(sdktrace.NewTracerProvider(sdktrace.WithSampler(sdktrace.AlwaysSample()), sdktrace.WithSpanProcessor(ignore{})), nil),
	} {
		config.Tracer, config.Requests = tracer, nil
		handler := newPublic(t, config)
		cases["auth/"+state] = repeat(handler, http.MethodGet, "/v1/auth?scope=read", "")
		cases["verify/"+state] = repeat(handler, http.MethodPost, "/v1/keys/verify", `{"key":"key-of-root","scopes":["read"]}`)
	}
	return cases
}

// repeat returns a function that serves one request again and again.
func repeat(handler http.Handler, method, target, body string) func() {
	r := httptest.NewRequest(method, target, nil)
	r.Header.Set("Content-Type", "application/json")
	r.Header.Set("X-Request-Id", "req-1")
	r.Header.Set("X-Api-Key", "key-of-root")
	w, reader := discard{http.Header{}}, strings.NewReader(body)
	if body != "" {
		r.Body = readCloser{reader}
	}
	return func() {
		clear(w.header)
		reader.Reset(body)
		handler.ServeHTTP(w, r)
	}
}

// ignore is a SpanProcessor that does nothing.
type ignore struct{}

func (ignore) OnStart(context.Context, sdktrace.ReadWriteSpan) {}
func (ignore) OnEnd(sdktrace.ReadOnlySpan)                     {}
func (ignore) Shutdown(context.Context) error                  { return nil }
func (ignore) ForceFlush(context.Context) error                { return nil }

// readCloser is a body that can be read again.
type readCloser struct{ *strings.Reader }

func (readCloser) Close() error { return nil }
