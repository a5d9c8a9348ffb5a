package connlimit

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"runtime"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// waitTimeout limits waits for something that takes milliseconds.
const waitTimeout = 10 * time.Second

// serve starts an HTTP server whose connections are limited.
func serve(t *testing.T, config Config, handler http.HandlerFunc) *Listener {
	t.Helper()
	bound, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	limited, err := New(bound, config)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(handler)
	_ = server.Listener.Close()
	server.Listener, server.Config.ConnState = limited, limited.ConnState
	server.Start()
	t.Cleanup(server.Close)
	return limited
}

// client is a connection that stays open.
type client struct {
	net.Conn
	answers *bufio.Reader
}

func connect(t *testing.T, to net.Addr) client {
	t.Helper()
	conn, err := net.Dial("tcp", to.String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	if err := conn.SetDeadline(time.Now().Add(waitTimeout)); err != nil {
		t.Fatal(err)
	}
	return client{conn, bufio.NewReader(conn)}
}

func (c client) send(t *testing.T) {
	t.Helper()
	if _, err := io.WriteString(c, "GET / HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
}

func (c client) answer() error {
	response, err := http.ReadResponse(c.answers, nil)
	if err != nil {
		return err
	}
	return response.Body.Close()
}

func (l *Listener) counts() (open, idle int) {
	l.mutex.Lock()
	defer l.mutex.Unlock()
	for e := l.conns.Front(); e != l.busy; e = e.Next() {
		idle++
	}
	return l.open, idle
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for deadline := time.Now().Add(waitTimeout); !holds(); runtime.Gosched() {
		if time.Now().After(deadline) {
			t.Fatalf("not within %v: %s", waitTimeout, what)
		}
	}
}

// TestIdleConnectionsMakeRoom: neither clients that send nothing nor those that keep a
// connection open after a request keep others out, and the first ones go first.
func TestIdleConnectionsMakeRoom(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.WarnLevel)
	limited := serve(t, Config{Limit: 4, Name: "public", Logger: zap.New(core)}, func(http.ResponseWriter, *http.Request) {})
	silent := connect(t, limited.Addr())
	eventually(t, "the silent client is connected", func() bool { _, idle := limited.counts(); return idle == 1 })
	var last client
	for i := range 20 {
		last = connect(t, limited.Addr())
		last.send(t)
		if err := last.answer(); err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
		if open, _ := limited.counts(); open > 4 {
			t.Fatalf("%d connections are open", open)
		}
	}
	if _, err := silent.Read(make([]byte, 1)); err == nil || errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("the silent client is still connected: %v", err)
	}
	last.send(t)
	if err := last.answer(); err != nil {
		t.Errorf("the newest connection: %v", err)
	}
	if evicted := testutil.ToFloat64(limited.metrics.evicted); evicted != 17 {
		t.Errorf("%v connections were evicted, want 17", evicted)
	}
	if logs.Len() != 1 {
		t.Errorf("%d log lines within a minute, want 1", logs.Len())
	}
}

// TestIdleConnectionsOfHTTP2MakeRoom: TLS wraps the connections, and HTTP/2 reports in
// another way that one is idle.
func TestIdleConnectionsOfHTTP2MakeRoom(t *testing.T) {
	t.Parallel()
	bound, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	limited, err := New(bound, Config{Limit: 2, Name: "public"})
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	_ = server.Listener.Close()
	server.Listener, server.Config.ConnState, server.EnableHTTP2 = limited, limited.ConnState, true
	server.StartTLS()
	t.Cleanup(server.Close)
	for i := range 5 {
		transport := server.Client().Transport.(*http.Transport).Clone() // a connection of its own
		t.Cleanup(transport.CloseIdleConnections)
		response, err := (&http.Client{Transport: transport, Timeout: waitTimeout}).Get(server.URL)
		if err != nil {
			t.Fatalf("client %d: %v", i, err)
		}
		_ = response.Body.Close()
		if response.ProtoMajor != 2 {
			t.Errorf("client %d uses %s", i, response.Proto)
		}
	}
	if evicted := testutil.ToFloat64(limited.metrics.evicted); evicted != 3 {
		t.Errorf("%v connections were evicted, want 3", evicted)
	}
}

// TestRequestsInProgressAreNotInterrupted: a new connection waits for one of them.
func TestRequestsInProgressAreNotInterrupted(t *testing.T) {
	t.Parallel()
	arrived, release := make(chan struct{}, 3), make(chan struct{})
	limited := serve(t, Config{Limit: 2, Name: "public"}, func(http.ResponseWriter, *http.Request) {
		arrived <- struct{}{}
		<-release
	})
	all := make([]client, 3)
	for i := range all {
		all[i] = connect(t, limited.Addr())
		all[i].send(t)
		if i < 2 {
			<-arrived
		}
	}
	eventually(t, "the third connection waits", func() bool { return testutil.ToFloat64(limited.metrics.delayed) == 1 })
	if len(arrived) > 0 {
		t.Error("the third request has begun")
	}
	close(release)
	for i, c := range all {
		if err := c.answer(); err != nil {
			t.Errorf("request %d: %v", i, err)
		}
	}
	if evicted := testutil.ToFloat64(limited.metrics.evicted); evicted != 1 {
		t.Errorf("%v connections were evicted, want the first that became idle", evicted)
	}
}

// TestCloseEndsAWaitingAccept, and leaves open connections open.
func TestCloseEndsAWaitingAccept(t *testing.T) {
	t.Parallel()
	bound, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	limited, err := New(bound, Config{Limit: 1, Name: "grpc"})
	if err != nil {
		t.Fatal(err)
	}
	first, second := connect(t, limited.Addr()), connect(t, limited.Addr())
	accepted, err := limited.Accept()
	if err != nil {
		t.Fatal(err)
	}
	ended := make(chan error)
	go func() {
		_, err := limited.Accept()
		ended <- err
	}()
	eventually(t, "the second connection waits", func() bool { return testutil.ToFloat64(limited.metrics.delayed) == 1 })
	_ = limited.Close()
	if err := <-ended; !errors.Is(err, net.ErrClosed) {
		t.Errorf("Accept: %v", err)
	}
	if _, err := second.Read(make([]byte, 1)); err == nil {
		t.Error("the connection that waited is open")
	}
	if _, err := accepted.Write([]byte("x")); err != nil {
		t.Errorf("the open connection: %v", err)
	}
	if _, err := first.Read(make([]byte, 1)); err != nil {
		t.Errorf("the open connection: %v", err)
	}
	for range 2 { // the server and its owner may both close it
		_ = accepted.Close()
	}
	if open, _ := limited.counts(); open != 0 {
		t.Errorf("%d connections count", open)
	}
}

func TestMetricsOfAListener(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	for _, name := range []string{"public", "operations"} {
		bound, err := net.Listen("tcp", "127.0.0.1:0")
		if err != nil {
			t.Fatal(err)
		}
		limited, err := New(bound, Config{Limit: 7, Name: name, Registerer: registry})
		if err != nil {
			t.Fatal(err)
		}
		_ = limited.Close()
	}
	for _, name := range []string{"keytail_connections", "keytail_connections_limit", "keytail_connections_evicted_total", "keytail_connections_delayed_total"} {
		if n, err := testutil.GatherAndCount(registry, name); err != nil || n != 2 {
			t.Errorf("%s: %d series, %v, want 2", name, n, err)
		}
	}
	if _, err := New(nil, Config{}); err == nil {
		t.Error("New without a limit: got no error")
	}
}

// TestAConnectionsStateAllocatesNothing: it changes twice in each request.
func TestAConnectionsStateAllocatesNothing(t *testing.T) {
	bound, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	limited, err := New(bound, Config{Limit: 1, Name: "public"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = limited.Close() })
	connect(t, limited.Addr())
	accepted, err := limited.Accept()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = accepted.Close() })
	if n := testing.AllocsPerRun(100, func() {
		limited.ConnState(accepted, http.StateActive)
		limited.ConnState(accepted, http.StateIdle)
	}); n != 0 {
		t.Errorf("%v allocations", n)
	}
}
