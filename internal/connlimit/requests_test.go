package connlimit

import (
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

// serveHTTP2 starts a server with the limit 2 for connections and requests.
func serveHTTP2(t *testing.T, logger *zap.Logger, handler http.HandlerFunc) (*httptest.Server, *Listener) {
	t.Helper()
	bound, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	limited, err := New(bound, Config{Limit: 2, Name: "public", Logger: logger})
	if err != nil {
		t.Fatal(err)
	}
	busy := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusServiceUnavailable) }
	server := httptest.NewUnstartedServer(limited.LimitRequests(handler, http.HandlerFunc(busy)))
	_ = server.Listener.Close()
	server.Listener, server.Config.ConnState, server.EnableHTTP2 = limited, limited.ConnState, true
	server.StartTLS()
	t.Cleanup(server.Close)
	return server, limited
}

// TestHalfSentRequestsOfHTTP2AreBounded: one connection could have a hundred, and all
// connections together more than the memory has space for.
func TestHalfSentRequestsOfHTTP2AreBounded(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.WarnLevel)
	arrived := make(chan struct{}, 2)
	server, limited := serveHTTP2(t, zap.New(core), func(_ http.ResponseWriter, r *http.Request) {
		arrived <- struct{}{}
		_, _ = io.Copy(io.Discard, r.Body)
	})
	client := server.Client()
	client.Timeout = waitTimeout
	statuses := make(chan int, 2)
	var bodies []*io.PipeWriter
	for range 2 {
		body, send := io.Pipe()
		bodies = append(bodies, send)
		go func() { statuses <- post(t, client, server.URL, body) }()
		<-arrived
	}
	for range 3 {
		if status := post(t, client, server.URL, strings.NewReader("x")); status != http.StatusServiceUnavailable {
			t.Errorf("one more request gets %d", status)
		}
	}
	for _, send := range bodies {
		_ = send.Close()
		if status := <-statuses; status != http.StatusOK {
			t.Errorf("a request in progress gets %d", status)
		}
	}
	// A client can have the headers of its response before the request has ended.
	eventually(t, "no request is in progress", func() bool { return limited.requests.Load() == 0 })
	if status := post(t, client, server.URL, strings.NewReader("x")); status != http.StatusOK {
		t.Errorf("afterwards a request gets %d", status)
	}
	if n := testutil.ToFloat64(limited.metrics.busy); n != 3 || logs.Len() != 1 {
		t.Errorf("%v refusals were counted, and %d lines written, want 3 and 1", n, logs.Len())
	}
}

// post returns the status of a response over HTTP/2.
func post(t *testing.T, client *http.Client, url string, body io.Reader) int {
	t.Helper()
	response, err := client.Post(url, "text/plain", body)
	if err != nil {
		t.Error(err)
		return 0
	}
	_ = response.Body.Close()
	if response.ProtoMajor != 2 {
		t.Errorf("the response is %s", response.Proto)
	}
	return response.StatusCode
}

// TestAPanicEndsItsRequest: an aborted request is not counted for ever.
func TestAPanicEndsItsRequest(t *testing.T) {
	t.Parallel()
	limited := &Listener{config: Config{Limit: 1}}
	handler := limited.LimitRequests(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { panic(http.ErrAbortHandler) }), http.NotFoundHandler())
	func() {
		defer func() { _ = recover() }()
		handler.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/", nil))
	}()
	if n := limited.requests.Load(); n != 0 {
		t.Errorf("%d requests are counted", n)
	}
}
