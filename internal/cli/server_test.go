package cli

import (
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/connlimit"
)

// TestRequestsAreLimitedLikeConnections: with HTTP/2 a connection has many requests.
func TestRequestsAreLimitedLikeConnections(t *testing.T) {
	bound, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = bound.Close() }()
	limited, err := connlimit.New(bound, connlimit.Config{Limit: 1})
	if err != nil {
		t.Fatal(err)
	}
	l := listener{Listener: bound, limit: limited, name: "public"}
	arrived, release := make(chan struct{}), make(chan struct{})
	if err := l.handle(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { arrived <- struct{}{}; <-release }), zap.NewNop(), nil); err != nil {
		t.Fatal(err)
	}
	server := l.server.(*http.Server)
	ended := make(chan struct{})
	go func() {
		server.Handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodPost, "/", nil))
		close(ended)
	}()
	<-arrived
	w := httptest.NewRecorder()
	server.Handler.ServeHTTP(w, httptest.NewRequest(http.MethodPost, "/", nil))
	if w.Code != http.StatusServiceUnavailable || !strings.Contains(w.Body.String(), "TOO_MANY_WAITING") || w.Header().Get("Retry-After") != "1" {
		t.Errorf("a second request gets %d %s", w.Code, w.Body)
	}
	if server.HTTP2 == nil || server.HTTP2.MaxConcurrentStreams != maxStreams {
		t.Error("the requests on one connection have no limit of their own")
	}
	close(release)
	<-ended
}
