package main

import (
	"context"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/goleak"

	"github.com/keytail/keytail/client"
	"github.com/keytail/keytail/examples/internal/smoke"
	"github.com/keytail/keytail/internal/apikey"
	keytaild "github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/service"
)

const (
	token = "a-token-of-the-orders-api"
	// maxStale is the max_stale of the daemon and of the client.
	maxStale = time.Second
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.TestMode)
	goleak.VerifyTestMain(m)
}

// daemon is the public listener of a keytail.Service, and its collection of keys.
type daemon struct {
	*httptest.Server
	service *keytaild.Daemon
	keys    *mongo.Collection
	// open is the number of connections.
	open atomic.Int64
}

func startDaemon(t *testing.T) *daemon {
	t.Helper()
	mongoDB := mongotest.StartDevmongo(t, devmongo.Config{})
	database := mongoDB.Client(t).Database(mongoDB.Database(t))
	d := &daemon{keys: mongotest.CreateAPIKeys(t, database)}
	tokens := filepath.Join(t.TempDir(), "tokens")
	if err := os.WriteFile(tokens, []byte("orders="+token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	made, err := keytaild.New(t.Context(), keytaild.Config{
		Config:          service.Config{Client: mongoDB.Client(t), Database: database.Name(), CacheSizeMiB: 8, MaxStale: maxStale},
		CallerTokenFile: tokens,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- made.Run(ctx) }()
	d.service, d.Server = made, httptest.NewUnstartedServer(made.Public())
	d.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		switch state {
		case http.StateNew:
			d.open.Add(1)
		case http.StateClosed:
			d.open.Add(-1)
		case http.StateActive, http.StateIdle, http.StateHijacked:
		}
	}
	d.Start()
	t.Cleanup(func() {
		d.closeNow()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-made.Live():
	case <-time.After(smoke.Timeout):
		t.Fatal("keytail does not become live")
	}
	return d
}

// closeNow closes the listener and all connections.
func (d *daemon) closeNow() {
	d.CloseClientConnections()
	d.Close()
}

// newKey inserts a key, and returns when the daemon has applied the insert.
func (d *daemon) newKey(t *testing.T, id string) string {
	t.Helper()
	key := smoke.Insert(t, d.keys, id)
	mongotest.Eventually(t, smoke.Timeout, func() bool {
		return d.service.Core.Validator.Validate(t.Context(), key, &apikey.Request{}).Code == apikey.Valid
	}, "the daemon does not receive the change of a key")
	return key
}

// start runs the API, and returns its address and a function that stops it.
func start(t *testing.T, config client.Config, drain time.Duration) (url string, stop func() error) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan error, 1)
	go func() { ended <- run(ctx, config, listener, drain) }()
	stop = func() error { cancel(); return <-ended }
	return "http://" + listener.Addr().String(), stop
}

// awaitReadyz waits until /readyz responds with the status.
func awaitReadyz(t *testing.T, url string, want int) {
	t.Helper()
	mongotest.Eventually(t, smoke.Timeout, func() bool {
		got, _ := smoke.Answer(t, http.MethodGet, url+"/readyz", "", "")
		return got == want
	}, "/readyz does not respond ", want)
}

// mustRefuse checks that the response has the code, in the format of this API's errors.
func mustRefuse(t *testing.T, url, key string, status int, code string) {
	t.Helper()
	got, body := smoke.Answer(t, http.MethodGet, url+"/orders", key, "")
	if got != status || !strings.Contains(body, `"code":"`+code+`"`) || !strings.Contains(body, `"request_id":"`) {
		t.Errorf("got %d %s, want %d %s", got, body, status, code)
	}
}

// TestSmoke runs the service with a daemon, revokes the key of an open stream in MongoDB,
// and stops the daemon while another stream is open.
func TestSmoke(t *testing.T) {
	d := startDaemon(t)
	lost, kept := d.newKey(t, "lost"), d.newKey(t, "kept")
	url, stop := start(t, client.Config{URL: d.URL, Token: token, MaxStale: maxStale}, 0)
	awaitReadyz(t, url, http.StatusOK)

	if status, body := smoke.Answer(t, http.MethodPost, url+"/orders", lost, `{"item":"tea"}`); status != http.StatusCreated {
		t.Fatalf("a valid key got %d %s", status, body)
	}
	cut, uncut := smoke.Stream(t, url, lost), smoke.Stream(t, url, kept)
	smoke.Revoke(t, d.keys, "lost")
	acknowledged := time.Now()
	smoke.Rest(t, cut)
	t.Logf("the stream of a revoked key ended %v after the revocation was acknowledged", time.Since(acknowledged))
	mustRefuse(t, url, lost, http.StatusUnauthorized, "DISABLED")
	mustRefuse(t, url, "", http.StatusUnauthorized, "MISSING")

	d.closeNow()
	gone := time.Now()
	mustRefuse(t, url, kept, http.StatusServiceUnavailable, "UNAVAILABLE")
	smoke.Rest(t, uncut)
	t.Logf("after the daemon had stopped, a stream continued for %v (max_stale %v)", time.Since(gone), maxStale)
	awaitReadyz(t, url, http.StatusOK)
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestShutdown checks that the service first is not ready and still handles requests, and
// then stops although a stream is open.
func TestShutdown(t *testing.T) {
	d := startDaemon(t)
	key := d.newKey(t, "kept")
	url, stop := start(t, client.Config{URL: d.URL, Token: token}, 2*time.Second)
	awaitReadyz(t, url, http.StatusOK)
	smoke.Answer(t, http.MethodPost, url+"/orders", key, `{"item":"tea"}`)
	stream := smoke.Stream(t, url, key)
	began := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- stop() }()
	awaitReadyz(t, url, http.StatusServiceUnavailable)
	if status, body := smoke.Answer(t, http.MethodPost, url+"/orders", key, `{"item":"last order"}`); status != http.StatusCreated {
		t.Errorf("while draining: got %d %s", status, body)
	}
	if err := <-ended; err != nil || time.Since(began) > lastRequests {
		t.Errorf("stopped after %v with %v", time.Since(began), err)
	}
	if rest := smoke.Rest(t, stream); !strings.Contains(rest, "last order") {
		t.Errorf("the stream ended with %q", rest)
	}
	mongotest.Eventually(t, smoke.Timeout, func() bool { return d.open.Load() == 0 }, "a connection to the daemon stays open")
}

// TestWrongSettings checks that the service does not start with invalid settings, and does
// not become ready with an unknown token.
func TestWrongSettings(t *testing.T) {
	if err := run(t.Context(), client.Config{}, nil, 0); err == nil || !strings.Contains(err.Error(), "URL must be") {
		t.Errorf("without a URL: got %v", err)
	}
	d := startDaemon(t)
	url, stop := start(t, client.Config{URL: d.URL, Token: "not-" + token}, 0)
	awaitReadyz(t, url, http.StatusServiceUnavailable)
	mustRefuse(t, url, d.newKey(t, "good"), http.StatusServiceUnavailable, "UNAVAILABLE")
	awaitReadyz(t, url, http.StatusServiceUnavailable)
	if err := stop(); err != nil {
		t.Error(err)
	}
}
