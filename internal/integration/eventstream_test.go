package integration

import (
	"bufio"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/integration/testkit"
)

// eventStream is a client of server-sent events.
type eventStream struct {
	t     *testing.T
	lines *bufio.Scanner
}

// follow opens the event stream of a handler on a real server.
func follow(t *testing.T, handler http.Handler) *eventStream {
	t.Helper()
	server := httptest.NewServer(handler)
	t.Cleanup(server.Close)
	client := &http.Client{Timeout: testkit.WaitTimeout}
	t.Cleanup(client.CloseIdleConnections)
	response, err := client.Get(server.URL + "/v1/events")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("got status %d, %s", response.StatusCode, response.Header.Get("Content-Type"))
	}
	return &eventStream{t, bufio.NewScanner(response.Body)}
}

// next returns kind and data of the next event.
func (s *eventStream) next() (kind, data string, ok bool) {
	for s.lines.Scan() {
		line := s.lines.Text()
		if value, found := strings.CutPrefix(line, "event: "); found {
			kind = value
		}
		if value, found := strings.CutPrefix(line, "data: "); found {
			return kind, value, true
		}
	}
	return "", "", false
}

func (s *eventStream) expect(kind, data string) {
	s.t.Helper()
	gotKind, gotData, ok := s.next()
	if !ok || gotKind != kind || !strings.HasPrefix(gotData, data) {
		s.t.Fatalf("got %s %s (%v), want %s %s", gotKind, gotData, ok, kind, data)
	}
}

// until skips events up to this one.
func (s *eventStream) until(kind, data string) {
	s.t.Helper()
	for {
		gotKind, gotData, ok := s.next()
		if !ok {
			s.t.Fatalf("the stream ended (%v) before %s %s", s.lines.Err(), kind, data)
		}
		if gotKind == kind && strings.HasPrefix(gotData, data) {
			return
		}
	}
}

// ends checks that the stream ends soon, without another event.
func (s *eventStream) ends() {
	s.t.Helper()
	began := time.Now()
	for {
		if _, _, ok := s.next(); !ok {
			break
		}
	}
	if err := s.lines.Err(); err != nil || time.Since(began) > 5*time.Second {
		s.t.Errorf("the stream ended after %v with %v", time.Since(began), err)
	}
}
