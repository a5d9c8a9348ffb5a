package preload

import (
	"context"

	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/tracing"
)

// scan makes one scan with a span.
func (p *Loader) scan(ctx context.Context, kind keycache.ScanKind) error {
	ctx, span := tracing.StartWork(ctx, tracing.SpanScan)
	defer span.End()
	span.SetAttributes(tracing.ScanKind.String(scanKindText(kind)))
	err := p.scanAll(ctx, kind)
	if err != nil {
		tracing.Fail(span, resultOf(err))
	}
	return err
}

// scanKindText is the kind of a scan for spans.
func scanKindText(kind keycache.ScanKind) string {
	switch kind {
	case keycache.ScanInPlace:
		return "audit"
	case keycache.ScanAside:
		return "rebuild"
	case keycache.ScanIntoEmpty:
	}
	return "fill"
}
