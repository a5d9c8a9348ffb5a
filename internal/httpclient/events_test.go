package httpclient

import (
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var errEnough = errors.New("enough")

// newClient makes a client of a server with this handler.
func newClient(t *testing.T, handle http.HandlerFunc) *Client {
	t.Helper()
	server := httptest.NewServer(handle)
	t.Cleanup(server.Close)
	c, err := New(Config{URL: server.URL, Token: "0123456789abcdef"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}

func TestListenIsOneConnection(t *testing.T) {
	var requests, opened int
	c := newClient(t, func(w http.ResponseWriter, r *http.Request) {
		requests++
		if r.Header.Get("Last-Event-ID") != "0" || r.Header.Get("Authorization") != "Bearer 0123456789abcdef" {
			t.Errorf("%v", r.Header)
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "id: 1\nevent: invalidation\ndata: {}\n\nid: 2\nevent: loss\ndata: {}\n\n")
	})
	var ids []string
	err := c.Listen(t.Context(), "0", func() { opened++ }, func(e Event) error {
		ids = append(ids, e.ID+string(e.Kind))
		return nil
	})
	if !errors.Is(err, ErrEnded) || fmt.Sprint(ids) != "[1invalidation 2loss]" || opened != 1 || requests != 1 {
		t.Errorf("%v, %v, opened %d times", ids, err, opened)
	}
	err = c.Listen(t.Context(), "0", func() {}, func(Event) error { return errEnough })
	if !errors.Is(err, errEnough) {
		t.Error(err)
	}
}

// TestErrorsNameNoFlag: programs that embed a client have no flags.
func TestErrorsNameNoFlag(t *testing.T) {
	c, err := New(Config{URL: "http://127.0.0.1:1"})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	none := func(Event) error { return nil }
	if err := c.Listen(t.Context(), "", func() {}, none); err == nil || strings.Contains(err.Error(), "--") {
		t.Error(err)
	}
	refused := newClient(t, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusUnauthorized) })
	if err := refused.Listen(t.Context(), "", func() {}, none); err == nil || strings.Contains(err.Error(), "--") {
		t.Error(err)
	}
}
