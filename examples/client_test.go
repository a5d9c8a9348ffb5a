//go:build linux

package examples_test

import (
	"bufio"
	"cmp"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"
)

// request is a request as a client sends it.
type request struct {
	method string // "": GET
	// target is the path and query of the request line, byte by byte.
	target string
	header []field // sent in this order and spelling
	body   string
	// from is the client's address. Empty: clientAddr.
	from string
	// http2 sends it over TLS with HTTP/2, where names of headers are in lower case.
	http2 bool
}

// reply is the response that the client got. The status is 0 if there was none.
type reply struct {
	status int
	header http.Header
	body   string
}

// code returns the code of the problem in the body, or "" if there is none.
func (r *reply) code() string {
	var problem struct{ Code string }
	if r.header.Get("Content-Type") != "application/problem+json" || json.Unmarshal([]byte(r.body), &problem) != nil {
		return ""
	}
	return problem.Code
}

// echo returns the request that the API reports in its response.
func (r *reply) echo() *received {
	var got received
	if json.Unmarshal([]byte(r.body), &got) != nil {
		return nil
	}
	return &got
}

// send sends a request to the proxy over a new connection.
func (s *stage) send(t *testing.T, a request) *reply {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	a.method, a.from = cmp.Or(a.method, http.MethodGet), cmp.Or(a.from, clientAddr)
	if a.http2 {
		return overHTTP2(ctx, t, s.proxy.https, a)
	}
	conn, err := dialFrom(ctx, a.from, s.proxy.http)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	return overHTTP1(ctx, t, conn, s.proxy.http, a)
}

// overHTTP1 writes the bytes of the request, because net/http's client would refuse to
// send many of them.
func overHTTP1(ctx context.Context, t *testing.T, conn net.Conn, host string, a request) *reply {
	t.Helper()
	deadline, _ := ctx.Deadline()
	if err := conn.SetDeadline(deadline); err != nil {
		t.Fatal(err)
	}
	// A server that refuses a request need not read all of it, so ignore a failed write.
	_, _ = io.WriteString(conn, a.bytes(host))
	response, err := http.ReadResponse(bufio.NewReader(conn), &http.Request{Method: a.method})
	if err != nil {
		if ctx.Err() != nil || errors.Is(err, context.DeadlineExceeded) {
			t.Fatalf("%s %s: no response: %v", a.method, a.target, err)
		}
		return &reply{header: http.Header{}}
	}
	return readReply(t, response)
}

// bytes returns the encoded request. It closes the connection, unless it has its own
// Connection header.
func (a request) bytes(host string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s HTTP/1.1\r\nHost: %s\r\n", a.method, a.target, host)
	connection := false
	for _, f := range a.header {
		fmt.Fprintf(&b, "%s: %s\r\n", f.Name, f.Value)
		connection = connection || strings.EqualFold(f.Name, "Connection")
	}
	if !connection {
		b.WriteString("Connection: close\r\n")
	}
	if a.body != "" {
		fmt.Fprintf(&b, "Content-Length: %d\r\n", len(a.body))
	}
	b.WriteString("\r\n" + a.body)
	return b.String()
}

func overHTTP2(ctx context.Context, t *testing.T, addr string, a request) *reply {
	t.Helper()
	transport := &http.Transport{
		ForceAttemptHTTP2: true, DisableCompression: true,
		TLSClientConfig: &tls.Config{InsecureSkipVerify: true}, //nolint:gosec // the test generated the certificate
		DialContext:     func(ctx context.Context, _, _ string) (net.Conn, error) { return dialFrom(ctx, a.from, addr) },
	}
	defer transport.CloseIdleConnections()
	request, err := http.NewRequestWithContext(ctx, a.method, "https://"+addr+a.target, strings.NewReader(a.body))
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range a.header {
		request.Header[f.Name] = append(request.Header[f.Name], f.Value)
	}
	response, err := transport.RoundTrip(request)
	if err != nil {
		if ctx.Err() != nil {
			t.Fatalf("%s %s: no response: %v", a.method, a.target, err)
		}
		t.Logf("%s %s: %v", a.method, a.target, err)
		return &reply{header: http.Header{}}
	}
	if response.ProtoMajor != 2 {
		t.Errorf("the proxy responded with %s, want HTTP/2", response.Proto)
	}
	return readReply(t, response)
}

func readReply(t *testing.T, response *http.Response) *reply {
	t.Helper()
	defer func() { _ = response.Body.Close() }()
	r := &reply{status: response.StatusCode, header: response.Header}
	if response.StatusCode == http.StatusSwitchingProtocols {
		return r // what follows is not a body
	}
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Errorf("reading the body: %v", err)
	}
	r.body = string(body)
	return r
}

// sendUpgrade sends an upgrade request and then a line. It returns the reply and the line
// that the API sent back.
func (s *stage) sendUpgrade(t *testing.T, a request, line string) (r *reply, back string) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), waitTimeout)
	defer cancel()
	conn, err := dialFrom(ctx, clientAddr, s.proxy.http)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(waitTimeout)); err != nil {
		t.Fatal(err)
	}
	a.method = cmp.Or(a.method, http.MethodGet)
	if _, err := io.WriteString(conn, a.bytes(s.proxy.http)); err != nil {
		t.Fatal(err)
	}
	reader := bufio.NewReader(conn)
	response, err := http.ReadResponse(reader, &http.Request{Method: a.method})
	if err != nil {
		t.Fatal(err)
	}
	if r = readReply(t, response); r.status != http.StatusSwitchingProtocols {
		return r, ""
	}
	if _, err := io.WriteString(conn, line+"\n"); err != nil {
		t.Fatal(err)
	}
	back, err = reader.ReadString('\n')
	if err != nil {
		t.Fatal(err)
	}
	return r, strings.TrimSuffix(back, "\n")
}
