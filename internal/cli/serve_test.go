package cli

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/service"
)

func TestServeAnswersOnBothListenersAndStopsCleanly(t *testing.T) {
	f := newFake()
	r, public, operations := startServe(t, f.deps(), "--drain-delay=0", "--max-stale=3s", "--heartbeat-interval=500ms", "--cache-size=64")
	for url, want := range map[string]string{public: "public", operations: "operations"} {
		if body, err := get(t, url); err != nil || body != want {
			t.Errorf("GET %s: %q, %v", url, body, err)
		}
	}
	if f.cfg.Database != "keys" || f.cfg.Schema.Collection != "api_keys" || f.cfg.MaxStale != 3*time.Second || f.cfg.HeartbeatInterval != 500*time.Millisecond || f.cfg.CacheSizeMiB != 64 ||
		f.cfg.EnsureSchema || f.cfg.Version != "v1.2.3" || f.cfg.Client == nil || f.cfg.Registry == nil || f.cfg.Logger == nil || f.cfg.Playground != nil {
		t.Errorf("the service got %+v", f.cfg)
	}
	r.signal(t)
	if code := r.wait(t); code != exitOK {
		t.Errorf("got exit code %d; stderr:\n%s", code, r.stderr)
	}
	for _, url := range []string{public, operations} {
		if _, err := get(t, url); err == nil {
			t.Errorf("%s: got an answer after the stop", url)
		}
	}
}

func TestServePassesTheMappingOn(t *testing.T) {
	f := newFake()
	r, _, _ := startServe(t, f.deps(), "--drain-delay=0", "--map-hash=keyHash", "--map-hash-encoding=binary", "--map-active-form=always",
		"--map-org-id=", "--default-scopes=read,write:*")
	want := keystore.DefaultSchema()
	want.Hash, want.HashEncoding, want.ActiveForm, want.Active, want.OrgID = "keyHash", "binary", "always", "", ""
	want.DefaultScopes = []string{"read", "write:*"}
	if diff := cmp.Diff(want, f.cfg.Schema); diff != "" {
		t.Error(diff)
	}
	r.signal(t)
	r.wait(t)
}

// TestStopDrainsWhileTheServiceRuns: readyz answers 503 first; a request in
// flight, and new ones during the delay, are answered; the service stops after
// the listeners.
func TestStopDrainsWhileTheServiceRuns(t *testing.T) {
	f := newFake()
	arrived, release := make(chan struct{}), make(chan struct{})
	f.public = func(w http.ResponseWriter, request *http.Request) {
		if request.URL.Path == "/slow" {
			close(arrived)
			<-release
			f.note("slow request answered")
		}
		_, _ = io.WriteString(w, "public")
	}
	r, public, _ := startServe(t, f.deps(), "--drain-delay=300ms")
	slow := make(chan error, 1)
	go func() {
		_, err := get(t, public+"/slow")
		slow <- err
	}()
	<-arrived
	r.signal(t)
	<-f.drained
	if body, err := get(t, public); err != nil || body != "public" {
		t.Errorf("during the drain delay: %q, %v", body, err)
	}
	waitUntilClosed(t, public)
	close(release)
	if err := <-slow; err != nil {
		t.Errorf("the request in flight failed: %v", err)
	}
	if code := r.wait(t); code != exitOK {
		t.Errorf("got exit code %d; stderr:\n%s", code, r.stderr)
	}
	if diff := cmp.Diff([]string{"drain", "slow request answered", "tail stopped"}, f.noted()); diff != "" {
		t.Errorf("order of the stop (-want +got):\n%s", diff)
	}
}

// waitUntilClosed returns once nothing accepts connections at url's address.
func waitUntilClosed(t *testing.T, url string) {
	t.Helper()
	deadline := time.Now().Add(waitTimeout)
	for time.Now().Before(deadline) {
		conn, err := net.Dial("tcp", strings.TrimPrefix(url, "http://"))
		if err != nil {
			return
		}
		_ = conn.Close()
	}
	t.Fatal("the listener did not close")
}

func TestFailureOfTheServiceStopsEverything(t *testing.T) {
	for name, test := range map[string]struct {
		err  error
		want string
	}{
		"error":          {errors.New("the collection is gone"), "the service failed: the collection is gone"},
		"no error":       {nil, "the service failed: it ended unexpectedly"},
		"cancelled once": {context.Canceled, "the service failed"},
	} {
		t.Run(name, func(t *testing.T) {
			f := newFake()
			failNow := make(chan struct{})
			f.runs = func(context.Context) error {
				<-failNow
				return test.err
			}
			r, public, operations := startServe(t, f.deps(), "--drain-delay=5m")
			close(failNow)
			if code := r.wait(t); code != exitFailure {
				t.Errorf("got exit code %d", code)
			}
			if stderr := r.stderr.String(); !strings.Contains(stderr, "keytail: "+test.want) {
				t.Errorf("stderr lacks %q:\n%s", test.want, stderr)
			}
			waitUntilClosed(t, public)
			waitUntilClosed(t, operations)
		})
	}
}

func TestStartFailures(t *testing.T) {
	refuse := Deps{NewService: func(context.Context, daemon.Config) (Service, error) {
		return nil, errors.New("the collection keys.api_keys does not exist")
	}}
	code, _, stderr := finish(t, refuse, unreachable)
	if code != exitFailure || !strings.Contains(stderr, "keytail: the collection keys.api_keys does not exist") {
		t.Errorf("got exit code %d, stderr:\n%s", code, stderr)
	}

	taken := listenAnywhere(t)
	code, _, stderr = finish(t, newFake().deps(), unreachable, "--addr="+taken, "--ops-addr=127.0.0.1:0")
	if code != exitFailure || !strings.Contains(stderr, "keytail: --addr: another program listens on "+taken) {
		t.Errorf("got exit code %d, stderr:\n%s", code, stderr)
	}
	code, _, stderr = finish(t, newFake().deps(), unreachable, "--addr=192.0.2.1:1", "--ops-addr="+taken)
	if code != exitFailure || !strings.Contains(stderr, "--addr: cannot listen on 192.0.2.1:1") || !strings.Contains(stderr, "--ops-addr: another program") {
		t.Errorf("two addresses that fail: got exit code %d, stderr:\n%s", code, stderr)
	}
}

// TestSignalDuringTheStart also causes a clean stop.
func TestSignalDuringTheStart(t *testing.T) {
	entered := make(chan struct{})
	r := start([]string{unreachable}, Deps{NewService: func(ctx context.Context, _ daemon.Config) (Service, error) {
		close(entered)
		<-ctx.Done()
		return nil, ctx.Err()
	}})
	<-entered
	r.signal(t)
	if code := r.wait(t); code != exitOK {
		t.Errorf("got exit code %d; stderr:\n%s", code, r.stderr)
	}
}

func TestAReachableListenerIsAWarning(t *testing.T) {
	for addr, want := range map[string]bool{"127.0.0.1:0": false, "0.0.0.0:0": true} {
		r, _, _ := startServe(t, newFake().deps(), "--drain-delay=0", "--addr="+addr)
		r.signal(t)
		r.wait(t)
		if got := strings.Contains(r.stderr.String(), "is reachable from other machines"); got != want {
			t.Errorf("warning for %s: got %v, want %v", addr, got, want)
		}
	}
}

// TestLogHasNoValuesOfSettings: the log has the names of settings, but not their values.
func TestLogHasNoValuesOfSettings(t *testing.T) {
	r, _, _ := startServe(t, newFake().deps(), "--drain-delay=0", "--log-level=debug", "--mongodb-uri=mongodb://root:hunter2@127.0.0.1:1/keys")
	r.signal(t)
	r.wait(t)
	if log := r.stderr.String(); !strings.Contains(log, `"mongodb-uri"`) || strings.Contains(log, "hunter2") {
		t.Errorf("the log:\n%s", log)
	}
}

func TestServerLimits(t *testing.T) {
	f := newFake()
	r, public, _ := startServe(t, f.deps(), "--drain-delay=0")
	request, err := http.NewRequest(http.MethodGet, public, nil)
	if err != nil {
		t.Fatal(err)
	}
	for size, want := range map[int]int{10 << 10: http.StatusOK, 64 << 10: http.StatusRequestHeaderFieldsTooLarge} {
		request.Header.Set("X-Api-Key", strings.Repeat("k", size))
		client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
		response, err := client.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != want {
			t.Errorf("a header of %d bytes: got %d, want %d", size, response.StatusCode, want)
		}
	}
	server := newServer(nil, f.cfg.Logger)
	if server.ReadHeaderTimeout == 0 || server.ReadTimeout == 0 || server.WriteTimeout == 0 || server.IdleTimeout == 0 {
		t.Errorf("the server lacks a limit: %+v", server)
	}
	r.signal(t)
	r.wait(t)
}

// TestTheHandlerAnswersEveryRequest: net/http must not answer any with 200 itself.
func TestTheHandlerAnswersEveryRequest(t *testing.T) {
	refuse := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusTeapot) })
	server := httptest.NewUnstartedServer(nil)
	server.Config = newServer(refuse, zap.NewNop())
	server.Start()
	defer server.Close()
	for _, method := range []string{"OPTIONS", "HEAD", "GET", "POST"} {
		conn, err := net.Dial("tcp", server.Listener.Addr().String())
		if err != nil {
			t.Fatal(err)
		}
		_, _ = io.WriteString(conn, method+" * HTTP/1.1\r\nHost: keytail\r\n\r\n")
		answer, err := http.ReadResponse(bufio.NewReader(conn), nil)
		if err != nil {
			t.Fatal(err)
		}
		_ = answer.Body.Close()
		if answer.StatusCode != http.StatusTeapot {
			t.Errorf("%s *: %d", method, answer.StatusCode)
		}
		_ = conn.Close()
	}
}

// listenAnywhere listens on a free port until the test ends.
func listenAnywhere(t *testing.T) string {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = l.Close() })
	return l.Addr().String()
}

func TestServeTracksUsageByDefault(t *testing.T) {
	for args, want := range map[string]service.UsageMode{"--key-prefix=kt": service.UsageWrite, "--track-usage=false": service.UsageOff} {
		f := newFake()
		r, _, _ := startServe(t, f.deps(), "--drain-delay=0", args)
		if f.cfg.Usage != want {
			t.Errorf("%s: got usage %q, want %q", args, f.cfg.Usage, want)
		}
		r.signal(t)
		r.wait(t)
	}
}
