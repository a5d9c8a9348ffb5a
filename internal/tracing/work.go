package tracing

import (
	"context"

	"go.opentelemetry.io/otel/trace"
)

type tracerKey struct{}

// WithWork returns a context for goroutines that no request waits for, in which StartWork
// begins traces with this provider. Nil: StartWork begins none, and ctx is returned.
func WithWork(ctx context.Context, provider trace.TracerProvider) context.Context {
	if provider == nil {
		return ctx
	}
	return context.WithValue(ctx, tracerKey{}, provider.Tracer(Scope))
}

// StartWork begins a trace for work that no request waits for. Without WithWork, it
// returns ctx and a span that records nothing.
func StartWork(ctx context.Context, name string) (context.Context, trace.Span) {
	tracer, ok := ctx.Value(tracerKey{}).(trace.Tracer)
	if !ok {
		return ctx, nothing
	}
	return tracer.Start(ctx, name, trace.WithNewRoot())
}
