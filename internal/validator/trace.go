package validator

import (
	"context"

	"go.opentelemetry.io/otel/trace"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/tracing"
)

// describe notes the verdict on the span of the request.
func describe(ctx context.Context, verdict *apikey.Verdict) {
	if span := tracing.Span(ctx); span.IsRecording() {
		tracing.Describe(span, tracing.Verdict{
			Code: verdict.Code.String(), Source: verdict.Source.String(), HasData: !verdict.AsOf.IsZero(),
			Staleness: verdict.Staleness, Revision: clustertime.Time(verdict.Revision).String(),
		})
	}
}

// describeRead notes on the span of a read what was found.
func describeRead(span trace.Span, kind readKind, found bool, err error) {
	if !span.IsRecording() {
		return
	}
	span.SetAttributes(tracing.ReadKind.String(string(kind)), tracing.ReadResult.String(readResultOf(found, err)))
	if err != nil {
		tracing.Fail(span, outageReason(err))
	}
}

// joined counts a caller that shares the read of the first one, and notes it on the
// span of its request.
func (v *Validator) joined(kind readKind) func(ctx, first context.Context) {
	return func(ctx, first context.Context) {
		v.metrics.join(kind)
		tracing.Share(ctx, string(kind), first)
	}
}
