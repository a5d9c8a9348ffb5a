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

// TestARefusalDoesNotWaitForTheBody: who has no key must not hold a goroutine by a body that does not come.
func TestARefusalDoesNotWaitForTheBody(t *testing.T) {
	inEach(t, func(t *testing.T, f framework) {
		s := serve(t, f, "HTTP/1.1", func(http.ResponseWriter, *http.Request) { t.Error("let in") })
		conn, err := net.Dial("tcp", s.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		defer conn.Close()
		_, _ = io.WriteString(conn, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n")
		_ = conn.SetReadDeadline(time.Now().Add(3 * time.Second))
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if errors.Is(err, os.ErrDeadlineExceeded) {
			t.Fatal("no answer, as long as the body does not end")
		}
		if err != nil || answer.StatusCode != http.StatusUnauthorized {
			t.Fatal(answer, err)
		}
	})
}
