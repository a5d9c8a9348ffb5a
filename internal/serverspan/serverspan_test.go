package serverspan

import (
	"bytes"
	"crypto/tls"
	"net/http"
	"net/netip"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/keytail/keytail/internal/tracing/tracingtest"
)

const (
	traceID   = "4bf92f3577b34da6a3ce929d0e0e4736"
	parentID  = "00f067aa0ba902b7"
	sampled   = "00-" + traceID + "-" + parentID + "-01"
	unsampled = "00-" + traceID + "-" + parentID + "-00"
)

var (
	callers  = []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}
	caller   = netip.MustParseAddr("10.1.2.3")
	stranger = netip.MustParseAddr("192.0.2.1")
)

// TestWhoseTraceIsFollowed: a client that is not known decides neither in which trace a
// request is, nor whether it is recorded.
func TestWhoseTraceIsFollowed(t *testing.T) {
	for name, c := range map[string]struct {
		request            Request
		never              bool // the sampler records no request without a parent
		recorded, followed bool
		linked             bool
	}{
		"a known network":                  {Request{Traceparent: sampled, Peer: caller}, true, true, true, false},
		"a known network, not sampled":     {Request{Traceparent: unsampled, Peer: caller}, false, false, true, false},
		"a token":                          {Request{Traceparent: sampled, Peer: stranger, Trusted: true}, true, true, true, false},
		"a stranger":                       {Request{Traceparent: sampled, Peer: stranger}, false, true, false, true},
		"a stranger who wants to be seen":  {Request{Traceparent: sampled, Peer: stranger}, true, false, false, false},
		"a stranger who does not":          {Request{Traceparent: unsampled, Peer: stranger}, false, true, false, true},
		"no address":                       {Request{Traceparent: sampled}, true, false, false, false},
		"no parent":                        {Request{Peer: caller}, false, true, false, false},
		"a parent that is none":            {Request{Traceparent: "00-key-key-01", Peer: caller}, false, true, false, false},
		"an invalid parent of a known one": {Request{Traceparent: "00-00000000000000000000000000000000-" + parentID + "-01", Peer: caller}, true, false, false, false},
	} {
		t.Run(name, func(t *testing.T) {
			root := sdktrace.AlwaysSample()
			if c.never {
				root = sdktrace.NeverSample()
			}
			spans := tracingtest.New(sdktrace.WithSampler(sdktrace.ParentBased(root)))
			c.request.Name = "request"
			ctx, span := New(spans, callers).Start(t.Context(), &c.request)
			End(span, http.StatusOK)
			if span.IsRecording() || len(spans.Spans()) != map[bool]int{true: 1, false: 0}[c.recorded] {
				t.Fatalf("%d spans are recorded", len(spans.Spans()))
			}
			if followed := span.SpanContext().TraceID().String() == traceID; followed != c.followed {
				t.Errorf("it is in the client's trace: %v, want %v", followed, c.followed)
			}
			if (TraceID(ctx) != "") != c.recorded {
				t.Errorf("the trace id is %q", TraceID(ctx))
			}
			if !c.recorded {
				return
			}
			got := spans.Span(t, "request")
			if got.Parent.IsValid() != c.followed || len(got.Links) != map[bool]int{true: 1, false: 0}[c.linked] || got.SpanKind != trace.SpanKindServer {
				t.Errorf("parent %v, %d links, %v", got.Parent.IsValid(), len(got.Links), got.SpanKind)
			}
		})
	}
}

func TestWithoutAProviderThereIsNoTracer(t *testing.T) {
	if tracer := New(nil, callers); tracer != nil {
		t.Errorf("%v", tracer)
	}
}

func TestOnlyFailuresOfTheServerAreErrors(t *testing.T) {
	spans := tracingtest.New()
	for status, name := range map[int]string{http.StatusForbidden: "Unset", http.StatusServiceUnavailable: "Error"} {
		_, span := New(spans, nil).Start(t.Context(), &Request{Name: name})
		End(span, status)
		if got := spans.Span(t, name).Status.Code.String(); got != name {
			t.Errorf("%d is %s", status, got)
		}
	}
}

// TestNothingThatAClientChoosesIsAnAttribute, because a key may stand in it.
func TestNothingThatAClientChoosesIsAnAttribute(t *testing.T) {
	const key = "thekey"
	r, err := http.NewRequestWithContext(t.Context(), key, "https://"+key+"/v1/auth/policy/orders/"+key+"?"+key, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("User-Agent", key)
	r.Header.Set("X-Forwarded-For", key)
	r.TLS = &tls.ConnectionState{}
	text := HTTPName(r.Method, "/v1/auth/policy/{policy}")
	for _, a := range HTTPAttributes(r, "/v1/auth/policy/{policy}") {
		text += " " + string(a.Key) + "=" + a.Value.Emit()
	}
	const want = "HTTP /v1/auth/policy/{policy} http.request.method=_OTHER http.route=/v1/auth/policy/{policy} url.scheme=https network.protocol.version=1.1"
	if text != want {
		t.Errorf("%s\nwant\n%s", text, want)
	}
	r.Method, r.TLS, r.ProtoMajor = http.MethodGet, nil, 2
	set := attribute.NewSet(HTTPAttributes(r, "/v1/auth")...)
	if got := set.Encoded(attribute.DefaultEncoder()); got != "http.request.method=GET,http.route=/v1/auth,network.protocol.version=2,url.path=/v1/auth,url.scheme=http" {
		t.Error(got)
	}
}

func TestALogLineHasTheIdsOfTheSpan(t *testing.T) {
	var log bytes.Buffer
	logger := zap.New(zapcore.NewCore(zapcore.NewJSONEncoder(zapcore.EncoderConfig{}), zapcore.AddSync(&log), zap.InfoLevel))
	ctx, span := New(tracingtest.New(), nil).Start(t.Context(), &Request{Name: "request"})
	logger.Info("", Field(ctx))
	logger.Info("", Field(t.Context()))
	ids := span.SpanContext()
	if want := `{"trace_id":"` + ids.TraceID().String() + `","span_id":"` + ids.SpanID().String() + "\"}\n{}\n"; log.String() != want {
		t.Errorf("%s, want %s", &log, want)
	}
}
