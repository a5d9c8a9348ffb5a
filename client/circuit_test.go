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

// switchable starts a fakeDaemon whose handler can be replaced; at first it accepts
// every key.
func switchable(t testing.TB) (*fakeDaemon, *atomic.Pointer[http.HandlerFunc]) {
	var handler atomic.Pointer[http.HandlerFunc]
	accept := json200(validBody)
	handler.Store(&accept)
	return serve(t, func(w http.ResponseWriter, r *http.Request) { (*handler.Load())(w, r) }), &handler
}

func replace(handler *atomic.Pointer[http.HandlerFunc], by http.HandlerFunc) { handler.Store(&by) }

func TestCircuitOpensAndSendsTrials(t *testing.T) {
	server, handler := switchable(t)
	var log bytes.Buffer
	c := newClient(t, server.URL, func(c *Config) {
		c.BreakAfter, c.BreakFor, c.Logger = 3, 200*time.Millisecond, slog.New(slog.NewTextHandler(&log, nil))
	})
	validate := func() error { _, err := c.Validate(t.Context(), secret, auth.Request{}); return err }
	replace(handler, respondWith(502, "text/html", secret))
	for range 3 {
		if err := validate(); !strings.Contains(err.Error(), "status 502") {
			t.Fatal(err)
		}
	}
	for range 10 {
		if err := validate(); !errors.Is(err, auth.ErrUnavailable) || !strings.Contains(err.Error(), "repeatedly") {
			t.Fatal(err)
		}
	}
	if n := len(server.requests()); n != 3 {
		t.Errorf("%d requests", n)
	}
	eventually(t, "a trial request", func() bool { _ = validate(); return len(server.requests()) == 4 })
	if err := validate(); !strings.Contains(err.Error(), "repeatedly") {
		t.Errorf("after a failed trial: %v", err)
	}
	replace(handler, json200(validBody))
	eventually(t, "a successful trial", func() bool { return validate() == nil })
	if err := validate(); err != nil {
		t.Error(err)
	}
	if text := log.String(); strings.Count(text, "keytail is unreachable") != 1 || !strings.Contains(text, "status 502") || strings.Count(text, "keytail is reachable again") != 1 || strings.Contains(text, secret) {
		t.Errorf("logged %s", text)
	}
}

// A daemon that responds is reachable. No caller can open the circuit breaker for all
// others through its key, its request or its cancellation.
func TestFailuresThatDoNotOpenTheCircuit(t *testing.T) {
	const problemType = "application/problem+json"
	cancelled := func(ctx context.Context) (context.Context, context.CancelFunc) { return context.WithCancel(ctx) }
	for name, test := range map[string]struct {
		handle http.HandlerFunc
		ctx    func(context.Context) (context.Context, context.CancelFunc)
	}{
		"newer daemon":   {json200(strings.Replace(validBody, `"org_id":null`, `"org_id":"o"`, 1)), nil},
		"unavailable":    {respondWith(503, problemType, `{"code":"UNAVAILABLE"}`), nil},
		"token":          {respondWith(401, problemType, `{"code":"UNAUTHENTICATED"}`), nil},
		"request":        {respondWith(400, problemType, `{"code":"BAD_REQUEST"}`), nil},
		"internal error": {respondWith(500, problemType, `{"code":"INTERNAL_ERROR"}`), nil},
		"not found":      {json200(`{"valid":false,"code":"NOT_FOUND"}`), nil},
		"cancelled":      {json200(validBody), cancelled},
		"short deadline": {func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }, func(ctx context.Context) (context.Context, context.CancelFunc) {
			return context.WithTimeout(ctx, 10*time.Millisecond)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			server, handler := switchable(t)
			c := newClient(t, server.URL, func(c *Config) { c.BreakAfter = 2 })
			replace(handler, test.handle)
			for range 5 {
				ctx, cancel := t.Context(), func() {}
				if test.ctx != nil {
					ctx, cancel = test.ctx(ctx)
				}
				if name == "cancelled" {
					cancel()
				}
				verdict, err := c.Validate(ctx, secret, auth.Request{RequireOrg: true})
				if verdict.Code == auth.Valid {
					t.Errorf("%+v", verdict)
				}
				if test.ctx != nil && (!errors.Is(err, auth.ErrUnavailable) || !errors.Is(err, ctx.Err())) {
					t.Errorf("error after cancellation: %v", err)
				}
				cancel()
			}
			if state := c.circuit.State(); state != gobreaker.StateClosed {
				t.Fatalf("the circuit breaker is %v", state)
			}
			replace(handler, json200(validBody))
			if _, err := c.Validate(t.Context(), secret, auth.Request{}); err != nil {
				t.Error(err)
			}
		})
	}
}

// A daemon that never responds must not look reachable because all callers give up
// first.
func TestCancellationAfterHalfOfTimeoutCounts(t *testing.T) {
	server := serve(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	c := newClient(t, server.URL, func(c *Config) { c.BreakAfter, c.Timeout = 1, 100*time.Millisecond })
	ctx, cancel := context.WithTimeout(t.Context(), 70*time.Millisecond)
	defer cancel()
	if _, err := c.Validate(ctx, secret, auth.Request{}); !errors.Is(err, context.DeadlineExceeded) {
		t.Error(err)
	}
	if state := c.circuit.State(); state != gobreaker.StateOpen {
		t.Errorf("the circuit breaker is %v", state)
	}
}

func TestRefusedTokenIsLoggedOnce(t *testing.T) {
	server := serve(t, respondWith(401, "application/problem+json", `{"code":"UNAUTHENTICATED"}`))
	var log bytes.Buffer
	c := newClient(t, server.URL, func(c *Config) { c.Logger = slog.New(slog.NewTextHandler(&log, nil)) })
	for range 5 {
		_, _ = c.Validate(t.Context(), secret, auth.Request{})
	}
	if text := log.String(); strings.Count(text, "caller token") != 1 || strings.Contains(text, callerToken) || strings.Contains(text, secret) {
		t.Errorf("logged %s", text)
	}
}

// A cancelled call shows neither that the daemon is reachable nor that it is not.
func TestCancelledCallsDoNotChangeTheCircuit(t *testing.T) {
	server, handler := switchable(t)
	c := newClient(t, server.URL, func(c *Config) { c.BreakAfter, c.BreakFor = 2, 50*time.Millisecond })
	cancelled, cancel := context.WithCancel(t.Context())
	cancel()
	replace(handler, respondWith(502, "text/html", ""))
	for _, ctx := range []context.Context{t.Context(), cancelled, t.Context()} {
		_, _ = c.Validate(ctx, secret, auth.Request{})
	}
	if state := c.circuit.State(); state != gobreaker.StateOpen {
		t.Fatalf("the circuit breaker is %v after two failures", state)
	}
	eventually(t, "half-open circuit breaker", func() bool { return c.circuit.State() == gobreaker.StateHalfOpen })
	for range 3 {
		_, _ = c.Validate(cancelled, secret, auth.Request{})
	}
	if state := c.circuit.State(); state != gobreaker.StateHalfOpen {
		t.Fatalf("the circuit breaker is %v without a response", state)
	}
	replace(handler, json200(validBody))
	if _, err := c.Validate(t.Context(), secret, auth.Request{}); err != nil || c.circuit.State() != gobreaker.StateClosed {
		t.Errorf("%v, the circuit breaker is %v", err, c.circuit.State())
	}
}
