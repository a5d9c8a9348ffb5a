package auth_test

import (
	"bufio"
	"errors"
	"io"
	"net"
	"net/http"
	"os"
	"testing"
	"time"
)

// A client without a key must not block a goroutine by a body that never comes.
func TestRefusalDoesNotWaitForTheBody(t *testing.T) {
	forEachFramework(t, func(t *testing.T, f framework) {
		s := serve(t, f, "HTTP/1.1", func(http.ResponseWriter, *http.Request) { t.Error("the handler was called") })
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
		_ = conn.SetReadDeadline(time.Now().Add(3 * time.Second))
		response, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("no response before the end of the body")
		}
		if err != nil || response.StatusCode != http.StatusUnauthorized {
			t.Fatal(response, err)
		}
	})
}
