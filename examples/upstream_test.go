//go:build linux

package examples_test

import (
	"bufio"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httputil"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"
)

// field is a header field with the spelling of its name.
type field struct{ Name, Value string }

// received is a request as the API got it, without any normalization.
type received struct {
	Method, Target, Proto string
	Header                []field
	Body                  string
}

// values returns the values of a header, under any spelling that a server could treat as
// its name: upper or lower case, and any other character in place of "-", as in CGI, PHP
// and WSGI.
func (r *received) values(name string) []string {
	var values []string
	for _, f := range r.Header {
		if strings.EqualFold(signs.ReplaceAllString(f.Name, "-"), name) {
			values = append(values, f.Value)
		}
	}
	return values
}

var signs = regexp.MustCompile(`[^A-Za-z0-9]`)

// upstream is the API behind the proxies. It responds with the request that it received,
// in JSON. It does not use net/http's server, which normalizes names of headers.
//
// X-Echo-Status sets the status of the response. After an upgrade request it responds
// with 101 and sends back all bytes that it receives.
type upstream struct {
	listener net.Listener
	group    sync.WaitGroup

	mu     sync.Mutex
	got    []received
	conns  map[net.Conn]struct{}
	closed bool
}

func startUpstream(t *testing.T) *upstream {
	t.Helper()
	listener, err := net.Listen("tcp", upstreamAddr)
	if err != nil {
		t.Fatalf("starting the API of the examples: %v", err)
	}
	u := &upstream{listener: listener, conns: map[net.Conn]struct{}{}}
	u.group.Go(func() {
		for {
			conn, err := listener.Accept()
			if err != nil {
				return
			}
			u.mu.Lock()
			u.conns[conn] = struct{}{}
			if u.closed {
				_ = conn.Close()
			}
			u.mu.Unlock()
			u.group.Go(func() { u.serve(conn) })
		}
	})
	t.Cleanup(u.close)
	return u
}

// close stops the API and waits for its goroutines. It can be called repeatedly.
func (u *upstream) close() {
	_ = u.listener.Close()
	u.mu.Lock()
	u.closed = true
	for conn := range u.conns {
		_ = conn.Close()
	}
	u.mu.Unlock()
	u.group.Wait()
}

// count returns the number of requests so far. since returns the requests after that
// number.
func (u *upstream) count() int {
	u.mu.Lock()
	defer u.mu.Unlock()
	return len(u.got)
}

func (u *upstream) since(count int) []received {
	u.mu.Lock()
	defer u.mu.Unlock()
	return append([]received(nil), u.got[count:]...)
}

// forget drops the received requests, for tests that send many.
func (u *upstream) forget() {
	u.mu.Lock()
	defer u.mu.Unlock()
	u.got = nil
}

// serve responds to the requests of one connection until it ends.
func (u *upstream) serve(conn net.Conn) {
	defer func() { _ = conn.Close() }()
	reader := bufio.NewReaderSize(conn, 64<<10)
	for {
		r, err := readRequest(reader)
		if err != nil {
			return
		}
		u.mu.Lock()
		u.got = append(u.got, *r)
		u.mu.Unlock()
		if r.upgrades() {
			upgrade(conn, reader, r)
			return
		}
		if err := respond(conn, r); err != nil {
			return
		}
	}
}

// upgrades reports whether RFC 9110, section 7.8, allows a server to change the protocol.
func (r *received) upgrades() bool {
	return r.Proto == "HTTP/1.1" && len(r.values("Upgrade")) > 0 && strings.Contains(strings.ToLower(strings.Join(r.values("Connection"), ",")), "upgrade")
}

// upgrade accepts the upgrade and sends back all bytes.
func upgrade(conn net.Conn, reader io.Reader, r *received) {
	_, err := fmt.Fprintf(conn, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: %s\r\n\r\n", r.values("Upgrade")[0])
	if err == nil {
		_, _ = io.Copy(conn, reader)
	}
}

func respond(conn io.Writer, r *received) error {
	status := http.StatusOK
	if values := r.values("X-Echo-Status"); len(values) > 0 {
		status, _ = strconv.Atoi(values[0])
	}
	body, err := json.Marshal(r)
	if err != nil {
		return err
	}
	head := fmt.Sprintf("HTTP/1.1 %d %s\r\nContent-Type: application/json\r\nContent-Length: %d\r\nX-Api: it was here\r\n\r\n", status, http.StatusText(status), len(body))
	if r.Method == http.MethodHead {
		body = nil
	}
	_, err = conn.Write(append([]byte(head), body...))
	return err
}

// readRequest reads an HTTP/1 request without validating it.
func readRequest(reader *bufio.Reader) (*received, error) {
	line, err := readLine(reader)
	if err != nil {
		return nil, err
	}
	r := &received{}
	if n, _ := fmt.Sscan(line, &r.Method, &r.Target, &r.Proto); n != 3 {
		return nil, errors.New("no request line")
	}
	for {
		line, err := readLine(reader)
		if err != nil {
			return nil, err
		}
		if line == "" {
			break
		}
		name, value, _ := strings.Cut(line, ":")
		r.Header = append(r.Header, field{name, strings.TrimSpace(value)})
	}
	body, err := readBody(reader, r)
	r.Body = string(body)
	return r, err
}

func readBody(reader *bufio.Reader, r *received) ([]byte, error) {
	if values := r.values("Transfer-Encoding"); len(values) > 0 {
		body, err := io.ReadAll(httputil.NewChunkedReader(reader))
		if err == nil {
			_, err = readLine(reader) // the line after the last chunk
		}
		return body, err
	}
	values := r.values("Content-Length")
	if len(values) == 0 {
		return nil, nil
	}
	length, err := strconv.Atoi(values[0])
	if err != nil {
		return nil, err
	}
	body := make([]byte, length)
	_, err = io.ReadFull(reader, body)
	return body, err
}

func readLine(reader *bufio.Reader) (string, error) {
	line, err := reader.ReadString('\n')
	return strings.TrimRight(line, "\r\n"), err
}
