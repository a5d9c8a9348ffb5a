package tracing

import (
	"context"

	"go.opentelemetry.io/otel/trace"
)

// HeaderTraceparent is the header of W3C Trace Context in Go's spelling.
const HeaderTraceparent = "Traceparent"

// Traceparent is the span of ctx in the form of the header. Empty: there is none.
func Traceparent(ctx context.Context) string {
	span := trace.SpanContextFromContext(ctx)
	if !span.IsValid() {
		return ""
	}
	return "00-" + span.TraceID().String() + "-" + span.SpanID().String() + "-" + (span.TraceFlags() & trace.FlagsSampled).String()
}

// Comment is the comment of a MongoDB command that reads: it names the span in ctx, so
// that the server's log of slow queries and its profiler name the trace. It has the form
// that sqlcommenter defines. Empty: no comment, because the trace is not sampled.
func Comment(ctx context.Context) string {
	if !trace.SpanContextFromContext(ctx).IsSampled() {
		return ""
	}
	return "traceparent='" + Traceparent(ctx) + "'"
}
