package tracing_test

import (
	"context"
	"testing"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"

	"github.com/keytail/keytail/internal/tracing"
	"github.com/keytail/keytail/internal/tracing/tracingtest"
)

// TestWithoutASpanNothingIsAllocated: it is the case of every request of a daemon without
// tracing.
func TestWithoutASpanNothingIsAllocated(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	n := testing.AllocsPerRun(1000, func() {
		inner, span := tracing.Start(ctx, tracing.SpanRead)
		if span.IsRecording() || tracing.Comment(inner) != "" || tracing.Traceparent(inner) != "" {
			t.Error("there is a span")
		}
		tracing.Fail(span, "timeout")
		tracing.Share(inner, "fill", ctx)
		tracing.Detach(inner)
		_, work := tracing.StartWork(inner, tracing.SpanScan)
		work.End()
		span.End()
	})
	if n != 0 {
		t.Errorf("%v allocations, want none", n)
	}
}

func TestTheCommentNamesTheSpanIfItIsSampled(t *testing.T) {
	for _, sampled := range []bool{true, false} {
		sampler := sdktrace.NeverSample()
		if sampled {
			sampler = sdktrace.AlwaysSample()
		}
		ctx, span := tracingtest.New(sdktrace.WithSampler(sampler)).Begin(t.Context(), "request")
		ids := span.SpanContext().TraceID().String() + "-" + span.SpanContext().SpanID().String()
		want := map[bool]string{true: "traceparent='00-" + ids + "-01'", false: ""}[sampled]
		if got := tracing.Comment(ctx); got != want {
			t.Errorf("sampled %v: %q, want %q", sampled, got, want)
		}
		flags := map[bool]string{true: "-01", false: "-00"}[sampled]
		if got := tracing.Traceparent(ctx); got != "00-"+ids+flags {
			t.Errorf("sampled %v: traceparent %q", sampled, got)
		}
	}
}

func TestDetachedWorkBelongsToTheSpanAndDoesNotEnd(t *testing.T) {
	r := tracingtest.New()
	ctx, span := r.Begin(t.Context(), "request")
	ctx, cancel := context.WithCancel(ctx)
	detached := tracing.Detach(ctx)
	cancel()
	if detached.Err() != nil || tracing.Span(detached) != span {
		t.Errorf("%v, or another span", detached.Err())
	}
}

func TestAReadOfAnotherTraceIsLinked(t *testing.T) {
	r := tracingtest.New()
	first, owner := r.Begin(t.Context(), "first")
	ctx, span := r.Begin(t.Context(), "second")
	tracing.Share(ctx, "fill", first)
	same, child := r.Begin(first, "third")
	tracing.Share(same, "fill", first)
	span.End()
	child.End()
	shared := r.Span(t, "second")
	if len(shared.Links) != 1 || shared.Links[0].SpanContext.SpanID() != owner.SpanContext().SpanID() || len(shared.Events) != 1 || shared.Events[0].Name != tracing.EventReadShared {
		t.Errorf("want a link to the first one, and an event:\n%s", tracingtest.Text(r.Spans()))
	}
	if third := r.Span(t, "third"); len(third.Links) != 0 || len(third.Events) != 1 {
		t.Errorf("within one trace there is an event and no link:\n%s", tracingtest.Text(r.Spans()))
	}
}

func TestWorkIsATraceOfItsOwn(t *testing.T) {
	r := tracingtest.New()
	ctx, outer := r.Begin(tracing.WithWork(t.Context(), r), "outer")
	_, span := tracing.StartWork(ctx, tracing.SpanScan)
	span.End()
	if got := r.Span(t, tracing.SpanScan); got.Parent.IsValid() || got.SpanContext.TraceID() == outer.SpanContext().TraceID() {
		t.Errorf("it has a parent: %s", tracingtest.Text(r.Spans()))
	}
	if ctx := t.Context(); tracing.WithWork(ctx, nil) != ctx {
		t.Error("without a provider, the context is another one")
	}
}

func TestAnAnswerWithoutDataHasItsCodeOnly(t *testing.T) {
	r := tracingtest.New()
	for name, verdict := range map[string]tracing.Verdict{
		"with":    {Code: "VALID", HasData: true, Source: "cache", Staleness: 1500 * time.Microsecond, Revision: "01"},
		"without": {Code: "MISSING", Source: "none"},
	} {
		_, span := r.Begin(t.Context(), name)
		tracing.Describe(span, verdict)
		span.End()
	}
	with := r.Span(t, "with")
	for key, want := range map[string]string{"keytail.code": "VALID", "keytail.source": "cache", "keytail.staleness_ms": "2", "keytail.revision": "01"} {
		found := false
		for _, a := range with.Attributes {
			found = found || string(a.Key) == key && a.Value.Emit() == want
		}
		if !found {
			t.Errorf("no %s=%s:\n%s", key, want, tracingtest.Text(r.Spans()))
		}
	}
	if got := r.Span(t, "without").Attributes; len(got) != 1 {
		t.Errorf("%v, want the code", got)
	}
}
