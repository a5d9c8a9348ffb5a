package integration

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail"
	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
)

// embedding is an API with a service inside it. Its two endpoints do not know keytail:
// the stream waits for its request's context, the WebSocket reads its connection.
type embedding struct {
	*httptest.Server
	fixture *fixture
	// causes are why streams have ended.
	causes chan error
}

// embeddedFixture is a fixture around a service that a program embeds.
type embeddedFixture struct {
	*fixture
	service *keytail.Service
}

// startEmbedded is start for a program that embeds keytail; maxStale may be zero.
func startEmbedded(t *testing.T, s *mongotest.Server, maxStale time.Duration) *embeddedFixture {
	t.Helper()
	database := s.Database(t)
	r := &fixture{t: t, server: s, registry: prometheus.NewRegistry(), appName: "keytail-" + database}
	r.db = s.Client(t, "outsider").Database(database)
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
	return &embeddedFixture{r, embedded}
}

// coreVerdict is the code and the source of a public verdict as the core has them.
func coreVerdict(public auth.Verdict) (verdict apikey.Verdict) {
	for verdict.Code = apikey.Missing; verdict.Code.String() != string(public.Code); verdict.Code++ {
	}
	for verdict.Source = apikey.SourceNone; verdict.Source.String() != string(public.Source); verdict.Source++ {
	}
	return verdict
}

// frameworks are how an API is written.
var frameworks = []string{"gin", "net/http"}

// embed serves an API whose key needs the scope read, by the option and by a
// requirement.
func (r *embeddedFixture) embed(framework string, opts ...auth.Option) *embedding {
	r.t.Helper()
	e := &embedding{fixture: r.fixture, causes: make(chan error, 200)}
	opts = append(opts, auth.CancelOnRevocation(), auth.Scopes("read"))
	var handler http.Handler
	if framework == "gin" {
		engine := gin.New()
		engine.Use(r.service.Authenticate(opts...), auth.RequireAnyScope("read", "write"))
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
		handler = r.service.Middleware(opts...)(auth.AnyScopeMiddleware("read", "write")(mux))
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
		return // Accept has answered
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

// end is when a client has noticed the end of its stream or connection.
type end <-chan time.Time

func endOf(wait func()) end {
	ended := make(chan time.Time, 1)
	go func() {
		wait()
		ended <- time.Now()
	}()
	return ended
}

// openStream and openSocket return when the other side has accepted the key.
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

// openers are the kinds of long connections.
func (e *embedding) openers() map[string]func(key) end {
	return map[string]func(key) end{"stream": e.openStream, "socket": e.openSocket}
}

func (e end) mustHappen(t *testing.T, what string) time.Time {
	t.Helper()
	select {
	case at := <-e:
		return at
	case <-time.After(testkit.WaitTimeout):
		t.Fatal("it did not end: ", what)
		return time.Time{}
	}
}

func (e end) mustNotHappen(t *testing.T, what string) {
	t.Helper()
	select {
	case <-e:
		t.Fatal("it ended: ", what)
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

// catchUp waits until the service has applied everything that was written before.
func (r *fixture) catchUp() {
	r.t.Helper()
	k := r.newValidKey()
	r.set(k, "is_active", false)
	r.waitForCode(k, apikey.Disabled)
}

// endings are what another client may do to a key, and the cause.
var endings = map[string]struct {
	do   func(r *fixture, k key)
	code auth.Code
}{
	"revoked": {func(r *fixture, k key) { r.set(k, "is_active", false) }, auth.Disabled},
	"deleted": {func(r *fixture, k key) {
		if _, err := r.keys.DeleteOne(r.t.Context(), bson.D{{Key: "_id", Value: k.id}}); err != nil {
			r.t.Fatal(err)
		}
	}, auth.NotFound},
	"expires":         {func(r *fixture, k key) { r.set(k, "expires_at", time.Now().Add(300*time.Millisecond)) }, auth.Expired},
	"loses its scope": {func(r *fixture, k key) { r.set(k, "scopes", bson.A{"write"}) }, auth.InsufficientPermissions},
}

func TestOpenRequestsEndWithTheirKey(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := startEmbedded(t, s, 0)
		for _, framework := range frameworks {
			e := r.embed(framework)
			for kind, open := range e.openers() {
				for ending, c := range endings {
					name := fmt.Sprint(framework, ", a ", kind, " whose key ", ending)
					k := r.newValidKey()
					cut := open(k)
					// A change after which the key is valid ends nothing, and neither does a late expiry.
					r.update(k, bson.D{{Key: "$set", Value: bson.D{{Key: "name", Value: "renamed"}, {Key: "expires_at", Value: time.Now().Add(time.Hour)}}}})
					r.catchUp()
					cut.mustNotHappen(t, name)
					c.do(r.fixture, k)
					cut.mustHappen(t, name)
					if kind != "stream" {
						continue
					}
					var revoked *auth.RevokedError
					if cause := <-e.causes; !errors.As(cause, &revoked) || revoked.Code != c.code {
						t.Errorf("%s: the cause is %v", name, cause)
					}
				}
			}
		}
		mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return r.Core.Watches.Watching() == 0 }, "there are watches left")
	})
}

// TestAStreamEndsAtTheExpiryItBeganWith, without an event.
func TestAStreamEndsAtTheExpiryItBeganWith(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := startEmbedded(t, s, 0)
		e := r.embed("gin")
		expires := time.Now().Add(2 * time.Second).Truncate(time.Millisecond)
		k := r.newValidKey(bson.E{Key: "expires_at", Value: expires})
		at := e.openStream(k).mustHappen(t, "an expired key")
		if late := at.Sub(expires); late < 0 {
			t.Errorf("it ended %v early", -late)
		} else {
			t.Logf("ended %v after its expiry", late)
		}
	})
}

// TestDelayOfCancelOnRevocation measures from the acknowledged write of
// another client to the end at the API's client.
func TestDelayOfCancelOnRevocation(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := startEmbedded(t, s, 0)
		e := r.embed("gin")
		for kind, open := range e.openers() {
			const count = 50
			var cuts []end
			var keys []key
			for range count {
				k := r.newValidKey()
				keys, cuts = append(keys, k), append(cuts, open(k))
			}
			r.catchUp()
			var delays []time.Duration
			for i, k := range keys {
				r.set(k, "is_active", false)
				acknowledged := time.Now()
				delays = append(delays, max(0, cuts[i].mustHappen(t, kind).Sub(acknowledged)))
			}
			slices.Sort(delays)
			t.Logf("a %s is cut %v (median), %v (worst of %d) after the acknowledged write", kind, delays[count/2], delays[count-1], count)
			if delays[count-1] > 15*time.Second {
				t.Error("that is more than max_stale")
			}
		}
	})
}

// TestAnOutageEndsOnlyRequestsWithCancelOnOutage, and only past max_stale.
func TestAnOutageEndsOnlyRequestsWithCancelOnOutage(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := startEmbedded(t, s, shortMaxStale)
		keep, lose := r.embed("gin"), r.embed("net/http", auth.CancelOnOutage())
		k := r.newValidKey()
		kept, keptSocket, lost, lostSocket := keep.openStream(k), keep.openSocket(k), lose.openStream(k), lose.openSocket(k)
		mend := r.failCommands("getMore", "aggregate", "find", "update", "findAndModify")
		began := time.Now()
		at := lost.mustHappen(t, "a stream during an outage")
		lostSocket.mustHappen(t, "a socket during an outage")
		if cause := <-lose.causes; !errors.Is(cause, auth.ErrStalenessExceeded) {
			t.Errorf("the cause is %v", cause)
		}
		// The last round trip may be one heartbeat interval older than the outage.
		if after := at.Sub(began); after < shortMaxStale-500*time.Millisecond {
			t.Errorf("ended after %v, before max_stale (%v) was over", after, shortMaxStale)
		} else {
			t.Logf("ended %v after the outage began; max_stale is %v", after, shortMaxStale)
		}
		if answer := lose.get("/whoami", k.text); answer.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("a request is answered with %d", answer.StatusCode)
		}
		kept.mustNotHappen(t, "a stream without CancelOnOutage")
		keptSocket.mustNotHappen(t, "a socket without CancelOnOutage")
		mend()
		r.waitForState("live")
		r.catchUp()
		kept.mustNotHappen(t, "a stream after the outage")
		keptSocket.mustNotHappen(t, "a socket after the outage")
		r.set(k, "is_active", false)
		kept.mustHappen(t, "a revoked key after the outage")
		keptSocket.mustHappen(t, "a revoked key after the outage")
	})
}

// TestAFailedRecheckEndsNothing while the change stream is fresh: the recheck is
// repeated until it succeeds.
func TestAFailedRecheckEndsNothing(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := startEmbedded(t, s, 0)
		e := r.embed("gin", auth.CancelOnOutage())
		k, gone := r.newValidKey(), r.newValidKey()
		kept, cut := e.openStream(k), e.openStream(gone)
		failed := func() float64 { return r.metric("keytail_verdicts_total", "UNAVAILABLE") }
		before := failed()
		mend := r.failCommands("find")
		r.set(k, "name", "renamed")
		r.set(gone, "is_active", false)
		mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return failed() > before+3 }, "no key is read")
		kept.mustNotHappen(t, "a key that cannot be read now")
		cut.mustNotHappen(t, "another one")
		mend()
		cut.mustHappen(t, "a revoked key that can be read again")
		r.catchUp()
		kept.mustNotHappen(t, "a renamed key")
	})
}

// TestASilentServerEndsOnlyRequestsWithCancelOnOutage: the server reports no error.
func TestASilentServerEndsOnlyRequestsWithCancelOnOutage(t *testing.T) {
	for _, scope := range testkit.Scopes {
		for name, stage := range map[string]func(node *devmongo.Server, service string) (heal func()){
			"frozen":      func(node *devmongo.Server, service string) func() { node.Freeze(service); return node.Heal },
			"no majority": func(node *devmongo.Server, _ string) func() { node.HoldMajority(); return node.ReleaseMajority },
		} {
			t.Run(scope+" "+name, func(t *testing.T) {
				d := mongotest.StartDevmongo(t, devmongo.Config{})
				r := startEmbedded(t, d.InScope(scope), shortMaxStale)
				keep, lose := r.embed("net/http"), r.embed("gin", auth.CancelOnOutage())
				k := r.newValidKey()
				kept, lost := keep.openSocket(k), lose.openStream(k)
				began := time.Now()
				heal := stage(d.Node, r.appName)
				at := lost.mustHappen(t, "a stream during an outage")
				if cause := <-lose.causes; !errors.Is(cause, auth.ErrStalenessExceeded) {
					t.Errorf("the cause is %v", cause)
				}
				t.Logf("ended %v after the silence began; max_stale is %v, and the last read was waited for", at.Sub(began), shortMaxStale)
				kept.mustNotHappen(t, "a socket without CancelOnOutage")
				heal()
				r.waitForState("live")
				r.catchUp()
				kept.mustNotHappen(t, "a socket after the outage")
				r.set(k, "is_active", false)
				kept.mustHappen(t, "a revoked key after the outage")
			})
		}
	}
}

// TestARevocationWithoutAChangeStreamEndsOpenRequests with CancelOnOutage: the database
// can still be read.
func TestARevocationWithoutAChangeStreamEndsOpenRequests(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := startEmbedded(t, s, shortMaxStale)
		e := r.embed("gin", auth.CancelOnOutage())
		k, other := r.newValidKey(), r.newValidKey()
		cut, kept := e.openStream(k), e.openStream(other)
		defer r.failCommands("getMore", "aggregate", "update", "findAndModify")()
		r.waitForState("stale")
		r.set(k, "is_active", false)
		acknowledged := time.Now()
		at := cut.mustHappen(t, "a revoked key")
		t.Logf("ended %v after the write, without a change stream", at.Sub(acknowledged))
		var revoked *auth.RevokedError
		if cause := <-e.causes; !errors.As(cause, &revoked) || revoked.Code != auth.Disabled {
			t.Errorf("the cause is %v", cause)
		}
		kept.mustNotHappen(t, "a key that the database calls valid")
	})
}

// TestAChangeDuringALossEndsOpenRequests: the new stream has no event for it.
func TestAChangeDuringALossEndsOpenRequests(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := startEmbedded(t, s, 0)
		e := r.embed("gin")
		k, other := r.newValidKey(), r.newValidKey()
		cut, kept := e.openSocket(k), e.openSocket(other)
		s.Needs(t, mongotest.Failpoints)
		losses := r.metric("keytail_losses_total")
		mend := r.failpoint("alwaysOn", bson.D{
			{Key: "failCommands", Value: bson.A{"getMore", "aggregate"}},
			{Key: "errorCode", Value: 286}, // ChangeStreamHistoryLost
			{Key: "appName", Value: r.appName},
		})
		mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return r.metric("keytail_losses_total") > losses }, "history is not lost")
		r.set(k, "is_active", false)
		mend()
		cut.mustHappen(t, "a key that was revoked during the loss")
		r.waitForState("live")
		r.catchUp()
		kept.mustNotHappen(t, "a key that is still valid")
	})
}

func TestTheMiddlewareFollowsTheHTTPContract(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := startEmbedded(t, s, shortMaxStale)
		good, lacking := r.newValidKey(), r.newValidKey()
		r.set(lacking, "scopes", bson.A{"write"})
		unknown := r.newKey()
		if _, err := r.keys.DeleteOne(t.Context(), bson.D{{Key: "_id", Value: unknown.id}}); err != nil {
			t.Fatal(err)
		}
		cases := []struct {
			text   string
			status int
			code   auth.Code
		}{
			{"", 401, auth.Missing},
			{"not a key", 401, auth.Malformed},
			{unknown.text, 401, auth.NotFound},
			{r.newKey(bson.E{Key: "is_active", Value: false}).text, 401, auth.Disabled},
			{r.newKey(bson.E{Key: "expires_at", Value: time.Now().Add(-time.Hour)}).text, 401, auth.Expired},
			{r.newKey(bson.E{Key: "org_id", Value: "o"}).text, 403, auth.Forbidden},
			{r.newKey(bson.E{Key: "allowed_ips", Value: bson.A{"192.0.2.1"}}).text, 403, auth.Forbidden},
			{lacking.text, 403, auth.InsufficientPermissions},
			{good.text, 200, ""},
		}
		r.catchUp()
		for _, framework := range frameworks {
			e := r.embed(framework)
			for _, c := range cases {
				answer := e.get("/whoami", c.text)
				body, _ := io.ReadAll(answer.Body)
				if answer.StatusCode != c.status || c.code != "" && !strings.Contains(string(body), `"code":"`+string(c.code)+`"`) {
					t.Errorf("%s: %d %s, want %d %s", framework, answer.StatusCode, body, c.status, c.code)
				}
				if c.code == "" && string(body) != "key "+good.id+" of user user-1" {
					t.Errorf("%s: it is %s", framework, body)
				}
			}
		}
		mend := r.failCommands("getMore", "aggregate", "find", "update", "findAndModify")
		defer mend()
		e := r.embed("gin")
		mongotest.Eventually(t, testkit.WaitTimeout, func() bool {
			answer := e.get("/whoami", good.text)
			outage := answer.StatusCode == http.StatusServiceUnavailable
			if !outage && answer.StatusCode != http.StatusOK || outage && answer.Header.Get("Retry-After") != "1" {
				t.Errorf("an outage: %d %v", answer.StatusCode, answer.Header)
			}
			return outage
		}, "it does not become an outage")
	})
}
