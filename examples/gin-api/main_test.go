package main

import (
	"bufio"
	"context"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

// patience is how long the test waits for what takes milliseconds.
const patience = 20 * time.Second

// insert makes a key of ada's, and returns its text.
func insert(t *testing.T, keys *mongo.Collection, id string) string {
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

// stream opens a stream, and returns when its first order has come.
func stream(t *testing.T, url, key string) io.Reader {
	t.Helper()
	events := bufio.NewReader(send(t, http.MethodGet, url+"/orders/events", key, "").Body)
	if line, err := events.ReadString('\n'); line != "event:order\n" {
		t.Fatalf("the stream begins with %q: %v", line, err)
	}
	return events
}

// TestSmoke runs the service on an embedded MongoDB, revokes a key there under an
// open stream, and stops the service under another.
func TestSmoke(t *testing.T) {
	d := mongotest.StartDevmongo(t, devmongo.Config{})
	keys := mongotest.CreateAPIKeys(t, d.Client(t).Database("app"))
	lost, kept := insert(t, keys, "lost"), insert(t, keys, "kept")
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	url := "http://" + listener.Addr().String()
	ctx, stop := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, d.URI, listener, 2*time.Second) }()
	ready := func(want int) {
		t.Helper()
		mongotest.Eventually(t, patience, func() bool { got, _ := answer(t, http.MethodGet, url+"/readyz", "", ""); return got == want }, "/readyz does not say ", want)
	}
	ready(http.StatusOK)

	if status, body := answer(t, http.MethodPost, url+"/orders", lost, `{"item":"tea"}`); status != http.StatusCreated {
		t.Fatalf("a good key: %d %s", status, body)
	}
	cut, uncut := stream(t, url, lost), stream(t, url, kept)
	if _, err := keys.UpdateByID(t.Context(), "lost", bson.M{"$set": bson.M{"is_active": false}}); err != nil {
		t.Fatal(err)
	}
	acknowledged := time.Now()
	if rest, err := io.ReadAll(cut); err != nil {
		t.Errorf("the stream breaks after %q: %v", rest, err)
	}
	t.Logf("the stream of a revoked key ended %v after the revocation was acknowledged", time.Since(acknowledged))
	if status, body := answer(t, http.MethodGet, url+"/orders", lost, ""); status != http.StatusUnauthorized || !strings.Contains(body, `"DISABLED"`) {
		t.Errorf("a revoked key: %d %s", status, body)
	}

	stop()
	ready(http.StatusServiceUnavailable)
	if status, body := answer(t, http.MethodPost, url+"/orders", kept, `{"item":"last order"}`); status != http.StatusCreated {
		t.Errorf("while it drains: %d %s", status, body)
	}
	began := time.Now()
	if err := <-ended; err != nil || time.Since(began) > lastRequests {
		t.Errorf("it stopped after %v with %v", time.Since(began), err)
	}
	if rest, err := io.ReadAll(uncut); err != nil || !strings.Contains(string(rest), "last order") {
		t.Errorf("the other stream ends with %q, %v", rest, err)
	}
}

func TestWhatIsMissingIsSaid(t *testing.T) {
	d := mongotest.StartDevmongo(t, devmongo.Config{})
	if err := run(t.Context(), d.URI, nil, 0); err == nil || !strings.Contains(err.Error(), `no collection "api_keys"`) {
		t.Errorf("without keys: %v", err)
	}
}
