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

// Patience is how long a test waits for what takes milliseconds.
const Patience = 20 * time.Second

// Insert makes a key of ada's for orders in a collection, and returns its text.
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

// Revoke switches a key off in a collection.
func Revoke(t testing.TB, keys *mongo.Collection, id string) {
	t.Helper()
	if _, err := keys.UpdateByID(t.Context(), id, bson.M{"$set": bson.M{"is_active": false}}); err != nil {
		t.Fatal(err)
	}
}

// Send makes a request with a key. It ends with t, or when Patience has.
func Send(t testing.TB, method, url, key, body string) *http.Response {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), Patience)
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

// Answer is the status and the body that a request with a key gets.
func Answer(t testing.TB, method, url, key, body string) (int, string) {
	t.Helper()
	response := Send(t, method, url, key, body) //nolint:bodyclose // Send closes it
	text, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	return response.StatusCode, string(text)
}

// Stream opens a stream of orders, and returns what follows when its first order
// has come.
func Stream(t testing.TB, url, key string) io.Reader {
	t.Helper()
	response := Send(t, http.MethodGet, url+"/orders/events", key, "") //nolint:bodyclose // Send closes it
	if got := response.Header.Get("Content-Type"); response.StatusCode != http.StatusOK || !strings.HasPrefix(got, "text/event-stream") {
		t.Fatalf("the stream is %s, %s", response.Status, got)
	}
	events := bufio.NewReader(response.Body)
	if line, err := events.ReadString('\n'); line != "event:order\n" {
		t.Fatalf("the stream begins with %q: %v", line, err)
	}
	return events
}

// Rest is what a stream has until it ends. One that is cut in the middle of a write
// ends without a goodbye.
func Rest(t testing.TB, stream io.Reader) string {
	t.Helper()
	rest, err := io.ReadAll(stream)
	if err != nil && !errors.Is(err, io.ErrUnexpectedEOF) {
		t.Fatalf("the stream ends after %q with %v", rest, err)
	}
	return string(rest)
}
