package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/connlimit"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/extauthz"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/reload"
)

// asBinary is the environment variable that makes the test binary run as keytail with a
// fake service.
const asBinary = "KEYTAIL_CLI_TEST_AS_BINARY"

func TestMain(m *testing.M) {
	if os.Getenv(asBinary) != "" {
		os.Exit(Main(os.Args[1:], os.Stdout, os.Stderr, newFake().deps()))
	}
	goleak.VerifyTestMain(m)
}

// waitTimeout limits waits for something that should happen immediately.
const waitTimeout = 20 * time.Second

// unreachable is a URI without a server: the fake service never connects.
const unreachable = "--mongodb-uri=mongodb://127.0.0.1:1/keys"

// buffer is a writer whose changes a test can wait for.
type buffer struct {
	mu      sync.Mutex
	content bytes.Buffer
	changed chan struct{}
}

func newBuffer() *buffer { return &buffer{changed: make(chan struct{})} }

func (b *buffer) Write(p []byte) (int, error) {
	b.mu.Lock()
	defer b.mu.Unlock()
	close(b.changed)
	b.changed = make(chan struct{})
	return b.content.Write(p)
}

func (b *buffer) String() string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.content.String()
}

// waitFor waits for a complete line that contains text, and returns it.
func (b *buffer) waitFor(t *testing.T, text string) string {
	t.Helper()
	deadline := time.After(waitTimeout)
	for {
		b.mu.Lock()
		content, changed := b.content.String(), b.changed
		b.mu.Unlock()
		for line := range strings.Lines(content) {
			if strings.Contains(line, text) && strings.HasSuffix(line, "\n") {
				return strings.TrimSpace(line)
			}
		}
		select {
		case <-changed:
		case <-deadline:
			t.Fatalf("%q was not written; got:\n%s", text, content)
		}
	}
}

// fake is a service whose behaviour a test sets.
type fake struct {
	public http.HandlerFunc
	live   chan struct{}
	// runs replaces Run. Nil: wait for ctx.
	runs func(ctx context.Context) error

	mu     sync.Mutex
	events []string
	// drained is closed by Drain.
	drained chan struct{}
	cfg     daemon.Config

	extauthz *extauthz.Server
}

// unavailable is a validator that always returns Unavailable.
type unavailable struct{}

func (unavailable) Validate(context.Context, string, *apikey.Request) apikey.Verdict {
	return apikey.Verdict{}
}

func (unavailable) Refuse(code apikey.Code) apikey.Verdict { return apikey.Verdict{Code: code} }

func newFake() *fake {
	f := &fake{live: make(chan struct{}), drained: make(chan struct{})}
	close(f.live)
	authority, err := forwardauth.New(forwardauth.Config{Validator: unavailable{}})
	if err != nil {
		panic(err)
	}
	if f.extauthz, err = extauthz.New(extauthz.Config{Authority: authority, Live: f.live}); err != nil {
		panic(err)
	}
	f.public = func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "public") }
	return f
}

func (f *fake) note(event string) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.events = append(f.events, event)
}

func (f *fake) noted() []string {
	f.mu.Lock()
	defer f.mu.Unlock()
	return append([]string(nil), f.events...)
}

func (f *fake) Run(ctx context.Context) error {
	defer f.note("tail stopped")
	if f.runs != nil {
		return f.runs(ctx)
	}
	<-ctx.Done()
	return ctx.Err()
}

func (f *fake) Public() http.Handler { return f.public }

func (f *fake) Operations() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "operations") })
}

func (f *fake) Admin() http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "admin") })
}

func (f *fake) ExtAuthz() *extauthz.Server { return f.extauthz }

func (f *fake) Files() []*reload.Files { return nil }

func (f *fake) ReopenLogs() bool {
	f.note("reopen logs")
	return f.cfg.DecisionLog.Path != ""
}

func (f *fake) Live() <-chan struct{} { return f.live }

func (f *fake) Drain() {
	f.note("drain")
	f.extauthz.Drain()
	close(f.drained)
}

func (f *fake) deps() Deps {
	return Deps{Version: "v1.2.3", NewService: func(_ context.Context, cfg daemon.Config) (Service, error) {
		f.cfg = cfg
		return f, nil
	}}
}

// running is a command that has been started.
type running struct {
	stdout, stderr *buffer
	signals        chan os.Signal
	code           chan int
}

func start(args []string, deps Deps) *running {
	r := &running{stdout: newBuffer(), stderr: newBuffer(), signals: make(chan os.Signal), code: make(chan int, 1)}
	go func() { r.code <- run(args, r.signals, r.stdout, r.stderr, deps) }()
	return r
}

// startServe starts serve on free ports and returns the base URLs once it
// serves.
func startServe(t *testing.T, deps Deps, args ...string) (r *running, public, operations string) {
	t.Helper()
	r = start(append([]string{unreachable, "--addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0"}, args...), deps)
	public, operations = r.serving(t)
	return r, public, operations
}

// serving returns the base URLs once the command serves.
func (r *running) serving(t *testing.T) (public, operations string) {
	t.Helper()
	var line struct {
		Addr    string `json:"addr"`
		OpsAddr string `json:"ops_addr"`
	}
	if err := json.Unmarshal([]byte(r.stderr.waitFor(t, `"serving"`)), &line); err != nil {
		t.Fatal(err)
	}
	return "http://" + line.Addr, "http://" + line.OpsAddr
}

func (r *running) signal(t *testing.T) {
	t.Helper()
	select {
	case r.signals <- os.Interrupt:
	case <-time.After(waitTimeout):
		t.Fatal("no goroutine receives the signal")
	}
}

func (r *running) wait(t *testing.T) int {
	t.Helper()
	select {
	case code := <-r.code:
		return code
	case <-time.After(waitTimeout):
		t.Fatalf("the command did not end; stderr:\n%s", r.stderr)
		return -1
	}
}

// finish runs a command to its end.
func finish(t *testing.T, deps Deps, args ...string) (code int, stdout, stderr string) {
	t.Helper()
	r := start(args, deps)
	code = r.wait(t)
	return code, r.stdout.String(), r.stderr.String()
}

// get returns a body, or the error of a request that was not answered.
func get(t *testing.T, url string) (string, error) {
	t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: waitTimeout}
	response, err := client.Get(url)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return string(body), err
}

// unlimited is a listener whose limit no test reaches.
func unlimited(t *testing.T, l net.Listener) *connlimit.Listener {
	t.Helper()
	limited, err := connlimit.New(l, connlimit.Config{Limit: 1000})
	if err != nil {
		t.Fatal(err)
	}
	return limited
}

func newTestLogger(t *testing.T) *zap.Logger { return zaptest.NewLogger(t) }
