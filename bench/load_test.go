package main

import (
	"context"
	"net"
	"net/http"
	"testing"
	"time"

	authv3 "github.com/envoyproxy/go-control-plane/envoy/service/auth/v3"
)

// TestEverySenderSendsOnce: a busy machine may start a sender only when the time for it has passed. Without
// any request a rate is zero, and what is relative to it is not a number.
func TestEverySenderSendsOnce(t *testing.T) {
	const senders = 3
	keys, err := generateKeys(10)
	if err != nil {
		t.Fatal(err)
	}
	address, stop, err := listen(t.Context(), http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer stop()
	overHTTP, err := newGenerator(address, authRequest, keys, senders)
	if err != nil {
		t.Fatal(err)
	}
	overGRPC := newTestChecker(t, keys, senders)
	for name, run := range map[string]func(context.Context, time.Duration) (*load, error){"HTTP": overHTTP.run, "gRPC": overGRPC.run} {
		l, err := run(t.Context(), 0)
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		if n := l.latency.TotalCount(); n != senders || l.perSecond <= 0 {
			t.Errorf("%s: %d requests, %v a second, want one of each of %d senders", name, n, l.perSecond, senders)
		}
	}
	if took, err := timePerCall(keys, 2, 0, func(string) bool { return true }); err != nil || !(took > 0 && took < float64(time.Minute)) {
		t.Errorf("a call takes %v ns, %v", took, err)
	}
}

// newTestChecker is a checker, with a stream for each of its connections, of a server that allows everything.
func newTestChecker(t *testing.T, keys []string, connections int) *checker {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := constantServer(&authv3.CheckResponse{})
	done := make(chan struct{})
	go func() { defer close(done); _ = server.Serve(listener) }()
	t.Cleanup(func() { server.Stop(); <-done })
	c, err := newChecker(listener.Addr().String(), keys, connections, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.close)
	return c
}
