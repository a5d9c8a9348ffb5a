package changestream

import (
	"cmp"
	"context"

	"github.com/keytail/keytail/internal/tracing"
)

// openTraced is open with a span: what it does, and how long a resume takes, is of
// interest after each outage. The requests of the open stream have none, one would begin
// every few seconds.
func (t *Tail) openTraced(ctx context.Context) (*stream, error) {
	ctx, span := tracing.StartWork(ctx, tracing.SpanStreamOpen)
	defer span.End()
	span.SetAttributes(tracing.StreamResumed.Bool(t.token != nil))
	s, err := t.open(ctx)
	if err != nil {
		failure, _ := describe(err)
		tracing.Fail(span, cmp.Or(failure.code, failedOther))
	}
	return s, err
}
