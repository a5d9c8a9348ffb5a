package tracing

import (
	"context"
	"time"

	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	"go.opentelemetry.io/otel/trace"

	"github.com/keytail/keytail/internal/apikey"
)

// Scope is the name of the instrumentation, which spans have as their scope.
const Scope = "github.com/keytail/keytail"

// The attributes of spans, see docs/tracing.md.
const (
	Code        = attribute.Key("keytail.code")
	Source      = attribute.Key("keytail.source")
	StalenessMS = attribute.Key("keytail.staleness_ms")
	Revision    = attribute.Key("keytail.revision")

	ReadKind   = attribute.Key("keytail.read.kind")
	ReadResult = attribute.Key("keytail.read.result")

	StreamResumed = attribute.Key("keytail.stream.resumed")
	ScanKind      = attribute.Key("keytail.scan.kind")
	UsageKeys     = attribute.Key("keytail.usage.keys")

	// ErrorType is error.type of OpenTelemetry's semantic conventions: a word from a short
	// list, and not the text of an error.
	ErrorType = attribute.Key("error.type")
)

// The names of spans and events.
const (
	SpanRead       = "keytail.read"
	SpanStreamOpen = "keytail.stream.open"
	SpanScan       = "keytail.scan"
	SpanUsage      = "keytail.usage.flush"

	// EventReadShared is on the span of a request that shares the read of another one.
	EventReadShared = "keytail.read.shared"
)

// Span is the span of ctx. It records nothing unless its IsRecording is true.
func Span(ctx context.Context) trace.Span { return trace.SpanFromContext(ctx) }

// Start begins a span below the one in ctx. If that is not recorded, it returns ctx and a
// span that records nothing.
func Start(ctx context.Context, name string) (context.Context, trace.Span) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return ctx, nothing
	}
	return parent.TracerProvider().Tracer(Scope).Start(ctx, name)
}

// nothing records nothing. (A span that is not recorded must not be ended by others
// than its owner, so Start does not return the parent.)
var nothing = trace.SpanFromContext(context.Background())

// Verdict is what Describe notes of an answer.
type Verdict struct {
	Code string
	// HasData: the answer rests on data of this source, staleness and revision.
	HasData   bool
	Source    string
	Staleness time.Duration
	Revision  string
}

// Describe notes an answer on a span that is recorded.
func Describe(span trace.Span, v Verdict) {
	span.SetAttributes(Code.String(v.Code))
	if v.HasData {
		span.SetAttributes(Source.String(v.Source), StalenessMS.Int64(apikey.StalenessMS(v.Staleness)), Revision.String(v.Revision))
	}
}

// Fail marks a span as failed. class is a word from a short list.
func Fail(span trace.Span, class string) {
	if span.IsRecording() {
		span.SetStatus(codes.Error, "")
		span.SetAttributes(ErrorType.String(class))
	}
}

// Detach returns a context for work that does not end with ctx and belongs to its span.
func Detach(ctx context.Context) context.Context {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return context.Background()
	}
	return trace.ContextWithSpan(context.Background(), span)
}

// Share notes on the span of ctx that it shares the read of this kind, which belongs to
// the span of first: with an event, and a link if the traces are different.
func Share(ctx context.Context, kind string, first context.Context) {
	span := trace.SpanFromContext(ctx)
	if !span.IsRecording() {
		return
	}
	span.AddEvent(EventReadShared, trace.WithAttributes(ReadKind.String(kind)))
	if owner := trace.SpanContextFromContext(first); owner.IsSampled() && owner.TraceID() != span.SpanContext().TraceID() {
		span.AddLink(trace.Link{SpanContext: owner})
	}
}
