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

	"github.com/keytail/keytail"
	"github.com/keytail/keytail/client"
	"github.com/keytail/keytail/examples/internal/smoke"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

const (
	token = "token-of-the-orders-api"
	// maxStale is the maximum staleness of the daemon and of the client.
	maxStale = time.Second
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.TestMode)
	goleak.VerifyTestMain(m)
}

// daemon is the public listener of a keytail, and the collection that it follows.
type daemon struct {
	*httptest.Server
	service *keytail.Service
	keys    *mongo.Collection
	// open is the number of open connections.
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
	service, err := keytail.New(t.Context(), keytail.Config{
		Client: mongoDB.Client(t), Database: database.Name(), CacheSizeMiB: 8, MaxStale: maxStale, CallerTokenFile: tokens,
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- service.Run(ctx) }()
	d.service, d.Server = service, httptest.NewUnstartedServer(service.Public())
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
		d.shutDown()
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-service.Live():
	case <-time.After(smoke.Patience):
		t.Fatal("keytail does not become live")
	}
	return d
}

func (d *daemon) shutDown() {
	d.CloseClientConnections()
	d.Close()
}

// newKey inserts a key, and returns when the daemon has it.
func (d *daemon) newKey(t *testing.T, id string) string {
	t.Helper()
	key := smoke.Insert(t, d.keys, id)
	mongotest.Eventually(t, smoke.Patience, func() bool {
		verdict, err := d.service.Validate(t.Context(), key, keytail.Request{})
		return err == nil && verdict.Valid()
	}, "the daemon does not have the key")
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

// waitReady waits for a status of /readyz.
func waitReady(t *testing.T, url string, want int) {
	t.Helper()
	mongotest.Eventually(t, smoke.Patience, func() bool {
		got, _ := smoke.Answer(t, http.MethodGet, url+"/readyz", "", "")
		return got == want
	}, "timeout: /readyz should return ", want)
}

// mustRefuse checks a refusal in this API's own format.
func mustRefuse(t *testing.T, url, key string, status int, code string) {
	t.Helper()
	got, body := smoke.Answer(t, http.MethodGet, url+"/orders", key, "")
	if got != status || !strings.Contains(body, `"code":"`+code+`"`) || !strings.Contains(body, `"request_id":"`) {
		t.Errorf("%d %s, want %d %s", got, body, status, code)
	}
}

// TestSmoke runs the API with a daemon, revokes a key in MongoDB during a stream, and
// shuts down the daemon during another.
func TestSmoke(t *testing.T) {
	d := startDaemon(t)
	lost, kept := d.newKey(t, "lost"), d.newKey(t, "kept")
	url, stop := start(t, client.Config{URL: d.URL, Token: token, MaxStale: maxStale}, 0)
	waitReady(t, url, http.StatusOK)

	if status, body := smoke.Answer(t, http.MethodPost, url+"/orders", lost, `{"item":"tea"}`); status != http.StatusCreated {
		t.Fatalf("valid key: %d %s", status, body)
	}
	cancelled, open := smoke.Stream(t, url, lost), smoke.Stream(t, url, kept)
	smoke.Revoke(t, d.keys, "lost")
	acknowledged := time.Now()
	smoke.Rest(t, cancelled)
	t.Logf("the stream of a revoked key ended %v after the revocation was acknowledged", time.Since(acknowledged))
	mustRefuse(t, url, lost, http.StatusUnauthorized, "DISABLED")
	mustRefuse(t, url, "", http.StatusUnauthorized, "MISSING")

	d.shutDown()
	stopped := time.Now()
	mustRefuse(t, url, kept, http.StatusServiceUnavailable, "UNAVAILABLE")
	smoke.Rest(t, open)
	t.Logf("without the daemon a stream continued for %v (max_stale %v)", time.Since(stopped), maxStale)
	waitReady(t, url, http.StatusOK)
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// It is first not ready and still serves, and then stops in spite of open streams.
func TestShutdown(t *testing.T) {
	d := startDaemon(t)
	key := d.newKey(t, "kept")
	url, stop := start(t, client.Config{URL: d.URL, Token: token}, 2*time.Second)
	waitReady(t, url, http.StatusOK)
	smoke.Answer(t, http.MethodPost, url+"/orders", key, `{"item":"tea"}`)
	stream := smoke.Stream(t, url, key)
	began := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- stop() }()
	waitReady(t, url, http.StatusServiceUnavailable)
	if status, body := smoke.Answer(t, http.MethodPost, url+"/orders", key, `{"item":"last order"}`); status != http.StatusCreated {
		t.Errorf("while draining: %d %s", status, body)
	}
	if err := <-ended; err != nil || time.Since(began) > shutdownTimeout {
		t.Errorf("run returned after %v with %v", time.Since(began), err)
	}
	if rest := smoke.Rest(t, stream); !strings.Contains(rest, "last order") {
		t.Errorf("the stream ends with %q", rest)
	}
	mongotest.Eventually(t, smoke.Patience, func() bool { return d.open.Load() == 0 }, "a connection to the daemon is still open")
}

// Invalid settings end the program; with an unknown token it does not become ready.
func TestMistakesInTheConfiguration(t *testing.T) {
	if err := run(t.Context(), client.Config{}, nil, 0); err == nil || !strings.Contains(err.Error(), "URL must be") {
		t.Errorf("without a URL: %v", err)
	}
	d := startDaemon(t)
	url, stop := start(t, client.Config{URL: d.URL, Token: "not-" + token}, 0)
	waitReady(t, url, http.StatusServiceUnavailable)
	mustRefuse(t, url, d.newKey(t, "good"), http.StatusServiceUnavailable, "UNAVAILABLE")
	waitReady(t, url, http.StatusServiceUnavailable)
	if err := stop(); err != nil {
		t.Error(err)
	}
}
