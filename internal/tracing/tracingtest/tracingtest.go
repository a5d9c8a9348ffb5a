// Package tracingtest records spans for tests.
package tracingtest

import (
	"context"
	"fmt"
	"strings"
	"testing"

	"go.opentelemetry.io/otel/attribute"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.opentelemetry.io/otel/sdk/trace/tracetest"
	"go.opentelemetry.io/otel/trace"
)

// Recorder records every span that has ended.
type Recorder struct {
	*sdktrace.TracerProvider
	ended *tracetest.SpanRecorder
}

// New makes a Recorder. Options may set another sampler than that of the SDK.
func New(options ...sdktrace.TracerProviderOption) *Recorder {
	ended := tracetest.NewSpanRecorder()
	options = append([]sdktrace.TracerProviderOption{sdktrace.WithSampler(sdktrace.AlwaysSample())}, options...)
	return &Recorder{sdktrace.NewTracerProvider(append(options, sdktrace.WithSpanProcessor(ended))...), ended}
}

// Begin begins a span of a caller.
func (r *Recorder) Begin(ctx context.Context, name string) (context.Context, trace.Span) {
	return r.Tracer("test").Start(ctx, name)
}

// Spans are the spans that have ended.
func (r *Recorder) Spans() tracetest.SpanStubs {
	return tracetest.SpanStubsFromReadOnlySpans(r.ended.Ended())
}

// Span is the only span of this name that has ended.
func (r *Recorder) Span(t testing.TB, name string) tracetest.SpanStub {
	t.Helper()
	var found []tracetest.SpanStub
	for _, span := range r.Spans() {
		if span.Name == name {
			found = append(found, span)
		}
	}
	if len(found) != 1 {
		t.Fatalf("%d spans %q have ended, want one:\n%s", len(found), name, Text(r.Spans()))
	}
	return found[0]
}

// Value is an attribute of a span as a text. Empty: there is none.
func Value(span tracetest.SpanStub, key attribute.Key) string {
	for _, a := range span.Attributes {
		if a.Key == key {
			return a.Value.Emit()
		}
	}
	return ""
}

// Text is everything that a span can export, one span a line.
func Text(spans tracetest.SpanStubs) string {
	var b strings.Builder
	for _, s := range spans {
		fmt.Fprintf(&b, "%s %s parent=%s state=%s", s.Name, traceparent(s.SpanContext), s.Parent.SpanID(), s.SpanContext.TraceState())
		fmt.Fprintf(&b, " status=%s %q", s.Status.Code, s.Status.Description)
		writeAttributes(&b, s.Attributes)
		for _, e := range s.Events {
			fmt.Fprintf(&b, " event=%s", e.Name)
			writeAttributes(&b, e.Attributes)
		}
		for _, l := range s.Links {
			fmt.Fprintf(&b, " link=%s state=%s", traceparent(l.SpanContext), l.SpanContext.TraceState())
			writeAttributes(&b, l.Attributes)
		}
		b.WriteByte('\n')
	}
	return b.String()
}

func traceparent(s trace.SpanContext) string { return s.TraceID().String() + "-" + s.SpanID().String() }

func writeAttributes(b *strings.Builder, all []attribute.KeyValue) {
	for _, a := range all {
		fmt.Fprintf(b, " %s=%s", a.Key, a.Value.Emit())
	}
}
