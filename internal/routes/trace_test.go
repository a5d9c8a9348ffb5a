package routes

import (
	"bytes"
	"context"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.opentelemetry.io/otel/attribute"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/rights"
	"github.com/keytail/keytail/internal/serverspan"
	"github.com/keytail/keytail/internal/tracing/tracingtest"
)

// spanNames are the names of all spans that have ended, and the status of each.
func spanNames(spans *tracingtest.Recorder) []string {
	var names []string
	for _, span := range spans.Spans() {
		names = append(names, span.Name+" "+tracingtest.Value(span, attribute.Key("http.response.status_code")))
	}
	return names
}

// TestTheRequestsThatHaveSpans: operations of the API, and nothing that comes often and
// means nothing. A request that is refused for its token has none.
func TestTheRequestsThatHaveSpans(t *testing.T) {
	t.Parallel()
	spans := tracingtest.New()
	keys := loadKeys(t)
	public := newPublic(t, PublicConfig{
		Config:  forwardauth.Config{Validator: keys, Policies: map[string]forwardauth.Policy{"read": {Scopes: []string{"no:scope"}}}},
		Callers: fakeTokens{"caller": "api"}, Syncer: goldenSyncer{}, Tracer: serverspan.New(spans, nil),
	})
	admin, err := NewAdmin(AdminConfig{
		Callers: fakeAdmins{"admin": {Name: "ann", Role: rights.Admin}}, Status: func() Status { return Status{} },
		Tracer: serverspan.New(spans, nil),
	})
	if err != nil {
		t.Fatal(err)
	}
	send := func(handler http.Handler, method, target, token string) {
		r := httptest.NewRequest(method, target, nil)
		if method == http.MethodPost {
			r = verifyOf(`{"key":"key-of-root"}`)
		}
		r.Header.Set("Authorization", "Bearer "+token)
		answerOf(handler, r)
	}
	for _, c := range []struct {
		handler               http.Handler
		method, target, token string
	}{
		{public, "GET", "/v1/auth?scope=read", "key-of-root"},
		{public, "PURGE", "/v1/auth", "key-of-nobody"},
		{public, "GET", "/v1/auth/policy/read/key-of-root", "key-of-alice"},
		{public, "POST", "/v1/keys/verify", "caller"},
		{public, "POST", "/v1/keys/verify", "stranger"},
		{public, "GET", "/v1/sync?scope=fleet&revision=0000000000000001", "caller"},
		{public, "GET", "/livez", ""},
		{public, "GET", "/openapi.yaml", ""},
		{public, "GET", "/v1/nothing", ""},
		{admin, "GET", "/v1/status", "admin"},
		{admin, "GET", "/v1/status", "stranger"},
		{admin, "GET", "/", "admin"},
		{admin, "GET", "/livez", ""},
		{admin, "GET", "/v1/nothing", "admin"},
	} {
		send(c.handler, c.method, c.target, c.token)
	}
	want := []string{
		"GET /v1/auth 200", "HTTP /v1/auth 401", "GET /v1/auth/policy/{policy} 403",
		"POST /v1/keys/verify 200", "GET /v1/sync 200", "GET /v1/status 200",
	}
	if diff := cmp.Diff(want, spanNames(spans)); diff != "" {
		t.Error(diff)
	}
}

// TestAKeyIsInNoSpan, wherever its client puts it.
func TestAKeyIsInNoSpan(t *testing.T) {
	t.Parallel()
	keys := loadKeys(t)
	keys[traceID] = &apikey.Record{KeyID: "k", UserID: "u", Active: true}
	networks := []netip.Prefix{netip.MustParsePrefix("0.0.0.0/0")}
	for name, callers := range map[string][]netip.Prefix{"followed": networks, "linked": nil} {
		spans := tracingtest.New()
		handler := newPublic(t, PublicConfig{
			Config: forwardauth.Config{Validator: keys, KeySources: []forwardauth.KeySource{mustSource(t, "bearer"), mustSource(t, "query:k"), mustSource(t, "header:user-agent")}},
			Tracer: serverspan.New(spans, callers),
		})
		for _, r := range []*http.Request{
			withHeader(httptest.NewRequest(http.MethodGet, "/v1/auth", nil), "Authorization", "Bearer "+traceID),
			httptest.NewRequest(http.MethodGet, "/v1/auth?k="+traceID, nil),
			withHeader(httptest.NewRequest(http.MethodGet, "/v1/auth", nil), "User-Agent", traceID),
			httptest.NewRequest(traceID, "/v1/auth", nil),
			withHeader(httptest.NewRequest(http.MethodGet, "/v1/auth/policy/"+traceID, nil), "Authorization", "Bearer "+traceID),
			verifyOf(`{"key":"` + traceID + `"}`),
		} {
			if r.Method != traceID {
				r.Header.Set("Traceparent", traceparent)
			}
			r.Header.Set("Tracestate", "a="+traceID)
			r.Header.Set("Baggage", "a="+traceID)
			r.Header.Set("X-Request-Id", traceID)
			answerOf(handler, r)
		}
		if n := len(spans.Spans()); n != 6 {
			t.Errorf("%s: %d spans, want 6", name, n)
		}
		if text := tracingtest.Text(spans.Spans()); strings.Contains(text, traceID) {
			t.Errorf("%s: the key is in a span:\n%s", name, text)
		}
	}
}

func mustSource(t *testing.T, text string) forwardauth.KeySource {
	t.Helper()
	sources, err := forwardauth.ParseKeySources([]string{text})
	if err != nil {
		t.Fatal(err)
	}
	return sources[0]
}

func withHeader(r *http.Request, name, value string) *http.Request {
	r.Header.Set(name, value)
	return r
}

// TestWhoseTraceIsContinued: that of a caller with a token, and of a caller in the networks.
func TestWhoseTraceIsContinued(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		callers  Tokens
		networks []netip.Prefix
		target   string
		followed bool
	}{
		"verify with a token":               {fakeTokens{"caller": "api"}, nil, "verify", true},
		"verify without tokens":             {nil, nil, "verify", false},
		"verify of a network":               {nil, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, "verify", true},
		"forward-auth":                      {fakeTokens{"caller": "api"}, nil, "/v1/auth", false},
		"forward-auth of a network":         {nil, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, "/v1/auth", true},
		"forward-auth of another network":   {nil, []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, "/v1/auth", false},
		"two parents are none":              {nil, []netip.Prefix{netip.MustParsePrefix("192.0.2.0/24")}, "two", false},
		"sync with a token, as verify does": {fakeTokens{"caller": "api"}, nil, "/v1/sync?scope=fleet&revision=0000000000000001", true},
	} {
		spans, log := tracingtest.New(), &decisions{}
		handler := newPublic(t, PublicConfig{
			Config: forwardauth.Config{Validator: loadKeys(t), Decisions: log}, Callers: c.callers, Syncer: goldenSyncer{}, Tracer: serverspan.New(spans, c.networks),
		})
		r := verifyOf(`{"key":"key-of-root"}`)
		if c.target != "verify" {
			r = httptest.NewRequest(http.MethodGet, strings.Replace(c.target, "two", "/v1/auth", 1), nil)
		}
		r.Header.Set("Authorization", "Bearer caller")
		r.Header.Set("Traceparent", traceparent)
		if c.target == "two" {
			r.Header.Add("Traceparent", traceparent)
		}
		answerOf(handler, r)
		all := spans.Spans()
		if len(all) != 1 {
			t.Fatalf("%s: %d spans", name, len(all))
		}
		id := all[0].SpanContext.TraceID().String()
		if followed := id == traceID; followed != c.followed {
			t.Errorf("%s: followed %v, want %v", name, followed, c.followed)
		}
		// The decision names the trace that is recorded.
		if logged := log.take(); len(logged) > 0 && !strings.Contains(logged[0], id) {
			t.Errorf("%s: the decision %q is not of the trace %s", name, logged, id)
		}
	}
}

// panicking is a Validator with a bug.
type panicking struct{ goldenKeys }

func (panicking) Validate(context.Context, string, *apikey.Request) apikey.Verdict { panic("a bug") }

// TestAPanicIsAFailedSpan, whose ids are in the line of the log.
func TestAPanicIsAFailedSpan(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	spans := tracingtest.New()
	handler := newPublic(t, PublicConfig{
		Config: forwardauth.Config{Validator: panicking{}}, Tracer: serverspan.New(spans, nil),
		Logger: zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{MessageKey: "msg"}), zapcore.AddSync(&log), zap.DebugLevel)),
	})
	answerOf(handler, withHeader(httptest.NewRequest(http.MethodGet, "/v1/auth", nil), "X-Api-Key", "key-of-root"))
	answerOf(handler, verifyOf(`{"key":"key-of-root"}`))
	all := spans.Spans()
	if names := spanNames(spans); !slices.Equal(names, []string{"GET /v1/auth 500", "POST /v1/keys/verify 500"}) {
		t.Fatalf("the spans are %q", names)
	}
	for _, span := range all {
		line := `"trace_id":"` + span.SpanContext.TraceID().String() + `","span_id":"` + span.SpanContext.SpanID().String() + `"`
		if span.Status.Code.String() != "Error" || strings.Count(log.String(), line) != 2 {
			t.Errorf("%s is %v; two lines of the log must have its ids:\n%s", span.Name, span.Status.Code, &log)
		}
	}
}
