package extauthz

import (
	"context"
	"net/netip"
	"strings"
	"testing"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/trace"
	"google.golang.org/grpc/metadata"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/serverspan"
	"github.com/keytail/keytail/internal/tracing/tracingtest"
)

const traceID = "4bf92f3577b34da6a3ce929d0e0e4736"

// TestACheckIsPartOfEnvoysTrace, which is in the metadata of the call, if Envoy's address is
// in the networks. What the client of Envoy sends is not followed.
func TestACheckIsPartOfEnvoysTrace(t *testing.T) {
	for name, c := range map[string]struct {
		networks         []netip.Prefix
		parent           string
		followed, linked bool
	}{
		"a known Envoy": {[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, "00-" + traceID + "-00f067aa0ba902b7-01", true, false},
		"a stranger":    {nil, "00-" + traceID + "-00f067aa0ba902b7-01", false, true},
		"no parent":     {[]netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}, "", false, false},
	} {
		t.Run(name, func(t *testing.T) {
			spans, log := tracingtest.New(), &decisions{}
			conn := serve(t, newServer(t, options{tracer: serverspan.New(spans, c.networks), decisions: log}))
			ctx := t.Context()
			if c.parent != "" {
				ctx = metadata.AppendToOutgoingContext(ctx, "traceparent", c.parent, "tracestate", "a=b")
			}
			clients := "00-11111111111111111111111111111111-2222222222222222-01"
			if _, err := authv3.NewAuthorizationClient(conn).Check(ctx, rawRequest("/a", "x-api-key", keyRoot, "traceparent", clients)); err != nil {
				t.Fatal(err)
			}
			span := spans.Span(t, spanName)
			if followed := span.SpanContext.TraceID().String() == traceID; followed != c.followed || len(span.Links) != map[bool]int{true: 1, false: 0}[c.linked] {
				t.Errorf("followed %v, %d links", followed, len(span.Links))
			}
			if len(log.all) != 1 || log.all[0].TraceID != span.SpanContext.TraceID().String() {
				t.Errorf("the decision is %+v", log.all)
			}
		})
	}
}

// TestTheSpanOfACheck has the status for the client, and no key.
func TestTheSpanOfACheck(t *testing.T) {
	spans, keys := tracingtest.New(), newKeys()
	keys[traceID] = &apikey.Record{KeyID: "k", UserID: "u", Active: true}
	conn := serve(t, newServer(t, options{
		validator: keys, sources: []string{"x-api-key", "query:k"},
		tracer: serverspan.New(spans, []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}),
	}))
	ctx := metadata.AppendToOutgoingContext(t.Context(), "traceparent", "00-"+traceID+"-00f067aa0ba902b7-01")
	for _, c := range []struct {
		ctx     context.Context
		request *authv3.CheckRequest
	}{
		{ctx, rawRequest("/a/"+traceID, "x-api-key", traceID, "user-agent", traceID, "traceparent", "00-"+traceID+"-00f067aa0ba902b7-01")},
		{ctx, rawRequest("/a?k=" + traceID)},
		{t.Context(), rawRequest("/a", "x-api-key", "key-that-is-off", "x-request-id", traceID)},
	} {
		if _, err := authv3.NewAuthorizationClient(conn).Check(c.ctx, c.request); err != nil {
			t.Fatal(err)
		}
	}
	var statuses []string
	for _, span := range spans.Spans() {
		statuses = append(statuses, tracingtest.Value(span, attribute.Key("http.response.status_code")))
		if span.Name != spanName || span.SpanKind != trace.SpanKindServer || tracingtest.Value(span, "rpc.system.name") != "grpc" {
			t.Errorf("%s, %v", span.Name, span.SpanKind)
		}
	}
	if got := strings.Join(statuses, " "); got != "200 200 401" {
		t.Errorf("the statuses are %s", got)
	}
	if text := tracingtest.Text(spans.Spans()); strings.Contains(text, traceID) {
		t.Errorf("the key is in a span:\n%s", text)
	}
}
