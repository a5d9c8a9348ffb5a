package auth_test

import (
	"bufio"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/apikey"
)

// protocols are those that the server uses.
var protocols = []string{"HTTP/1.1", "HTTP/1.1 over TLS", "HTTP/2"}

// testServer is a handler behind the middleware on a real server.
type testServer struct {
	*httptest.Server
	keys *keys
}

func serve(t *testing.T, f framework, protocol string, handler http.HandlerFunc, opts ...auth.Option) *testServer {
	t.Helper()
	k := newKeys(t)
	k.put("k")
	s := &testServer{httptest.NewUnstartedServer(f.serve(k, handler, []string{"read"}, append(opts, auth.CancelOnRevocation())...)), k}
	s.EnableHTTP2 = protocol == "HTTP/2"
	if protocol == "HTTP/1.1" {
		s.Start()
	} else {
		s.StartTLS()
	}
	t.Cleanup(s.Close)
	return s
}

func (s *testServer) get(t *testing.T) *http.Response {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), http.MethodGet, s.URL, nil)
	if err != nil {
		t.Fatal(err)
	}
	r.Header.Set("X-Api-Key", "k")
	response, err := s.Client().Do(r)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return response
}

func forEachProtocol(t *testing.T, test func(t *testing.T, f framework, protocol string)) {
	t.Helper()
	forEachFramework(t, func(t *testing.T, f framework) {
		for _, protocol := range protocols {
			t.Run(protocol, func(t *testing.T) { test(t, f, protocol) })
		}
	})
}

func wait[T any](t *testing.T, from <-chan T, what string) T {
	t.Helper()
	select {
	case value := <-from:
		return value
	case <-time.After(patience):
		t.Fatal("timeout: ", what)
		panic("unreachable")
	}
}

// The context is cancelled with the cause, and later writes fail.
func TestRevocationCancelsAStream(t *testing.T) {
	forEachProtocol(t, func(t *testing.T, f framework, protocol string) {
		causes := make(chan error, 2)
		s := serve(t, f, protocol, func(w http.ResponseWriter, r *http.Request) {
			w.(http.Flusher).Flush()
			_, _ = io.WriteString(w, "data: 1\n\n")
			if err := http.NewResponseController(w).Flush(); err != nil && r.Context().Err() == nil {
				t.Error(err)
			}
			<-r.Context().Done()
			causes <- context.Cause(r.Context())
			_, err := io.WriteString(w, "data: 2\n\n")
			causes <- err
			w.WriteHeader(http.StatusTeapot)
		})
		response := s.get(t)
		line, err := bufio.NewReader(response.Body).ReadString('\n')
		if err != nil || line != "data: 1\n" {
			t.Fatalf("%q, %v", line, err)
		}
		s.keys.put("k", revoked)
		for range 2 {
			var why *auth.RevokedError
			if err := wait(t, causes, "the cause"); !errors.As(err, &why) || why.Code != auth.Disabled {
				t.Errorf("cause %v", err)
			}
		}
		if rest, err := io.ReadAll(response.Body); err != nil || len(rest) != 0 {
			t.Errorf("after the revocation: %q, %v", rest, err)
		}
	})
}

// The handler gets nothing that comes after the revocation, and a read in progress ends.
func TestRevocationCancelsAnUpload(t *testing.T) {
	forEachProtocol(t, func(t *testing.T, f framework, protocol string) {
		lines, ends := make(chan string, 8), make(chan error, 2)
		s := serve(t, f, protocol, func(_ http.ResponseWriter, r *http.Request) {
			scanner := bufio.NewScanner(r.Body)
			for scanner.Scan() {
				lines <- scanner.Text()
			}
			ends <- scanner.Err()
			_, err := r.Body.Read(make([]byte, 1))
			ends <- err
		})
		body, client := io.Pipe()
		defer client.Close()
		r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, body)
		if err != nil {
			t.Fatal(err)
		}
		r.Header.Set("X-Api-Key", "k")
		statuses := make(chan int, 1)
		go func() {
			response, err := s.Client().Do(r)
			if err != nil {
				statuses <- 0 // the test may have ended
				return
			}
			response.Body.Close()
			statuses <- response.StatusCode
		}()
		_, _ = io.WriteString(client, "one\n")
		wait(t, lines, "the first line")
		s.keys.put("k", revoked)
		for range 2 {
			var why *auth.RevokedError
			if err := wait(t, ends, "the end"); !errors.As(err, &why) || why.Code != auth.Disabled {
				t.Errorf("cause %v", err)
			}
		}
		if status := wait(t, statuses, "the response"); status != http.StatusUnauthorized {
			t.Errorf("the client got %d", status)
		}
	})
}

func TestRevocationFailsWrites(t *testing.T) {
	forEachProtocol(t, func(t *testing.T, f framework, protocol string) {
		done := make(chan error, 1)
		s := serve(t, f, protocol, func(w http.ResponseWriter, _ *http.Request) {
			for {
				if _, err := io.Copy(w, strings.NewReader("data: 1\n\n")); err != nil {
					done <- err
					return
				}
				w.(http.Flusher).Flush()
			}
		})
		response := s.get(t)
		go func() { _, _ = io.Copy(io.Discard, response.Body) }()
		s.keys.delete("k")
		var why *auth.RevokedError
		if err := wait(t, done, "the end"); !errors.As(err, &why) || why.Code != auth.NotFound {
			t.Errorf("cause %v", err)
		}
	})
}

// The client reads nothing, so the write blocks.
func TestRevocationEndsABlockedWrite(t *testing.T) {
	forEachProtocol(t, func(t *testing.T, f framework, protocol string) {
		full, done := make(chan struct{}, 1), make(chan error, 1)
		s := serve(t, f, protocol, func(w http.ResponseWriter, _ *http.Request) {
			much := strings.Repeat("x", 1<<20)
			for {
				stuck := time.AfterFunc(300*time.Millisecond, func() {
					select {
					case full <- struct{}{}:
					default:
					}
				})
				_, err := io.WriteString(w, much)
				stuck.Stop()
				if err != nil {
					done <- err
					return
				}
			}
		})
		s.get(t)
		wait(t, full, "a client that does not read")
		s.keys.put("k", revoked)
		if err := wait(t, done, "the end of the write"); err == nil {
			t.Error("the handler got no error")
		}
	})
}

// slow is a ResponseWriter whose writes block until proceed is closed.
type slow struct {
	*httptest.ResponseRecorder
	writing, proceed chan struct{}
	deadlines        chan time.Time
}

func (s *slow) Write(data []byte) (int, error) {
	s.writing <- struct{}{}
	<-s.proceed
	return s.ResponseRecorder.Write(data)
}

func (s *slow) SetWriteDeadline(at time.Time) error {
	s.deadlines <- at
	return nil
}

// It has a second, and the connection has no deadline afterwards.
func TestWriteInProgressCanFinish(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k")
		h := f.serve(k, func(w http.ResponseWriter, _ *http.Request) {
			if n, err := w.Write([]byte("hello")); n != 5 || err != nil {
				t.Errorf("%d, %v", n, err)
			}
		}, nil, auth.CancelOnRevocation())
		response := &slow{httptest.NewRecorder(), make(chan struct{}, 1), make(chan struct{}), make(chan time.Time, 5)}
		go func() {
			<-response.writing
			k.put("k", revoked)
		}()
		left := make(chan time.Duration, 1)
		go func() {
			left <- time.Until(<-response.deadlines)
			close(response.proceed)
		}()
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("X-Api-Key", "k")
		h.ServeHTTP(response, r)
		if d := wait(t, left, "a deadline"); d <= 0 || d > time.Second {
			t.Errorf("the deadline is in %v, want at most 1s", d)
		}
		if at := wait(t, response.deadlines, "the end of the deadline"); !at.IsZero() {
			t.Errorf("the connection still has the deadline %v", at)
		}
		if response.Body.String() != "hello" {
			t.Errorf("the response is %q", response.Body)
		}
	})
}

func TestBodyOfAValidKeyIsUnchanged(t *testing.T) {
	forEachProtocol(t, func(t *testing.T, f framework, protocol string) {
		s := serve(t, f, protocol, func(w http.ResponseWriter, r *http.Request) {
			data, err := io.ReadAll(r.Body)
			if err != nil {
				t.Error(err)
			}
			_, _ = w.Write(data)
		})
		for range 2 {
			r, err := http.NewRequestWithContext(t.Context(), http.MethodPost, s.URL, strings.NewReader(strings.Repeat("x", 100_000)))
			if err != nil {
				t.Fatal(err)
			}
			r.Header.Set("X-Api-Key", "k")
			response, err := s.Client().Do(r)
			if err != nil {
				t.Fatal(err)
			}
			if body := bodyOf(t, response); len(body) != 100_000 {
				t.Errorf("%d bytes were received", len(body))
			}
		}
	})
}

// An empty 200 would be wrong.
func TestRevocationBeforeTheResponseIsARefusal(t *testing.T) {
	forEachProtocol(t, func(t *testing.T, f framework, protocol string) {
		ready := make(chan struct{})
		s := serve(t, f, protocol, func(w http.ResponseWriter, r *http.Request) {
			w.Header().Set("Content-Length", "7")
			close(ready)
			<-r.Context().Done()
			w.WriteHeader(http.StatusOK)
			w.(http.Flusher).Flush()
			if g, ok := w.(gin.ResponseWriter); ok {
				g.WriteHeaderNow()
			}
			_, _ = io.WriteString(w, "secrets")
		})
		go func() {
			<-ready
			s.keys.put("k", revoked)
		}()
		checkRefusal(t, s.get(t), 401, "DISABLED", `Bearer realm="keytail", error="invalid_token"`)
	})
}

func TestOutageBeforeTheResponseIsA503(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		ready := make(chan struct{})
		s := serve(t, f, "HTTP/1.1", func(_ http.ResponseWriter, r *http.Request) {
			close(ready)
			<-r.Context().Done()
			if !errors.Is(context.Cause(r.Context()), auth.ErrStalenessExceeded) {
				t.Error(context.Cause(r.Context()))
			}
		}, auth.CancelOnOutage())
		go func() {
			<-ready
			s.keys.setOutage(true)
			s.keys.watches.SetStale(true)
		}()
		checkRefusal(t, s.get(t), 503, "UNAVAILABLE", "")
	})
}

// The connection stays open for the next request.
func TestResponseOfAValidKeyIsUnchanged(t *testing.T) {
	forEachProtocol(t, func(t *testing.T, f framework, protocol string) {
		s := serve(t, f, protocol, func(w http.ResponseWriter, r *http.Request) {
			control := http.NewResponseController(w)
			if err := control.SetWriteDeadline(time.Now().Add(time.Minute)); err != nil {
				t.Error(err)
			}
			w.Header().Set("X-Mine", "1")
			w.WriteHeader(http.StatusEarlyHints)
			w.WriteHeader(http.StatusAccepted)
			_, _ = fmt.Fprint(w, auth.FromContext(r.Context()))
		})
		for range 3 {
			response := s.get(t)
			if body := bodyOf(t, response); response.StatusCode != http.StatusAccepted || body != "key id-k of user user-1" || response.Header.Get("X-Mine") != "1" {
				t.Errorf("%d %s %v", response.StatusCode, body, response.Header)
			}
		}
		if s.keys.watches.Watching() != 0 {
			t.Error("the key is still watched")
		}
	})
}

func TestMiddlewareWritesNothingAfterAPanic(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k")
		h := f.serve(k, func(_ http.ResponseWriter, r *http.Request) {
			k.put("k", revoked)
			<-r.Context().Done()
			panic(http.ErrAbortHandler)
		}, nil, auth.CancelOnRevocation())
		recorder := httptest.NewRecorder()
		func() {
			defer func() {
				if recover() == nil {
					t.Error("the panic did not reach the server")
				}
			}()
			r := httptest.NewRequest(http.MethodGet, "/", nil)
			r.Header.Set("X-Api-Key", "k")
			h.ServeHTTP(recorder, r)
		}()
		if recorder.Body.Len() != 0 {
			t.Errorf("the middleware wrote %s", recorder.Body)
		}
	})
}

// Gin's Stream uses CloseNotify and not the context.
func TestRevocationEndsGinStream(t *testing.T) {
	k := newKeys(t)
	k.put("k")
	engine := gin.New()
	done := make(chan bool, 1)
	first := make(chan struct{}, 1)
	engine.GET("/", auth.Authenticate(k, auth.CancelOnRevocation()), func(c *gin.Context) {
		done <- c.Stream(func(io.Writer) bool {
			c.SSEvent("message", "1")
			select {
			case first <- struct{}{}:
			default:
			}
			time.Sleep(time.Millisecond)
			return true
		})
	})
	server := httptest.NewServer(engine)
	defer server.Close()
	s := &testServer{server, k}
	response := s.get(t)
	wait(t, first, "the first event")
	k.put("k", revoked)
	if !wait(t, done, "the end of the stream") {
		t.Error("Stream ended without CloseNotify")
	}
	if body := bodyOf(t, response); !strings.Contains(body, "event:message") {
		t.Errorf("the response is %q", body)
	}
}

// dial opens a WebSocket.
func (s *testServer) dial(t *testing.T) *websocket.Conn {
	t.Helper()
	conn, response, err := websocket.Dial(t.Context(), strings.Replace(s.URL, "http", "ws", 1), &websocket.DialOptions{
		HTTPClient: s.Client(), HTTPHeader: http.Header{"X-Api-Key": {"k"}},
	})
	if err != nil {
		t.Fatalf("%v %v", response, err)
	}
	t.Cleanup(func() { _ = conn.CloseNow() })
	return conn
}

// echo is a WebSocket handler that does not use the request's context.
func echo(ended chan<- error) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(w, r, nil)
		if err != nil {
			ended <- err
			return
		}
		defer func() { _ = conn.CloseNow() }()
		for {
			kind, data, err := conn.Read(context.Background())
			if err == nil {
				err = conn.Write(context.Background(), kind, data)
			}
			if err != nil {
				ended <- err
				return
			}
		}
	}
}

func speak(t *testing.T, conn *websocket.Conn) {
	t.Helper()
	if err := conn.Write(t.Context(), websocket.MessageText, []byte("hello")); err != nil {
		t.Fatal(err)
	}
	if _, data, err := conn.Read(t.Context()); err != nil || string(data) != "hello" {
		t.Fatalf("%q, %v", data, err)
	}
}

func TestRevocationClosesAWebSocket(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		for _, protocol := range protocols[:2] {
			t.Run(protocol, func(t *testing.T) {
				ended := make(chan error, 1)
				s := serve(t, f, protocol, echo(ended))
				conn := s.dial(t)
				speak(t, conn)
				s.keys.put("k", func(r *apikey.Record) { r.Name = "renamed" })
				s.keys.waitForRechecks(t)
				speak(t, conn)
				s.keys.put("k", revoked)
				if _, _, err := conn.Read(t.Context()); err == nil {
					t.Error("the client's connection is still open")
				}
				if err := wait(t, ended, "the end of the handler"); err == nil {
					t.Error("the handler got no error")
				}
			})
		}
	})
}

// hold returns a handler that hijacks the connection and returns while it is open.
func hold(t *testing.T, conns chan<- net.Conn, how func(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error)) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		conn, buffer, err := how(w)
		if err != nil {
			t.Error(err)
			close(conns)
			return
		}
		_, _ = buffer.WriteString("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n")
		_ = buffer.Flush()
		conns <- conn
	}
}

// connect sends a request without http.Client, which would close the connection.
func (s *testServer) connect(t *testing.T, protocol string) net.Conn {
	t.Helper()
	address := strings.TrimPrefix(strings.TrimPrefix(s.URL, "http://"), "https://")
	conn, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	if protocol != "HTTP/1.1" {
		conn = tls.Client(conn, &tls.Config{InsecureSkipVerify: true})
	}
	t.Cleanup(func() { conn.Close() })
	if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\nX-Api-Key: k\r\nConnection: Upgrade\r\nUpgrade: x\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	if line, err := bufio.NewReader(conn).ReadString('\n'); err != nil || !strings.Contains(line, "101") {
		t.Fatalf("%q, %v", line, err)
	}
	return conn
}

func TestHijackedConnectionIsWatchedAfterTheHandler(t *testing.T) {
	ways := map[string]func(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error){
		"Hijacker": func(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error) { return w.(http.Hijacker).Hijack() },
		"ResponseController": func(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error) {
			return http.NewResponseController(w).Hijack()
		},
	}
	forEachFramework(t, func(t *testing.T, f framework) {
		for _, protocol := range protocols[:2] {
			for name, how := range ways {
				t.Run(protocol+" "+name, func(t *testing.T) {
					conns := make(chan net.Conn, 1)
					s := serve(t, f, protocol, hold(t, conns, how))
					client := s.connect(t, protocol)
					conn := wait(t, conns, "the connection")
					// The handler returns now, and the connection is still watched.
					s.keys.put("k", func(r *apikey.Record) { r.Name = "renamed" })
					s.keys.waitForRechecks(t)
					if s.keys.watches.Watching() != 1 {
						t.Fatal("the connection is not watched")
					}
					s.keys.put("k", revoked)
					_ = client.SetReadDeadline(time.Now().Add(patience))
					var timeout net.Error
					if _, err := io.Copy(io.Discard, client); errors.As(err, &timeout) && timeout.Timeout() {
						t.Error("the client's connection is still open")
					}
					if _, err := conn.Write([]byte("x")); err == nil {
						t.Error("a write after the revocation succeeded")
					}
					if s.keys.watches.Watching() != 0 {
						t.Error("the key is still watched")
					}
					_ = conn.Close()
				})
			}
		}
	})
}

// hijackable calls before at the beginning of Hijack.
type hijackable struct {
	*httptest.ResponseRecorder
	conn   net.Conn
	before func()
}

func (h *hijackable) Hijack() (net.Conn, *bufio.ReadWriter, error) {
	h.before()
	return h.conn, nil, nil
}

// layered is a connection over another one, as TLS is.
type layered struct {
	net.Conn
	closed chan struct{}
}

func (l layered) NetConn() net.Conn { return l.Conn }

func (l layered) Close() error {
	close(l.closed)
	return l.Conn.Close()
}

// The connection is closed as soon as there is one, without the closing message of TLS.
func TestRevocationDuringHijack(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k")
		ours, theirs := net.Pipe()
		defer theirs.Close()
		conn := layered{ours, make(chan struct{})}
		response := &hijackable{httptest.NewRecorder(), conn, nil}
		h := f.serve(k, func(w http.ResponseWriter, r *http.Request) {
			response.before = func() {
				k.put("k", revoked)
				<-r.Context().Done()
			}
			got, _, err := w.(http.Hijacker).Hijack()
			if err != nil {
				t.Error(err)
				return
			}
			_ = got.SetWriteDeadline(time.Now().Add(patience))
			if _, err := got.Write([]byte("x")); !errors.Is(err, io.ErrClosedPipe) {
				t.Errorf("the connection is still open: %v", err)
			}
		}, nil, auth.CancelOnRevocation())
		r := httptest.NewRequest(http.MethodGet, "/", nil)
		r.Header.Set("X-Api-Key", "k")
		h.ServeHTTP(response, r)
		select {
		case <-conn.closed:
			t.Error("the upper layer was closed first")
		default:
		}
		_ = ours.Close()
	})
}

func TestContextIsCancelledAfterTheHandler(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k")
		seen := make(chan *http.Request, 1)
		send(f.serve(k, func(_ http.ResponseWriter, r *http.Request) { seen <- r }, nil, auth.CancelOnRevocation()), "GET", "/", "X-Api-Key", "k")
		if cause := context.Cause((<-seen).Context()); !errors.Is(cause, context.Canceled) {
			t.Errorf("the cause is %v", cause)
		}
	})
}

func TestBodyIsNotReadAfterTheRevocation(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k")
		h := f.serve(k, func(_ http.ResponseWriter, r *http.Request) {
			k.put("k", revoked)
			<-r.Context().Done()
			var why *auth.RevokedError
			if _, err := r.Body.Read(make([]byte, 1)); !errors.As(err, &why) {
				t.Errorf("Read returned %v", err)
			}
		}, nil, auth.CancelOnRevocation())
		body := strings.NewReader("x")
		r := httptest.NewRequest(http.MethodPost, "/", body)
		r.Header.Set("X-Api-Key", "k")
		h.ServeHTTP(httptest.NewRecorder(), r)
		if body.Len() != 1 {
			t.Error("the body was read")
		}
	})
}

func TestClosedConnectionIsNotWatched(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		conns := make(chan net.Conn, 1)
		s := serve(t, f, "HTTP/1.1", hold(t, conns, func(w http.ResponseWriter) (net.Conn, *bufio.ReadWriter, error) { return w.(http.Hijacker).Hijack() }))
		s.connect(t, "HTTP/1.1")
		conn := wait(t, conns, "the connection")
		if under, ok := conn.(interface{ NetConn() net.Conn }); !ok || under.NetConn() == nil {
			t.Error("NetConn is missing")
		}
		if err := conn.Close(); err != nil {
			t.Error(err)
		}
		if s.keys.watches.Watching() != 0 {
			t.Error("the key is still watched")
		}
	})
}

func TestRevocationBeforeHijack(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		got := make(chan error, 1)
		var s *testServer
		s = serve(t, f, "HTTP/1.1", func(w http.ResponseWriter, r *http.Request) {
			s.keys.put("k", revoked)
			<-r.Context().Done()
			_, _, err := w.(http.Hijacker).Hijack()
			got <- err
		})
		checkRefusal(t, s.get(t), 401, "DISABLED", `Bearer realm="keytail", error="invalid_token"`)
		if err := wait(t, got, "the response"); err == nil {
			t.Error("Hijack returned a connection")
		}
	})
}
