package integration

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail"
	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
)

// embedding is an API that embeds a service. Its two endpoints do not know keytail: the
// stream waits for its request's context, the WebSocket reads from its connection.
type embedding struct {
	*httptest.Server
	fixture *fixture
	// causes receives the cause of the end of each stream.
	causes chan error
}

// embeddedFixture is a fixture with an embedded service instead of a daemon.
type embeddedFixture struct {
	*fixture
	service *keytail.Service
	// watcher is the service, for middleware.
	watcher *watchCounter
}

// startEmbedded is start for an embedded service; maxStale zero: the default.
func startEmbedded(t *testing.T, s *mongotest.Server, maxStale time.Duration) *embeddedFixture {
	t.Helper()
	database := s.Database(t)
	r := &fixture{t: t, server: s, registry: prometheus.NewRegistry(), appName: "keytail-" + database}
	r.db = s.Client(t, "other-client").Database(database)
	r.keys = mongotest.CreateAPIKeys(t, r.db)
	config := keytail.Config{
		Client: s.Client(t, r.appName), Database: database, StreamScope: keytail.StreamScope(s.StreamScope),
		CacheSizeMiB: 8, Registerer: r.registry, MaxStale: maxStale, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
	if maxStale != 0 {
		config.HeartbeatInterval = 100 * time.Millisecond
	}
	embedded, err := keytail.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	r.embedded = func(ctx context.Context, text string, request *apikey.Request) apikey.Verdict {
		verdict, _ := embedded.Validate(ctx, text, auth.Request{Scopes: request.Scopes})
		return coreVerdict(verdict)
	}
	r.runUntilLive(embedded)
	return &embeddedFixture{r, embedded, &watchCounter{RevocationWatcher: embedded}}
}

// watchCounter counts the watches that the middleware has not stopped.
type watchCounter struct {
	auth.RevocationWatcher
	open atomic.Int64
}

func (c *watchCounter) Watch(request auth.WatchRequest) auth.Watch {
	c.open.Add(1)
	return &countedWatch{Watch: c.RevocationWatcher.Watch(request), stopped: sync.OnceFunc(func() { c.open.Add(-1) })}
}

type countedWatch struct {
	auth.Watch
	stopped func()
}

func (w *countedWatch) Stop() {
	w.Watch.Stop()
	w.stopped()
}

// coreVerdict converts the code and the source of a public verdict to the core's types.
func coreVerdict(public auth.Verdict) (verdict apikey.Verdict) {
	for verdict.Code = apikey.Missing; verdict.Code.String() != string(public.Code); verdict.Code++ {
	}
	for verdict.Source = apikey.SourceNone; verdict.Source.String() != string(public.Source); verdict.Source++ {
	}
	return verdict
}

// frameworks are the HTTP frameworks of the API.
var frameworks = []string{"gin", "net/http"}

// embed serves an API that requires the scope read, by an option and by a requirement.
func (r *embeddedFixture) embed(framework string, opts ...auth.Option) *embedding {
	r.t.Helper()
	e := &embedding{fixture: r.fixture, causes: make(chan error, 200)}
	opts = append(opts, auth.CancelOnRevocation(), auth.Scopes("read"))
	var handler http.Handler
	if framework == "gin" {
		engine := gin.New()
		engine.Use(auth.Authenticate(r.watcher, opts...), auth.RequireAnyScope("read", "write"))
		engine.GET("/stream", func(c *gin.Context) { e.stream(c.Writer, c.Request) })
		engine.GET("/socket", func(c *gin.Context) { e.socket(c.Writer, c.Request) })
		engine.GET("/whoami", auth.RequireScope("read"), func(c *gin.Context) { c.String(http.StatusOK, "%s", auth.FromGin(c)) })
		handler = engine
	} else {
		mux := http.NewServeMux()
		mux.HandleFunc("/stream", e.stream)
		mux.HandleFunc("/socket", e.socket)
		mux.HandleFunc("/whoami", func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprint(w, auth.FromContext(r.Context()))
		})
		handler = auth.Middleware(r.watcher, opts...)(auth.AnyScopeMiddleware("read", "write")(mux))
	}
	e.Server = httptest.NewServer(handler)
	r.t.Cleanup(e.Close)
	return e
}

// stream sends one server-sent event, and waits for the end of its context.
func (e *embedding) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, "data: hello\n\n")
	w.(http.Flusher).Flush()
	<-r.Context().Done()
	e.causes <- context.Cause(r.Context())
}

// socket reads from a silent client, with a context that never ends.
func (e *embedding) socket(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has written the response
	}
	defer func() { _ = conn.CloseNow() }()
	_, _, _ = conn.Read(context.Background())
}

func (e *embedding) get(path, text string) *http.Response {
	e.fixture.t.Helper()
	r, err := http.NewRequestWithContext(e.fixture.t.Context(), http.MethodGet, e.URL+path, nil)
	if err != nil {
		e.fixture.t.Fatal(err)
	}
	if text != "" {
		r.Header.Set("Authorization", "Bearer "+text)
	}
	answer, err := e.Client().Do(r)
	if err != nil {
		e.fixture.t.Fatal(err)
	}
	e.fixture.t.Cleanup(func() { answer.Body.Close() })
	return answer
}

// end receives the time at which a client noticed the end of its stream or connection.
type end <-chan time.Time

func endOf(wait func()) end {
	ended := make(chan time.Time, 1)
	go func() {
		wait()
		ended <- time.Now()
	}()
	return ended
}

// openStream and openSocket return when the API has accepted the key.
func (e *embedding) openStream(k key) end {
	e.fixture.t.Helper()
	answer := e.get("/stream", k.text)
	reader := bufio.NewReader(answer.Body)
	if line, err := reader.ReadString('\n'); err != nil || line != "data: hello\n" {
		e.fixture.t.Fatalf("%d %q, %v", answer.StatusCode, line, err)
	}
	return endOf(func() { _, _ = io.Copy(io.Discard, reader) })
}

func (e *embedding) openSocket(k key) end {
	e.fixture.t.Helper()
	conn, _, err := websocket.Dial(e.fixture.t.Context(), strings.Replace(e.URL, "http", "ws", 1)+"/socket", &websocket.DialOptions{
		HTTPClient: e.Client(), HTTPHeader: http.Header{"X-Api-Key": {k.text}},
	})
	if err != nil {
		e.fixture.t.Fatal(err)
	}
	e.fixture.t.Cleanup(func() { _ = conn.CloseNow() })
	return endOf(func() { _, _, _ = conn.Read(context.Background()) })
}

// openers returns a function for each kind of long connection.
func (e *embedding) openers() map[string]func(key) end {
	return map[string]func(key) end{"stream": e.openStream, "socket": e.openSocket}
}

func (e end) mustHappen(t *testing.T, what string) time.Time {
	t.Helper()
	select {
	case at := <-e:
		return at
	case <-time.After(testkit.WaitTimeout):
		t.Fatal("did not end: ", what)
		return time.Time{}
	}
}

func (e end) mustNotHappen(t *testing.T, what string) {
	t.Helper()
	select {
	case <-e:
		t.Fatal("ended, want it open: ", what)
	default:
	}
}

// newValidKey inserts a key and waits until the service accepts it.
func (r *fixture) newValidKey(fields ...bson.E) key {
	r.t.Helper()
	k := r.newKey(fields...)
	r.waitForCode(k, apikey.Valid)
	return k
}

// catchUp waits until the service has applied all earlier writes.
func (r *fixture) catchUp() {
	r.t.Helper()
	k := r.newValidKey()
	r.set(k, "is_active", false)
	r.waitForCode(k, apikey.Disabled)
}
