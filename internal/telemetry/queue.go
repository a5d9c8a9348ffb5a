package telemetry

import (
	"context"
	"os"
	"strconv"
	"sync/atomic"
	"time"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/lograte"
)

// queue is the SDK's batch processor, with a count of the spans that are not exported, which
// the SDK keeps to itself. No span ever waits for an export.
type queue struct {
	sdktrace.SpanProcessor
	metrics *metrics
	logger  *zap.Logger
	// size is how many spans may wait, with those that are being exported; waiting is how
	// many do. The processor has room for as many, so it drops none itself.
	size    int64
	waiting atomic.Int64
	// full limits the log lines about a queue that is full.
	full lograte.Limiter
}

// queueSize is the SDK's own variable with its own default, because both must agree.
func queueSize() int {
	if n, err := strconv.Atoi(os.Getenv(envQueueSize)); err == nil && n > 0 {
		return n
	}
	return sdktrace.DefaultMaxQueueSize
}

func newQueue(to sdktrace.SpanExporter, size int, m *metrics, logger *zap.Logger) *queue {
	q := &queue{metrics: m, logger: logger, size: int64(size)}
	q.SpanProcessor = sdktrace.NewBatchSpanProcessor(&exporter{SpanExporter: to, queue: q}, sdktrace.WithMaxQueueSize(size))
	return q
}

// OnEnd implements sdktrace.SpanProcessor: a span that finds the queue full is dropped.
func (q *queue) OnEnd(span sdktrace.ReadOnlySpan) {
	if !span.SpanContext().IsSampled() {
		return
	}
	if q.waiting.Add(1) <= q.size {
		q.SpanProcessor.OnEnd(span)
		return
	}
	q.waiting.Add(-1)
	q.metrics.dropped[droppedFull].Inc()
	if skipped, ok := q.full.Allow(time.Now()); ok {
		q.logger.Warn("spans are dropped because they end faster than they can be exported: sample fewer (OTEL_TRACES_SAMPLER=parentbased_traceidratio, OTEL_TRACES_SAMPLER_ARG), or look at the collector",
			zap.Int("dropped_since_last_line", skipped+1))
	}
}

// exporter counts what the next exporter takes, and logs when it begins to fail and when
// it succeeds again.
type exporter struct {
	sdktrace.SpanExporter
	queue *queue
	// failed is when exports began to fail. Zero: the last one succeeded. The processor
	// exports one batch at a time.
	failed time.Time
}

// ExportSpans implements sdktrace.SpanExporter. It returns nil for an error that is logged
// here.
func (e *exporter) ExportSpans(ctx context.Context, spans []sdktrace.ReadOnlySpan) error {
	err := e.SpanExporter.ExportSpans(ctx, spans)
	q := e.queue
	q.waiting.Add(-int64(len(spans)))
	if err == nil {
		q.metrics.exported.Add(float64(len(spans)))
		if !e.failed.IsZero() {
			q.logger.Info("spans are exported again", zap.Duration("failed_for", time.Since(e.failed)))
			e.failed = time.Time{}
		}
		return nil
	}
	q.metrics.dropped[droppedFailed].Add(float64(len(spans)))
	if e.failed.IsZero() {
		e.failed = time.Now()
		q.logger.Warn("spans cannot be exported and are dropped, answers do not depend on it: look at the collector and at OTEL_EXPORTER_OTLP_ENDPOINT", zap.String("error", errorText(err)))
	}
	return nil
}
