package client

import (
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/auth"
)

// switching starts a daemon that responds with 101 and sends nothing more. requests has
// an item for each request.
func switching(t *testing.T) (url string, requests <-chan struct{}) {
	t.Helper()
	hold, received := make(chan struct{}), make(chan struct{}, 16)
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		received <- struct{}{}
		<-hold
	})
	t.Cleanup(func() { close(hold) })
	return server.URL, received
}

// The body of a 101 is the connection, which does not end with the context. Without a
// check each request would stay in progress forever.
func TestStatus101IsNotAVerdict(t *testing.T) {
	url, _ := switching(t)
	c := newClient(t, url, func(c *Config) { c.Timeout, c.MaxConnections, c.MaxInFlight = patience/2, 1, 1 })
	done := make(chan error, 1)
	go func() {
		_, err := c.Validate(context.Background(), secret, auth.Request{})
		done <- err
	}()
	select {
	case err := <-done:
		if !errors.Is(err, auth.ErrUnavailable) || !strings.Contains(err.Error(), "101") {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Error("Validate has not returned after Timeout")
	}
}

// The client connects again.
func TestStatus101IsNotAnEventStream(t *testing.T) {
	url, requests := switching(t)
	c := newClient(t, url)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	for range 2 {
		select {
		case <-requests:
		case <-time.After(patience):
			t.Fatal("the client waits for events of a connection with status 101")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestNoFormatVerbPrintsTheToken(t *testing.T) {
	config := Config{URL: "http://user:" + callerToken + "@127.0.0.1:1", Token: callerToken}
	valid := config
	valid.URL = "http://127.0.0.1:1"
	c := newClient(t, valid.URL)
	for _, thing := range []any{c, config, &config, struct{ C *Client }{c}, struct{ C Config }{config}} {
		for _, verb := range []string{"%v", "%+v", "%#v", "%s", "%q", "%x", "%d"} {
			if text := fmt.Sprintf(verb, thing); strings.Contains(text, callerToken) || strings.Contains(text, hex.EncodeToString([]byte(callerToken))) {
				t.Errorf("%T with %s: %s", thing, verb, text)
			}
		}
		var log strings.Builder
		slog.New(slog.NewJSONHandler(&log, nil)).Info("a client", "thing", thing)
		slog.New(slog.NewTextHandler(&log, nil)).Info("a client", "thing", thing)
		if _, nested := thing.(struct{ C Config }); !nested && strings.Contains(log.String(), callerToken) {
			t.Errorf("%T in a log: %s", thing, &log)
		}
	}
	if text := fmt.Sprintf("%+v", valid); !strings.Contains(text, valid.URL) {
		t.Error(text)
	}
}

// Without Run no revocation ends a watch.
func TestWatchWithoutRunIsLogged(t *testing.T) {
	for _, running := range []bool{false, true} {
		var log strings.Builder
		server := serve(t, json200(validBody))
		c := newClient(t, server.URL, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		c.running.Store(running)
		validate := func() {
			if _, err := c.Validate(t.Context(), secret, auth.Request{}); err != nil {
				t.Fatal(err)
			}
		}
		validate()
		if log.Len() > 0 {
			t.Errorf("logged without a watch: %s", &log)
		}
		w := c.Watch(auth.WatchRequest{KeyID: "k"})
		defer w.Stop()
		validate()
		validate()
		if n := strings.Count(log.String(), "Run was not called"); running && n != 0 || !running && n != 1 {
			t.Errorf("running is %v: logged %d times", running, n)
		}
	}
}
