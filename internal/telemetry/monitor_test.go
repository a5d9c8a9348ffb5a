package telemetry

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.opentelemetry.io/otel/attribute"
	semconv "go.opentelemetry.io/otel/semconv/v1.43.0"
	"go.opentelemetry.io/otel/trace"

	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/tracing/tracingtest"
)

// TestSpansOfCommands have the names of the semantic conventions, and nothing of the
// command's or an error's values.
func TestSpansOfCommands(t *testing.T) { mongotest.Each(t, testSpansOfCommands) }

func testSpansOfCommands(t *testing.T, server *mongotest.Server) {
	client := server.Connect(t, server.Options("").SetMonitor(newMonitor()))
	keys := client.Database(server.Database(t)).Collection("api_keys")
	unique := mongo.IndexModel{Keys: bson.D{{Key: "key_hash", Value: 1}}, Options: options.Index().SetUnique(true)}
	if _, err := keys.Indexes().CreateOne(t.Context(), unique); err != nil {
		t.Fatal(err)
	}
	const secret = "a-hash-of-a-key"
	spans := tracingtest.New()
	ctx, span := spans.Begin(t.Context(), "request")
	if err := insert(ctx, keys, secret); err != nil {
		t.Fatal(err)
	}
	if err := insert(ctx, keys, secret); !mongo.IsDuplicateKeyError(err) {
		t.Fatalf("the second one: %v", err)
	}
	var found bson.Raw
	if err := keys.FindOne(ctx, bson.D{{Key: "key_hash", Value: secret}}).Decode(&found); err != nil {
		t.Fatal(err)
	}
	var refused mongo.CommandError
	err := keys.FindOne(ctx, bson.D{{Key: "key_hash", Value: bson.D{{Key: "$" + secret, Value: 1}}}}).Err()
	if !errors.As(err, &refused) || !strings.Contains(refused.Message, secret) {
		t.Fatalf("the server was to quote the value: %v", err)
	}
	// A command without a span has none: it is the heartbeat's, or that of a request that is
	// not traced.
	if err := insert(t.Context(), keys, "another"); err != nil {
		t.Fatal(err)
	}
	span.End()

	var lines []string
	for _, s := range spans.Spans() {
		if s.Name == "request" {
			continue
		}
		if s.SpanKind != trace.SpanKindClient || s.Parent.SpanID() != span.SpanContext().SpanID() || tracingtest.Value(s, "server.address") == "" || tracingtest.Value(s, "server.port") == "" {
			t.Errorf("%s: %v\n%s", s.Name, s.SpanKind, tracingtest.Text(spans.Spans()))
		}
		lines = append(lines, strings.TrimSpace(s.Name+" "+tracingtest.Value(s, "db.system.name")+" "+tracingtest.Value(s, "db.collection.name")+" "+tracingtest.Value(s, "db.response.status_code")))
	}
	want := []string{
		// The error of a write is in a reply that is successful for the driver.
		"insert api_keys mongodb api_keys", "insert api_keys mongodb api_keys",
		"find api_keys mongodb api_keys", "find api_keys mongodb api_keys " + strconv.Itoa(int(refused.Code)),
	}
	if !slices.Equal(lines, want) {
		t.Errorf("the spans are %q, want %q", lines, want)
	}
	if text := tracingtest.Text(spans.Spans()); strings.Contains(text, secret) {
		t.Errorf("a value is in a span:\n%s", text)
	}
}

// TestTheServerOfACommand is named for every kind of address.
func TestTheServerOfACommand(t *testing.T) {
	t.Parallel()
	for connection, want := range map[string][]attribute.KeyValue{
		"mongo1:27017[-13]":           {semconv.ServerAddress("mongo1"), semconv.ServerPort(27017)},
		"[2001:db8::7]:27018[-2]":     {semconv.ServerAddress("2001:db8::7"), semconv.ServerPort(27018)},
		"/tmp/mongodb-27017.sock[-1]": {semconv.ServerAddress("/tmp/mongodb-27017.sock")},
	} {
		got := attributesOf(&event.CommandStartedEvent{CommandName: "ping", DatabaseName: "keys", ConnectionID: connection}, "")
		if !slices.Equal(got[3:], want) {
			t.Errorf("%s: %v, want %v", connection, got[3:], want)
		}
	}
}

func insert(ctx context.Context, keys *mongo.Collection, hash string) error {
	_, err := keys.InsertOne(ctx, bson.D{{Key: "key_hash", Value: hash}})
	return err
}
