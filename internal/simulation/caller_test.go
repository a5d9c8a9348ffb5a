package simulation

import (
	"context"
	"encoding/binary"
	"fmt"

	"go.opentelemetry.io/otel/trace"
	"go.opentelemetry.io/otel/trace/noop"
)

// caller is the span of a request, or of a writer. keytail's commands for the request have it in their contexts,
// so the network can distinguish two commands that are the same and begin at the same moment: otherwise it would be
// random which of them is faster.
type caller struct {
	noop.Span
	number uint64
}

// asCaller returns a context for a request.
func asCaller(ctx context.Context, number int) context.Context {
	return trace.ContextWithSpan(ctx, caller{number: uint64(number) + 1})
}

// callerOf names the caller in a context, empty if there is none.
func callerOf(ctx context.Context) string {
	if c, ok := trace.SpanFromContext(ctx).(caller); ok {
		return fmt.Sprintf(" for #%d", int64(c.number)-1)
	}
	return ""
}

// IsRecording is true, because keytail leaves other spans out.
func (caller) IsRecording() bool { return true }

// SpanContext has the number of the request.
func (c caller) SpanContext() trace.SpanContext {
	var config trace.SpanContextConfig
	binary.BigEndian.PutUint64(config.TraceID[8:], c.number)
	config.SpanID[7], config.TraceFlags = 1, trace.FlagsSampled
	return trace.NewSpanContext(config)
}

// TracerProvider makes no span but this one.
func (c caller) TracerProvider() trace.TracerProvider { return callerTracers{caller: c} }

type callerTracers struct {
	noop.TracerProvider
	caller caller
}

func (t callerTracers) Tracer(string, ...trace.TracerOption) trace.Tracer {
	return callerTracer{caller: t.caller}
}

type callerTracer struct {
	noop.Tracer
	caller caller
}

func (t callerTracer) Start(ctx context.Context, _ string, _ ...trace.SpanStartOption) (context.Context, trace.Span) {
	return trace.ContextWithSpan(ctx, t.caller), t.caller
}
