package telemetry

import (
	"context"
	"errors"
	"net"
	"strconv"
	"sync"

	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver"
	"go.opentelemetry.io/otel/attribute"
	"go.opentelemetry.io/otel/codes"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/keytail/keytail/internal/mongoclient"
	"github.com/keytail/keytail/internal/tracing"
)

// monitor makes a span of each MongoDB command that is sent for a span. Commands without one
// have none either: the heartbeats and the requests of the change stream, of which there
// are some each second.
//
// It records neither commands nor the texts of errors, which contain hashes of keys. That is
// why it is not contrib's otelmongo, which records the errors.
type monitor struct {
	// running maps the id of a request (int64) to its span.
	running sync.Map
}

// Monitor is for the MongoDB client. Nil: tracing is off.
func (t *Telemetry) Monitor() *event.CommandMonitor {
	if t.sdk == nil {
		return nil
	}
	return newMonitor()
}

func newMonitor() *event.CommandMonitor {
	m := &monitor{}
	return &event.CommandMonitor{
		Started:   m.started,
		Succeeded: func(_ context.Context, e *event.CommandSucceededEvent) { m.finished(e.RequestID, nil) },
		Failed:    func(_ context.Context, e *event.CommandFailedEvent) { m.finished(e.RequestID, e.Failure) },
	}
}

func (m *monitor) started(ctx context.Context, e *event.CommandStartedEvent) {
	parent := trace.SpanFromContext(ctx)
	if !parent.IsRecording() {
		return
	}
	collection := collectionOf(e)
	name := e.CommandName
	if collection != "" {
		name += " " + collection
	}
	_, span := parent.TracerProvider().Tracer(tracing.Scope).Start(ctx, name, trace.WithSpanKind(trace.SpanKindClient))
	if span.IsRecording() {
		span.SetAttributes(attributesOf(e, collection)...)
	}
	m.running.Store(e.RequestID, span)
}

func attributesOf(e *event.CommandStartedEvent, collection string) []attribute.KeyValue {
	all := []attribute.KeyValue{semconv.DBSystemNameMongoDB, semconv.DBOperationName(e.CommandName), semconv.DBNamespace(e.DatabaseName)}
	if collection != "" {
		all = append(all, semconv.DBCollectionName(collection))
	}
	address := mongoclient.AddressOf(e.ConnectionID)
	host, port, err := net.SplitHostPort(address)
	if err != nil { // a Unix socket
		return append(all, semconv.ServerAddress(address))
	}
	all = append(all, semconv.ServerAddress(host))
	if n, err := strconv.Atoi(port); err == nil {
		all = append(all, semconv.ServerPort(n))
	}
	return all
}

// collectionOf is the collection of a command: its first value, or that of the cursor.
func collectionOf(e *event.CommandStartedEvent) string {
	field := e.CommandName
	if field == "getMore" {
		field = "collection"
	}
	name, _ := e.Command.Lookup(field).StringValueOK()
	return name
}

func (m *monitor) finished(id int64, failure error) {
	running, found := m.running.LoadAndDelete(id)
	if !found {
		return
	}
	span := running.(trace.Span)
	defer span.End()
	if failure == nil || !span.IsRecording() {
		return
	}
	span.SetStatus(codes.Error, "")
	class := "network"
	var server driver.Error
	switch {
	case errors.As(failure, &server) && server.Code != 0:
		class = strconv.Itoa(int(server.Code))
		span.SetAttributes(semconv.DBResponseStatusCode(class))
	case errors.Is(failure, context.DeadlineExceeded):
		class = "timeout"
	case errors.Is(failure, context.Canceled):
		class = "canceled"
	}
	span.SetAttributes(tracing.ErrorType.String(class))
}
