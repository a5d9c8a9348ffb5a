package keytail_test

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/gin-gonic/gin"
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail"
	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

// embedding is an API with a service inside it. Its two endpoints look at nothing
// but what they are given: the stream at its request's context, the WebSocket at its
// connection.
type embedding struct {
	*httptest.Server
	rig *rig
	// causes are why streams have ended.
	causes chan error
}

// frameworks are how an API is written.
var frameworks = []string{"gin", "net/http"}

// embed serves an API whose key needs the scope read, by the option and by a
// requirement.
func (r *rig) embed(framework string, opts ...keytail.Option) *embedding {
	r.t.Helper()
	e := &embedding{rig: r, causes: make(chan error, 200)}
	opts = append(opts, keytail.WithRevocationCancel(), auth.Scopes("read"))
	var handler http.Handler
	if framework == "gin" {
		engine := gin.New()
		engine.Use(r.Authenticate(opts...), keytail.RequireAny("read", "write"))
		engine.GET("/stream", func(c *gin.Context) { e.stream(c.Writer, c.Request) })
		engine.GET("/socket", func(c *gin.Context) { e.socket(c.Writer, c.Request) })
		engine.GET("/whoami", keytail.RequireScope("read"), func(c *gin.Context) { c.String(http.StatusOK, "%s", keytail.Principal(c)) })
		handler = engine
	} else {
		mux := http.NewServeMux()
		mux.HandleFunc("/stream", e.stream)
		mux.HandleFunc("/socket", e.socket)
		mux.HandleFunc("/whoami", func(w http.ResponseWriter, r *http.Request) {
			_, _ = fmt.Fprint(w, auth.FromContext(r.Context()))
		})
		handler = r.Middleware(opts...)(auth.AnyScopeMiddleware("read", "write")(mux))
	}
	e.Server = httptest.NewServer(handler)
	r.t.Cleanup(e.Close)
	return e
}

// stream sends one server-sent event, and waits for others that never come.
func (e *embedding) stream(w http.ResponseWriter, r *http.Request) {
	w.Header().Set("Content-Type", "text/event-stream")
	_, _ = io.WriteString(w, "data: hello\n\n")
	w.(http.Flusher).Flush()
	<-r.Context().Done()
	e.causes <- context.Cause(r.Context())
}

// socket reads what never comes, with a context that never ends.
func (e *embedding) socket(w http.ResponseWriter, r *http.Request) {
	conn, err := websocket.Accept(w, r, nil)
	if err != nil {
		return // Accept has answered
	}
	defer func() { _ = conn.CloseNow() }()
	_, _, _ = conn.Read(context.Background())
}

func (e *embedding) get(path, text string) *http.Response {
	e.rig.t.Helper()
	r, err := http.NewRequestWithContext(e.rig.t.Context(), http.MethodGet, e.URL+path, nil)
	if err != nil {
		e.rig.t.Fatal(err)
	}
	if text != "" {
		r.Header.Set("Authorization", "Bearer "+text)
	}
	answer, err := e.Client().Do(r)
	if err != nil {
		e.rig.t.Fatal(err)
	}
	e.rig.t.Cleanup(func() { answer.Body.Close() })
	return answer
}

// end is when a client has noticed that it was cut.
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
	e.rig.t.Helper()
	answer := e.get("/stream", k.text)
	reader := bufio.NewReader(answer.Body)
	if line, err := reader.ReadString('\n'); err != nil || line != "data: hello\n" {
		e.rig.t.Fatalf("%d %q, %v", answer.StatusCode, line, err)
	}
	return endOf(func() { _, _ = io.Copy(io.Discard, reader) })
}

func (e *embedding) openSocket(k key) end {
	e.rig.t.Helper()
	conn, _, err := websocket.Dial(e.rig.t.Context(), strings.Replace(e.URL, "http", "ws", 1)+"/socket", &websocket.DialOptions{
		HTTPClient: e.Client(), HTTPHeader: http.Header{"X-Api-Key": {k.text}},
	})
	if err != nil {
		e.rig.t.Fatal(err)
	}
	e.rig.t.Cleanup(func() { _ = conn.CloseNow() })
	return endOf(func() { _, _, _ = conn.Read(context.Background()) })
}

// openers are the kinds of connection that last.
func (e *embedding) openers() map[string]func(key) end {
	return map[string]func(key) end{"stream": e.openStream, "socket": e.openSocket}
}

func (e end) comes(t *testing.T, what string) time.Time {
	t.Helper()
	select {
	case at := <-e:
		return at
	case <-time.After(patience):
		t.Fatal("it is not cut: ", what)
		return time.Time{}
	}
}

func (e end) hasNotCome(t *testing.T, what string) {
	t.Helper()
	select {
	case <-e:
		t.Fatal("it is cut: ", what)
	default:
	}
}

// newValid is a key that the service knows of.
func (r *rig) newValid(fields ...bson.E) key {
	r.t.Helper()
	k := r.newKey(fields...)
	r.becomes(k, apikey.Valid)
	return k
}

// felt waits until the service has seen all that was written so far.
func (r *rig) felt() {
	r.t.Helper()
	k := r.newValid()
	r.set(k, "is_active", false)
	r.becomes(k, apikey.Disabled)
}

// endings are what another client may do to a key, and the cause.
var endings = map[string]struct {
	do   func(r *rig, k key)
	code keytail.Code
}{
	"revoked": {func(r *rig, k key) { r.set(k, "is_active", false) }, auth.Disabled},
	"deleted": {func(r *rig, k key) {
		if _, err := r.keys.DeleteOne(r.t.Context(), bson.D{{Key: "_id", Value: k.id}}); err != nil {
			r.t.Fatal(err)
		}
	}, auth.NotFound},
	"expires":         {func(r *rig, k key) { r.set(k, "expires_at", time.Now().Add(300*time.Millisecond)) }, auth.Expired},
	"loses its scope": {func(r *rig, k key) { r.set(k, "scopes", bson.A{"write"}) }, auth.InsufficientPermissions},
}

func TestWhatIsOpenIsCutWhenItsKeyEnds(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s)
		for _, framework := range frameworks {
			e := r.embed(framework)
			for kind, open := range e.openers() {
				for ending, c := range endings {
					name := fmt.Sprint(framework, ", a ", kind, " whose key ", ending)
					k := r.newValid()
					cut := open(k)
					// A change that leaves it valid, and expiry far away, cut nothing.
					r.update(k, bson.D{{Key: "$set", Value: bson.D{{Key: "name", Value: "renamed"}, {Key: "expires_at", Value: time.Now().Add(time.Hour)}}}})
					r.felt()
					cut.hasNotCome(t, name)
					c.do(r, k)
					cut.comes(t, name)
					if kind != "stream" {
						continue
					}
					var revoked *keytail.RevokedError
					if cause := <-e.causes; !errors.As(cause, &revoked) || revoked.Code != c.code {
						t.Errorf("%s: the cause is %v", name, cause)
					}
				}
			}
		}
		mongotest.Eventually(t, patience, func() bool { return r.WatchCount() == 0 }, "somebody still watches")
	})
}

// TestAStreamIsCutAtTheExpiryItBeganWith: no event is needed.
func TestAStreamIsCutAtTheExpiryItBeganWith(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s)
		e := r.embed("gin")
		expires := time.Now().Add(2 * time.Second).Truncate(time.Millisecond)
		k := r.newValid(bson.E{Key: "expires_at", Value: expires})
		at := e.openStream(k).comes(t, "an expired key")
		if late := at.Sub(expires); late < 0 {
			t.Errorf("it was cut %v early", -late)
		} else {
			t.Logf("cut %v after its expiry", late)
		}
	})
}

// TestHowLongWhatIsOpenOutlivesItsKey measures from the acknowledged write of
// another client to the end at the API's client.
func TestHowLongWhatIsOpenOutlivesItsKey(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s)
		e := r.embed("gin")
		for kind, open := range e.openers() {
			const count = 50
			var cuts []end
			var keys []key
			for range count {
				k := r.newValid()
				keys, cuts = append(keys, k), append(cuts, open(k))
			}
			r.felt()
			var delays []time.Duration
			for i, k := range keys {
				r.set(k, "is_active", false)
				acknowledged := time.Now()
				delays = append(delays, max(0, cuts[i].comes(t, kind).Sub(acknowledged)))
			}
			slices.Sort(delays)
			t.Logf("a %s is cut %v (median), %v (worst of %d) after the acknowledged write", kind, delays[count/2], delays[count-1], count)
			if delays[count-1] > 15*time.Second {
				t.Error("that is more than max_stale")
			}
		}
	})
}

// TestAnOutageCutsOnlyThoseWhoWantIt, and only past max_stale.
func TestAnOutageCutsOnlyThoseWhoWantIt(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s, hasty)
		keep, lose := r.embed("gin"), r.embed("net/http", keytail.CancelOnOutage())
		k := r.newValid()
		kept, keptSocket, lost, lostSocket := keep.openStream(k), keep.openSocket(k), lose.openStream(k), lose.openSocket(k)
		mend := r.cut("getMore", "aggregate", "find", "update", "findAndModify")
		began := time.Now()
		at := lost.comes(t, "a stream whose truth is lost")
		lostSocket.comes(t, "a socket whose truth is lost")
		if cause := <-lose.causes; !errors.Is(cause, keytail.ErrStalenessExceeded) {
			t.Errorf("the cause is %v", cause)
		}
		// The last freshness may be a heartbeat older than the outage.
		if after := at.Sub(began); after < hastyMaxStale-500*time.Millisecond {
			t.Errorf("cut after %v, before max_stale (%v) was over", after, hastyMaxStale)
		} else {
			t.Logf("cut %v after the outage began; max_stale is %v", after, hastyMaxStale)
		}
		if answer := lose.get("/whoami", k.text); answer.StatusCode != http.StatusServiceUnavailable {
			t.Errorf("a request is answered with %d", answer.StatusCode)
		}
		kept.hasNotCome(t, "a stream that an outage does not cut")
		keptSocket.hasNotCome(t, "a socket that an outage does not cut")
		mend()
		r.reaches("live")
		r.felt()
		kept.hasNotCome(t, "a stream after the outage")
		keptSocket.hasNotCome(t, "a socket after the outage")
		r.set(k, "is_active", false)
		kept.comes(t, "a revoked key after the outage")
		keptSocket.comes(t, "a revoked key after the outage")
	})
}

// TestAReadThatFailsCutsNothing while the stream is heard of: it is made again until it
// succeeds.
func TestAReadThatFailsCutsNothing(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s)
		e := r.embed("gin", keytail.CancelOnOutage())
		k, gone := r.newValid(), r.newValid()
		kept, cut := e.openStream(k), e.openStream(gone)
		failed := func() float64 { return r.metric("keytail_verdicts_total", "UNAVAILABLE") }
		before := failed()
		mend := r.cut("find")
		r.set(k, "name", "renamed")
		r.set(gone, "is_active", false)
		mongotest.Eventually(t, patience, func() bool { return failed() > before+3 }, "nothing is read")
		kept.hasNotCome(t, "a key that cannot be read at the moment")
		cut.hasNotCome(t, "another one")
		mend()
		cut.comes(t, "a revoked key that can be read again")
		r.felt()
		kept.hasNotCome(t, "a renamed key")
	})
}

// TestASilentServerCutsOnlyThoseWhoWantIt: no error says that the truth is lost.
func TestASilentServerCutsOnlyThoseWhoWantIt(t *testing.T) {
	for _, scope := range scopes {
		for name, stage := range map[string]func(node *devmongo.Server, service string) (heal func()){
			"frozen":      func(node *devmongo.Server, service string) func() { node.Freeze(service); return node.Heal },
			"no majority": func(node *devmongo.Server, _ string) func() { node.HoldMajority(); return node.ReleaseMajority },
		} {
			t.Run(scope+" "+name, func(t *testing.T) {
				d := mongotest.StartDevmongo(t, devmongo.Config{})
				r := start(t, d.InScope(scope), hasty)
				keep, lose := r.embed("net/http"), r.embed("gin", keytail.CancelOnOutage())
				k := r.newValid()
				kept, lost := keep.openSocket(k), lose.openStream(k)
				began := time.Now()
				heal := stage(d.Node, r.appName)
				at := lost.comes(t, "a stream whose truth is lost")
				if cause := <-lose.causes; !errors.Is(cause, keytail.ErrStalenessExceeded) {
					t.Errorf("the cause is %v", cause)
				}
				t.Logf("cut %v after the silence began; max_stale is %v, and the last read was waited for", at.Sub(began), hastyMaxStale)
				kept.hasNotCome(t, "a socket that an outage does not cut")
				heal()
				r.reaches("live")
				r.felt()
				kept.hasNotCome(t, "a socket after the outage")
				r.set(k, "is_active", false)
				kept.comes(t, "a revoked key after the outage")
			})
		}
	}
}

// TestARevocationIsFeltWhileTheStreamIsAway, by those who want it: the database can
// still be asked.
func TestARevocationIsFeltWhileTheStreamIsAway(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s, hasty)
		e := r.embed("gin", keytail.CancelOnOutage())
		k, other := r.newValid(), r.newValid()
		cut, kept := e.openStream(k), e.openStream(other)
		defer r.cut("getMore", "aggregate", "update", "findAndModify")()
		r.reaches("stale")
		r.set(k, "is_active", false)
		acknowledged := time.Now()
		at := cut.comes(t, "a revoked key")
		t.Logf("cut %v after the write, without a change stream", at.Sub(acknowledged))
		var revoked *keytail.RevokedError
		if cause := <-e.causes; !errors.As(cause, &revoked) || revoked.Code != auth.Disabled {
			t.Errorf("the cause is %v", cause)
		}
		kept.hasNotCome(t, "a key that the database calls valid")
	})
}

// TestWhatChangesWhileHistoryIsLostIsFelt: by the new stream there is no event for
// it.
func TestWhatChangesWhileHistoryIsLostIsFelt(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s)
		e := r.embed("gin")
		k, other := r.newValid(), r.newValid()
		cut, kept := e.openSocket(k), e.openSocket(other)
		s.Needs(t, mongotest.Failpoints)
		losses := r.metric("keytail_losses_total")
		mend := r.failpoint("alwaysOn", bson.D{
			{Key: "failCommands", Value: bson.A{"getMore", "aggregate"}},
			{Key: "errorCode", Value: 286}, // ChangeStreamHistoryLost
			{Key: "appName", Value: r.appName},
		})
		mongotest.Eventually(t, patience, func() bool { return r.metric("keytail_losses_total") > losses }, "history is not lost")
		r.set(k, "is_active", false)
		mend()
		cut.comes(t, "a key that was revoked meanwhile")
		r.reaches("live")
		r.felt()
		kept.hasNotCome(t, "a key that is valid still")
	})
}

func TestTheMiddlewareAnswersAsTheContractSays(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s, hasty)
		good, lacking := r.newValid(), r.newValid()
		r.set(lacking, "scopes", bson.A{"write"})
		unknown := r.newKey()
		if _, err := r.keys.DeleteOne(t.Context(), bson.D{{Key: "_id", Value: unknown.id}}); err != nil {
			t.Fatal(err)
		}
		cases := []struct {
			text   string
			status int
			code   keytail.Code
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
		r.felt()
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
		mend := r.cut("getMore", "aggregate", "find", "update", "findAndModify")
		defer mend()
		e := r.embed("gin")
		mongotest.Eventually(t, patience, func() bool {
			answer := e.get("/whoami", good.text)
			outage := answer.StatusCode == http.StatusServiceUnavailable
			if !outage && answer.StatusCode != http.StatusOK || outage && answer.Header.Get("Retry-After") != "1" {
				t.Errorf("an outage: %d %v", answer.StatusCode, answer.Header)
			}
			return outage
		}, "it does not become an outage")
	})
}
