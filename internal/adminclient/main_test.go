package adminclient

import (
	"io"
	"net/http"
	"net/http/httptest"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/keytail/keytail/internal/httpclient"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds what should happen immediately.
const patience = 20 * time.Second

// token is as long as one must be.
const token = "0123456789abcdef-admin"

// recordedRequest is one request as the server received it.
type recordedRequest struct {
	method, uri, body string
	header            http.Header
}

// fake is a server that records its requests.
type fake struct {
	*httptest.Server
	mu  sync.Mutex
	all []recordedRequest
}

// serve answers everything by a handler, after it has been noted.
func serve(t *testing.T, handle http.HandlerFunc) *fake {
	t.Helper()
	f := &fake{}
	f.Server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		f.mu.Lock()
		f.all = append(f.all, recordedRequest{r.Method, r.RequestURI, string(body), r.Header.Clone()})
		f.mu.Unlock()
		handle(w, r)
	}))
	t.Cleanup(f.Close)
	return f
}

func (f *fake) seen() []recordedRequest {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]recordedRequest(nil), f.all...)
}

// answers is a handler that always sends the same response.
func answers(status int, contentType, body string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", contentType)
		w.Header().Set("ETag", `"e1"`)
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}
}

func client(t *testing.T, url string) *Client {
	t.Helper()
	c, err := New(Config{Config: httpclient.Config{URL: url, Token: token, UserAgent: "keytail/test"}})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(c.Close)
	return c
}
