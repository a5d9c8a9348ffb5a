package client

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/sony/gobreaker/v2"

	"github.com/keytail/keytail/auth"
)

// moody answers as it is told.
func moody(t testing.TB) (*fake, *atomic.Pointer[http.HandlerFunc]) {
	var mood atomic.Pointer[http.HandlerFunc]
	well := json200(yes)
	mood.Store(&well)
	return serve(t, func(w http.ResponseWriter, r *http.Request) { (*mood.Load())(w, r) }), &mood
}

func becomes(mood *atomic.Pointer[http.HandlerFunc], handle http.HandlerFunc) { mood.Store(&handle) }

func TestTheCircuitOpensAndLetsTrialsThrough(t *testing.T) {
	server, mood := moody(t)
	var log bytes.Buffer
	c := newClient(t, server.URL, func(c *Config) {
		c.BreakAfter, c.BreakFor, c.Logger = 3, 200*time.Millisecond, slog.New(slog.NewTextHandler(&log, nil))
	})
	ask := func() error { _, err := c.Validate(t.Context(), secret, auth.Request{}); return err }
	becomes(mood, says(502, "text/html", secret))
	for range 3 {
		if err := ask(); !strings.Contains(err.Error(), "answers 502") {
			t.Fatal(err)
		}
	}
	for range 10 {
		if err := ask(); !errors.Is(err, ErrUnavailable) || !strings.Contains(err.Error(), "again and again") {
			t.Fatal(err)
		}
	}
	if n := len(server.seen()); n != 3 {
		t.Errorf("asked %d times", n)
	}
	eventually(t, "a trial is made", func() bool { _ = ask(); return len(server.seen()) == 4 })
	if err := ask(); !strings.Contains(err.Error(), "again and again") {
		t.Errorf("after a trial that failed: %v", err)
	}
	becomes(mood, json200(yes))
	eventually(t, "a trial goes well", func() bool { return ask() == nil })
	if err := ask(); err != nil {
		t.Error(err)
	}
	if text := log.String(); strings.Count(text, "keytail is away") != 1 || !strings.Contains(text, "answers 502") || strings.Count(text, "keytail is back") != 1 || strings.Contains(text, secret) {
		t.Errorf("logged %s", text)
	}
}

// TestWhatDoesNotOpenTheCircuit: a daemon that answers is there, and others may ask
// it. Nobody opens it for all by his own key, request or impatience.
func TestWhatDoesNotOpenTheCircuit(t *testing.T) {
	const problemType = "application/problem+json"
	gone := func(ctx context.Context) (context.Context, context.CancelFunc) { return context.WithCancel(ctx) }
	for name, test := range map[string]struct {
		handle http.HandlerFunc
		ctx    func(context.Context) (context.Context, context.CancelFunc)
	}{
		"unavailable": {says(503, problemType, `{"code":"UNAVAILABLE"}`), nil},
		"token":       {says(401, problemType, `{"code":"UNAUTHENTICATED"}`), nil},
		"request":     {says(400, problemType, `{"code":"BAD_REQUEST"}`), nil},
		"a bug":       {says(500, problemType, `{"code":"INTERNAL_ERROR"}`), nil},
		"a no":        {json200(`{"valid":false,"code":"NOT_FOUND"}`), nil},
		"gone":        {json200(yes), gone},
		"hasty": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 10*time.Millisecond)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			server, mood := moody(t)
			c := newClient(t, server.URL, func(c *Config) { c.BreakAfter = 2 })
			becomes(mood, test.handle)
			for range 5 {
				ctx, cancel := t.Context(), func() {}
				if test.ctx != nil {
					ctx, cancel = test.ctx(ctx)
				}
				if name == "gone" {
					cancel()
				}
				_, err := c.Validate(ctx, secret, auth.Request{})
				if test.ctx != nil && (!errors.Is(err, ErrUnavailable) || !errors.Is(err, ctx.Err())) {
					t.Errorf("whoever has gone is told %v", err)
				}
				cancel()
			}
			if state := c.circuit.State(); state != gobreaker.StateClosed {
				t.Fatalf("the circuit is %v", state)
			}
			becomes(mood, json200(yes))
			if _, err := c.Validate(t.Context(), secret, auth.Request{}); err != nil {
				t.Error(err)
			}
		})
	}
}

// TestWhoHasWaitedLongEnoughCounts: a daemon that swallows everything must not look
// well because nobody waits for it to the end.
func TestWhoHasWaitedLongEnoughCounts(t *testing.T) {
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c := newClient(t, server.URL, func(c *Config) { c.BreakAfter, c.Timeout = 1, 100*time.Millisecond })
	ctx, cancel := context.WithTimeout(t.Context(), 70*time.Millisecond)
	defer cancel()
	if _, err := c.Validate(ctx, secret, auth.Request{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if state := c.circuit.State(); state != gobreaker.StateOpen {
		t.Errorf("the circuit is %v", state)
	}
}

// TestAWrongTokenIsLoggedOnce in a while.
func TestAWrongTokenIsLoggedOnce(t *testing.T) {
	server := serve(t, says(401, "application/problem+json", `{"code":"UNAUTHENTICATED"}`))
	var log bytes.Buffer
	c := newClient(t, server.URL, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	for range 5 {
		_, _ = c.Validate(t.Context(), secret, auth.Request{})
	}
	if text := log.String(); strings.Count(text, "caller token") != 1 || strings.Contains(text, callerToken) || strings.Contains(text, secret) {
		t.Errorf("logged %s", text)
	}
}

// TestWhoHasGoneProvesNothing: neither that the daemon is well, nor that it is not.
func TestWhoHasGoneProvesNothing(t *testing.T) {
	server, mood := moody(t)
	c := newClient(t, server.URL, func(c *Config) { c.BreakAfter, c.BreakFor = 2, 50*time.Millisecond })
	gone, cancel := context.WithCancel(t.Context())
	cancel()
	becomes(mood, says(502, "text/html", ""))
	for _, ctx := range []context.Context{t.Context(), gone, t.Context()} {
		_, _ = c.Validate(ctx, secret, auth.Request{})
	}
	if state := c.circuit.State(); state != gobreaker.StateOpen {
		t.Fatalf("the circuit is %v after two failures", state)
	}
	eventually(t, "a trial may be made", func() bool { return c.circuit.State() == gobreaker.StateHalfOpen })
	for range 3 {
		_, _ = c.Validate(gone, secret, auth.Request{})
	}
	if state := c.circuit.State(); state != gobreaker.StateHalfOpen {
		t.Fatalf("the circuit is %v, and nobody has answered", state)
	}
	becomes(mood, json200(yes))
	if _, err := c.Validate(t.Context(), secret, auth.Request{}); err != nil || c.circuit.State() != gobreaker.StateClosed {
		t.Errorf("%v, the circuit is %v", err, c.circuit.State())
	}
}
