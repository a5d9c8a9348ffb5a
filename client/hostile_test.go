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
	"github.com/keytail/keytail/internal/revocation"
)

// switching is a daemon that answers 101, and then nothing. asked has a token for
// each question.
func switching(t *testing.T) (url string, asked <-chan struct{}) {
	t.Helper()
	hold, questions := make(chan struct{}), make(chan struct{}, 16)
	server := serve(t, func(w http.ResponseWriter, _ *http.Request) {
		conn, _, err := w.(http.Hijacker).Hijack()
		if err != nil {
			t.Error(err)
			return
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		questions <- struct{}{}
		<-hold
	})
	t.Cleanup(func() { close(hold) })
	return server.URL, questions
}

// TestA101IsNoAnswer: its body is the connection, which no context ends. Each
// request would keep its place for ever.
func TestA101IsNoAnswer(t *testing.T) {
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
		t.Error("Validate goes on past its Timeout")
	}
}

// TestA101IsNoStream: events are asked for again.
func TestA101IsNoStream(t *testing.T) {
	url, asked := switching(t)
	c := newClient(t, url)
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	for range 2 {
		select {
		case <-asked:
		case <-time.After(patience):
			t.Fatal("it listens to a connection that says nothing")
		}
	}
	cancel()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

// TestNobodyPrintsTheToken: neither a configuration nor a client, whatever prints it.
func TestNobodyPrintsTheToken(t *testing.T) {
	config := Config{URL: "http://user:" + callerToken + "@127.0.0.1:1", Token: callerToken}
	right := config
	right.URL = "http://127.0.0.1:1"
	c := newClient(t, right.URL)
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
	if text := fmt.Sprintf("%+v", right); !strings.Contains(text, right.URL) {
		t.Error(text)
	}
}

// TestWhoForgetsRunIsTold: keys are watched, and nobody would hear of a revocation.
func TestWhoForgetsRunIsTold(t *testing.T) {
	for _, running := range []bool{false, true} {
		var log strings.Builder
		server := serve(t, json200(yes))
		c := newClient(t, server.URL, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
		c.running.Store(running)
		ask := func() {
			if _, err := c.Validate(t.Context(), secret, auth.Request{}); err != nil {
				t.Fatal(err)
			}
		}
		ask()
		if log.Len() > 0 {
			t.Errorf("nobody watches: %s", &log)
		}
		w := c.Watches().Add(revocation.Entry{KeyID: "k"})
		defer w.Stop()
		ask()
		ask()
		if told := strings.Count(log.String(), "Run does not run"); running && told != 0 || !running && told != 1 {
			t.Errorf("running is %v: told %d times", running, told)
		}
	}
}
