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
	token = "a-token-of-the-orders-api"
	// maxStale is the daemon's, and the client's.
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
	// open is how many connections there are.
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
		d.goAway()
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

func (d *daemon) goAway() {
	d.CloseClientConnections()
	d.Close()
}

// newKey inserts a key, and returns when the daemon has heard of it.
func (d *daemon) newKey(t *testing.T, id string) string {
	t.Helper()
	key := smoke.Insert(t, d.keys, id)
	mongotest.Eventually(t, smoke.Patience, func() bool {
		verdict, err := d.service.Validate(t.Context(), key, keytail.Request{})
		return err == nil && verdict.Valid()
	}, "the daemon does not hear of a key")
	return key
}

// start runs the API, and returns its address and what ends it.
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

func becomes(t *testing.T, url string, want int) {
	t.Helper()
	mongotest.Eventually(t, smoke.Patience, func() bool {
		got, _ := smoke.Answer(t, http.MethodGet, url+"/readyz", "", "")
		return got == want
	}, "/readyz does not say ", want)
}

// mustRefuse: the answer has a code, in this API's own form.
func mustRefuse(t *testing.T, url, key string, status int, code string) {
	t.Helper()
	got, body := smoke.Answer(t, http.MethodGet, url+"/orders", key, "")
	if got != status || !strings.Contains(body, `"code":"`+code+`"`) || !strings.Contains(body, `"request_id":"`) {
		t.Errorf("%d %s, want %d %s", got, body, status, code)
	}
}

// TestSmoke runs the service against a daemon, revokes a key in MongoDB under an open
// stream, and takes the daemon away under another.
func TestSmoke(t *testing.T) {
	d := startDaemon(t)
	lost, kept := d.newKey(t, "lost"), d.newKey(t, "kept")
	url, stop := start(t, client.Config{URL: d.URL, Token: token, MaxStale: maxStale}, 0)
	becomes(t, url, http.StatusOK)

	if status, body := smoke.Answer(t, http.MethodPost, url+"/orders", lost, `{"item":"tea"}`); status != http.StatusCreated {
		t.Fatalf("a good key: %d %s", status, body)
	}
	cut, uncut := smoke.Stream(t, url, lost), smoke.Stream(t, url, kept)
	smoke.Revoke(t, d.keys, "lost")
	acknowledged := time.Now()
	smoke.Rest(t, cut)
	t.Logf("the stream of a revoked key ended %v after the revocation was acknowledged", time.Since(acknowledged))
	mustRefuse(t, url, lost, http.StatusUnauthorized, "DISABLED")
	mustRefuse(t, url, "", http.StatusUnauthorized, "MISSING")

	d.goAway()
	gone := time.Now()
	mustRefuse(t, url, kept, http.StatusServiceUnavailable, "UNAVAILABLE")
	smoke.Rest(t, uncut)
	t.Logf("without the daemon a stream went on for %v (max_stale %v)", time.Since(gone), maxStale)
	becomes(t, url, http.StatusOK)
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// TestAStop: not ready, but still there, and then gone, whatever streams are open.
func TestAStop(t *testing.T) {
	d := startDaemon(t)
	key := d.newKey(t, "kept")
	url, stop := start(t, client.Config{URL: d.URL, Token: token}, 2*time.Second)
	becomes(t, url, http.StatusOK)
	smoke.Answer(t, http.MethodPost, url+"/orders", key, `{"item":"tea"}`)
	stream := smoke.Stream(t, url, key)
	began := time.Now()
	ended := make(chan error, 1)
	go func() { ended <- stop() }()
	becomes(t, url, http.StatusServiceUnavailable)
	if status, body := smoke.Answer(t, http.MethodPost, url+"/orders", key, `{"item":"last order"}`); status != http.StatusCreated {
		t.Errorf("while it drains: %d %s", status, body)
	}
	if err := <-ended; err != nil || time.Since(began) > lastRequests {
		t.Errorf("it stopped after %v with %v", time.Since(began), err)
	}
	if rest := smoke.Rest(t, stream); !strings.Contains(rest, "last order") {
		t.Errorf("the stream ends with %q", rest)
	}
	mongotest.Eventually(t, smoke.Patience, func() bool { return d.open.Load() == 0 }, "a connection to the daemon stays open")
}

// TestWhatIsWrongAtTheStart: settings that cannot be right end it, a token that the
// daemon does not know keeps it from being ready.
func TestWhatIsWrongAtTheStart(t *testing.T) {
	if err := run(t.Context(), client.Config{}, nil, 0); err == nil || !strings.Contains(err.Error(), "URL must be") {
		t.Errorf("without a URL: %v", err)
	}
	d := startDaemon(t)
	url, stop := start(t, client.Config{URL: d.URL, Token: "not-" + token}, 0)
	becomes(t, url, http.StatusServiceUnavailable)
	mustRefuse(t, url, d.newKey(t, "good"), http.StatusServiceUnavailable, "UNAVAILABLE")
	becomes(t, url, http.StatusServiceUnavailable)
	if err := stop(); err != nil {
		t.Error(err)
	}
}
