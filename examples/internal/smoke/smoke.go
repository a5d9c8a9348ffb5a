// Package smoke is a client of the orders' API, for the tests of the examples.
package smoke

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/apikey"
)

// Timeout limits waits of tests that usually take milliseconds.
const Timeout = 20 * time.Second

// Insert inserts a key of the user ada for orders into a collection, and returns its text.
func Insert(t testing.TB, keys *mongo.Collection, id string) string {
	t.Helper()
	text, err := apikey.Generate(apikey.DefaultPrefix, nil)
	if err != nil {
		t.Fatal(err)
	}
	document := bson.M{"_id": id, "key_hash": apikey.HashOf(text).Hex(), "is_active": true, "user_id": "ada", "scopes": bson.A{"orders:*"}}
	if _, err := keys.InsertOne(t.Context(), document); err != nil {
		t.Fatal(err)
	}
	return text
}

// Revoke disables a key in a collection.
func Revoke(t testing.TB, keys *mongo.Collection, id string) {
	t.Helper()
	if _, err := keys.UpdateByID(t.Context(), id, bson.M{"$set": bson.M{"is_active": false}}); err != nil {
		t.Fatal(err)
	}
}

// Send sends a request with a key. The response is closed when t ends.
func Send(t testing.TB, method, url, key, body string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Timeout)
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+key)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// Answer sends a request with a key, and returns the status and the body of the response.
func Answer(t testing.TB, method, url, key, body string) (int, string) {
	t.Helper()
	response := Send(t, method, url, key, body) //nolint:bodyclose // Send closes it
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// Stream opens a stream of orders, and returns it after the event line of its first order.
func Stream(t testing.TB, url, key string) io.Reader {
	t.Helper()
	response := Send(t, http.MethodGet, url+"/orders/events", key, "") //nolint:bodyclose // Send closes it
	if got := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || !strings.HasPrefix(got, "text/event-stream") {
		t.Fatalf("the stream got %s, %s", response.Status, got)
	}
	events := bufio.NewReader(response.Body)
	if line, err := events.ReadString('\n'); line != "event:order\n" {
		t.Fatalf("the stream starts with %q: %v", line, err)
	}
	return events
}

// Rest reads a stream until it ends. A cancelled stream may end without the last chunk.
func Rest(t testing.TB, stream io.Reader) string {
	t.Helper()
	rest, err := io.ReadAll(stream)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("the stream ends after %q with %v", rest, err)
	}
	return string(rest)
}
