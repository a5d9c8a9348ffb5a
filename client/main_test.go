package client

import (
	"context"
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/routes"
)

func TestMain(m *testing.M) {
	routes.UseReleaseMode()
	goleak.VerifyTestMain(mongotest.Main(m), leaksOfToxiproxy()...)
}

// leaksOfToxiproxy are goroutines that toxiproxy 2.5.0 leaks when a toxic closes a link
// while the previous toxic still has data.
func leaksOfToxiproxy() []goleak.Option {
	return []goleak.Option{
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2/toxics.(*ToxicStub).Run"),
		goleak.IgnoreAnyFunction("github.com/Shopify/toxiproxy/v2.(*ToxicLink).read"),
	}
}

const (
	// patience is how long a test waits for something that takes milliseconds.
	patience = 20 * time.Second
	// secret is a key, and callerToken a token, that no error or log may contain.
	secret      = "kt_secret-that-nobody-may-see"
	callerToken = "0123456789abcdef-caller"
)

const validBody = `{"valid":true,"code":"VALID","key_id":"k","user_id":"u","org_id":null,"project_id":null,"name":"n","scopes":["a","b:*"],
	"expires_at":"2027-01-02T03:04:05.6Z","metadata":{"x":[1]},"source":"cache","as_of":"2026-11-23T20:00:00.120Z","staleness_ms":412,"revision":"6923a1c000000003"}`

// receivedRequest is a request as the daemon received it.
type receivedRequest struct {
	uri, body string
	header    http.Header
}

// fakeDaemon records its requests.
type fakeDaemon struct {
	*httptest.Server
	mu       sync.Mutex
	received []receivedRequest
}

// serve starts a fakeDaemon whose responses come from a handler.
func serve(t testing.TB, handle http.HandlerFunc) *fakeDaemon {
	t.Helper()
	f := &fakeDaemon{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		f.mu.Lock()
		f.received = append(f.received, receivedRequest{r.Method + " " + r.RequestURI, string(body), r.Header.Clone()})
		f.mu.Unlock()
		handle(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fakeDaemon) requests() []receivedRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]receivedRequest(nil), f.received...)
}

// respondWith is a handler that always sends the same response.
func respondWith(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func json200(body string) http.HandlerFunc {
	return respondWith(http.StatusOK, "application/json", body)
}

func newClient(t testing.TB, url string, change ...func(*Config)) *Client {
	t.Helper()
	config := Config{URL: url, Token: callerToken}
	for _, f := range change {
		f(&config)
	}
	c, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

// eventually waits for a condition.
func eventually(t testing.TB, what string, is func() bool) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), patience)
	defer cancel()
	ticker := time.NewTicker(5 * time.Millisecond)
	defer ticker.Stop()
	for !is() {
		select {
		case <-ctx.Done():
			t.Fatal("timeout: ", what)
		case <-ticker.C:
		}
	}
}
