package serverspan

import (
	"context"
	"net/netip"
	"slices"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/propagation"
	"go.opentelemetry.io/otel/trace"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"

	"github.com/keytail/keytail/internal/tracing"
)

// Tracer begins spans of requests. It is safe for concurrent use. Nil: tracing is off.
type Tracer struct {
	tracer  trace.Tracer
	callers []netip.Prefix
}

// New makes a Tracer. callers are the networks of peers whose traceparent is followed. A
// nil provider makes nil.
func New(provider trace.TracerProvider, callers []netip.Prefix) *Tracer {
	if provider == nil {
		return nil
	}
	return &Tracer{provider.Tracer(tracing.Scope), callers}
}

// Request is what is known of a request when its span begins. No field may contain a key.
type Request struct {
	// Name is the name of the span, from a short list.
	Name string
	// Traceparent is the header of that name. Empty: there is none.
	Traceparent string
	// Peer is the other end of the connection. Trusted: the caller has sent a token that
	// keytail knows.
	Peer    netip.Addr
	Trusted bool
	// Began is when the request began. Zero: now.
	Began time.Time
	// Attributes are those of the span if it is recorded. Nil: none.
	Attributes func() []attribute.KeyValue
}

// Start begins the span of a request, which the caller must end.
//
// It is part of the caller's trace, sampled or not as the caller says, if the caller is
// trusted or its address is that of a known caller. Any other client could have all its
// requests recorded by one bit of a header. So its request begins a trace of its own,
// about which the sampler decides, with a link to the client's.
func (t *Tracer) Start(ctx context.Context, r *Request) (context.Context, trace.Span) {
	options := make([]trace.SpanStartOption, 0, 4)
	options = append(options, trace.WithSpanKind(trace.SpanKindServer))
	if !r.Began.IsZero() {
		options = append(options, trace.WithTimestamp(r.Began))
	}
	switch parent := parse(r.Traceparent); {
	case !parent.IsValid():
		options = append(options, trace.WithNewRoot())
	case r.Trusted || t.isCaller(r.Peer):
		ctx = trace.ContextWithRemoteSpanContext(ctx, parent)
	default:
		options = append(options, trace.WithNewRoot(), trace.WithLinks(trace.Link{SpanContext: parent}))
	}
	ctx, span := t.tracer.Start(ctx, r.Name, options...)
	if r.Attributes != nil && span.IsRecording() {
		span.SetAttributes(r.Attributes()...)
	}
	return ctx, span
}

func (t *Tracer) isCaller(peer netip.Addr) bool {
	return slices.ContainsFunc(t.callers, func(network netip.Prefix) bool { return network.Contains(peer) })
}

// parse reads a traceparent. tracestate is not read: it is a text of the client's, which
// would be exported.
func parse(traceparent string) trace.SpanContext {
	if traceparent == "" {
		return trace.SpanContext{}
	}
	ctx := propagation.TraceContext{}.Extract(context.Background(), propagation.MapCarrier{"traceparent": traceparent})
	return trace.SpanContextFromContext(ctx)
}

// End ends the span of a request with the HTTP status of its response, as the semantic
// conventions have it: only a failure of the server is an error.
func End(span trace.Span, status int) {
	if status >= 500 && span.IsRecording() {
		span.SetStatus(codes.Error, "")
	}
	span.End()
}

// TraceID is the trace id of the span of ctx. Empty: it is not sampled, so nobody could
// find it.
func TraceID(ctx context.Context) string {
	span := trace.SpanContextFromContext(ctx)
	if !span.IsSampled() {
		return ""
	}
	return span.TraceID().String()
}

// Field adds trace_id and span_id of ctx to a log line, or nothing if it has no span.
func Field(ctx context.Context) zap.Field {
	span := trace.SpanContextFromContext(ctx)
	if !span.IsValid() {
		return zap.Skip()
	}
	return zap.Inline(ids(span))
}

// ids are the ids of a span as two fields.
type ids trace.SpanContext

// MarshalLogObject implements zapcore.ObjectMarshaler.
func (i ids) MarshalLogObject(to zapcore.ObjectEncoder) error {
	span := trace.SpanContext(i)
	to.AddString("trace_id", span.TraceID().String())
	to.AddString("span_id", span.SpanID().String())
	return nil
}
