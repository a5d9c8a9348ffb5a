package telemetry

import (
	"context"
	"errors"
	"sync"
	"testing"

	sdktrace "go.opentelemetry.io/otel/sdk/trace"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/mongotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(mongotest.Main(m)) }

// observed is a logger whose lines a test can read.
func observed() (*zap.Logger, *observer.ObservedLogs) {
	core, logs := observer.New(zap.InfoLevel)
	return zap.New(core), logs
}

// fakeExporter waits in each export until the test lets it go, and then fails or not.
type fakeExporter struct {
	mutex   sync.Mutex
	err     error
	took    int
	begun   chan struct{} // gets a value when an export begins
	release chan struct{} // an export takes a value before it ends; closed: none waits
}

func newFakeExporter() *fakeExporter {
	return &fakeExporter{begun: make(chan struct{}, 1000), release: make(chan struct{})}
}

func (f *fakeExporter) ExportSpans(_ context.Context, spans []sdktrace.ReadOnlySpan) error {
	f.begun <- struct{}{}
	<-f.release
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.took += len(spans)
	return f.err
}

func (*fakeExporter) Shutdown(context.Context) error { return nil }

func (f *fakeExporter) fail(with bool) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.err = nil
	if with {
		f.err = errors.New("no collector")
	}
}
