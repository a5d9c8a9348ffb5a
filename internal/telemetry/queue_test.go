package telemetry

import (
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	sdktrace "go.opentelemetry.io/otel/sdk/trace"
)

// rig is a queue of this size with an exporter that the test controls.
func rig(t *testing.T, size int) (*fakeExporter, *metrics, *sdktrace.TracerProvider, func() []string) {
	t.Helper()
	t.Setenv("OTEL_BSP_SCHEDULE_DELAY", "1")
	m, err := newMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	logger, logs := observed()
	to := newFakeExporter()
	provider := sdktrace.NewTracerProvider(sdktrace.WithSpanProcessor(newQueue(to, size, m, logger)))
	return to, m, provider, func() []string {
		var lines []string
		for _, entry := range logs.All() {
			lines = append(lines, entry.Level.String()+" "+entry.Message)
		}
		return lines
	}
}

// TestASlowExporterDelaysNothing: what does not fit is dropped, counted, and logged once.
func TestASlowExporterDelaysNothing(t *testing.T) {
	const size, ended = 10, 25
	to, m, provider, lines := rig(t, size)
	tracer := provider.Tracer("test")
	for range ended { // would hang if a span waited for the exporter
		_, span := tracer.Start(t.Context(), "request")
		span.End()
	}
	if n := testutil.ToFloat64(m.dropped[droppedFull]); n != ended-size {
		t.Errorf("%v spans were dropped, want %d", n, ended-size)
	}
	if got := lines(); len(got) != 1 || !strings.Contains(got[0], "warn spans are dropped because") {
		t.Errorf("the log has %q", got)
	}
	close(to.release)
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
	if n := testutil.ToFloat64(m.exported); n != size || to.took != size {
		t.Errorf("%v spans were exported and counted, %d were taken, want %d", n, to.took, size)
	}
}

// TestTheQueueHasRoomAgainAfterAnExport, also after one that failed.
func TestTheQueueHasRoomAgainAfterAnExport(t *testing.T) {
	to, m, provider, lines := rig(t, 1)
	tracer := provider.Tracer("test")
	end := func() {
		_, span := tracer.Start(t.Context(), "request")
		span.End()
		<-to.begun
		to.release <- struct{}{}
		if err := provider.ForceFlush(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	to.fail(true)
	end()
	end()
	to.fail(false)
	end()
	end()
	if full, failed, exported := testutil.ToFloat64(m.dropped[droppedFull]), testutil.ToFloat64(m.dropped[droppedFailed]), testutil.ToFloat64(m.exported); full != 0 || failed != 2 || exported != 2 {
		t.Errorf("%v found no room, %v failed, %v were exported, want 0, 2, 2", full, failed, exported)
	}
	// An outage of the collector is two lines, however many exports fail.
	if got := lines(); len(got) != 2 || !strings.HasPrefix(got[0], "warn spans cannot be exported") || got[1] != "info spans are exported again" {
		t.Errorf("the log has %q", got)
	}
	close(to.release)
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
}

func TestASpanThatIsNotSampledIsNotCounted(t *testing.T) {
	m, err := newMetrics(nil)
	if err != nil {
		t.Fatal(err)
	}
	logger, _ := observed()
	q := newQueue(newFakeExporter(), 1, m, logger)
	provider := sdktrace.NewTracerProvider(sdktrace.WithSampler(recordOnly{}), sdktrace.WithSpanProcessor(q))
	for range 3 {
		_, span := provider.Tracer("test").Start(t.Context(), "request")
		span.End()
	}
	if n := testutil.ToFloat64(m.dropped[droppedFull]); n != 0 {
		t.Errorf("%v were dropped", n)
	}
	if err := provider.Shutdown(t.Context()); err != nil {
		t.Fatal(err)
	}
}

// recordOnly records spans that are not to be exported.
type recordOnly struct{}

func (recordOnly) ShouldSample(sdktrace.SamplingParameters) sdktrace.SamplingResult {
	return sdktrace.SamplingResult{Decision: sdktrace.RecordOnly}
}
func (recordOnly) Description() string { return "record only" }
