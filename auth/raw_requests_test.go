package auth_test

import (
	"bufio"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/keytail/keytail/auth"
)

// These requests cannot be sent with Go's HTTP client. A real server parses them.
func TestRawRequests(t *testing.T) {
	const key, forged = "X-Api-Key: k\r\n", "id-k, 0 forged"
	cases := []struct {
		name, head, body string
		status           int
		want             string
	}{
		{"mixed case", key + "x-auth-user-id: root\r\nX-AUTH-KEY-ID: root\r\nx-Auth-sCOPES: *\r\n", "", 200, forged},
		{"with underscores", key + "X_Auth_User_Id: root\r\nx_auth-user_id: root\r\nX-Auth_Scopes: *\r\n", "", 200, forged},
		{"bare LF before a forged header", "X-Api-Key: k\nX-Auth-User-Id: root\r\n", "", 200, forged},
		{"folded line", "X-Api-Key: k\r\n X-Auth-User-Id: root\r\n", "", 401, "MALFORMED"},
		{"bare CR", "X-Api-Key: k\rX-Auth-User-Id: root\r\n", "", 400, ""},
		{"NUL", "X-Api-Key: k\x00\r\n", "", 400, ""},
		{"space before the colon", key + "X-Auth-User-Id : root\r\n", "", 400, ""},
		{"request id with an encoded newline", key + "X-Request-Id: a%0d%0aX-Auth-User-Id:%20root\r\n", "", 200, forged},
		{"two keys", key + "Authorization: Bearer other\r\n", "", 401, "MALFORMED"},
		{"one header twice", key + "x-api-key: other\r\n", "", 401, "MALFORMED"},
		{"the same key twice", key + "Authorization: bearer   k\r\n", "", 200, forged},
		{"100 KB of headers", key + strings.Repeat("X-Filler: "+strings.Repeat("x", 1000)+"\r\n", 100), "", 200, forged},
		{"key of 100 KB", "X-Api-Key: " + strings.Repeat("k", 100_000) + "\r\n", "", 401, "NOT_FOUND"},
		{"upgrade without a key", "Connection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: AAAA\r\nSec-WebSocket-Version: 13\r\n", "", 401, "MISSING"},
		{"method override", "X-HTTP-Method-Override: OPTIONS\r\nX-Forwarded-Method: OPTIONS\r\nOrigin: x\r\nAccess-Control-Request-Method: GET\r\n", "", 401, "MISSING"},
		{"trailer", key + "Transfer-Encoding: chunked\r\nTrailer: X-Auth-User-Id\r\n", "1\r\nx\r\n0\r\nX-Auth-User-Id: root\r\n\r\n", 200, forged},
	}
	forEachFramework(t, func(t *testing.T, f framework) {
		k := newKeys(t)
		k.put("k")
		server := httptest.NewServer(f.serve(k, func(w http.ResponseWriter, r *http.Request) {
			_, _ = io.Copy(io.Discard, r.Body)
			count := 0
			for name := range r.Header {
				if strings.HasPrefix(strings.ToLower(strings.ReplaceAll(name, "_", "-")), "x-auth-") {
					count++
				}
			}
			_, _ = fmt.Fprintf(w, "%s, %d forged", auth.FromContext(r.Context()).KeyID, count)
		}, nil, auth.AllowPreflight()))
		defer server.Close()
		for _, c := range cases {
			t.Run(c.name, func(t *testing.T) {
				conn, err := net.Dial("tcp", strings.TrimPrefix(server.URL, "http://"))
				if err != nil {
					t.Fatal(err)
				}
				defer conn.Close()
				if _, err := io.WriteString(conn, "GET / HTTP/1.1\r\nHost: x\r\n"+c.head+"\r\n"+c.body); err != nil {
					t.Fatal(err)
				}
				response, err := http.ReadResponse(bufio.NewReader(conn), nil)
				if err != nil {
					t.Fatal(err)
				}
				body := bodyOf(t, response)
				if response.StatusCode != c.status || !strings.Contains(body, c.want) {
					t.Errorf("%d %s", response.StatusCode, body)
				}
				for name := range response.Header {
					if strings.HasPrefix(name, "X-Auth-") {
						t.Errorf("the response has %s", name)
					}
				}
			})
		}
	})
}
