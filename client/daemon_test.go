package client

import (
	"bufio"
	"context"
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	toxiproxy "github.com/Shopify/toxiproxy/v2"
	"github.com/gin-gonic/gin"
	"github.com/google/go-cmp/cmp"
	"github.com/rs/zerolog"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/zap"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/coreauth"
	keytaild "github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/service"
)

// daemon is a keytail.Service with its own database.
type daemon struct {
	*keytaild.Daemon
	t      *testing.T
	server *mongotest.Server
	// appName is the appName of the service's MongoDB client.
	appName string
	keys    *mongo.Collection
	created int
}

func startDaemon(t *testing.T, s *mongotest.Server, change ...func(*keytaild.Config)) *daemon {
	t.Helper()
	d := prepareDaemon(t, s, change...)
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
	select {
	case <-d.Live():
	case <-time.After(patience):
		t.Fatal("timeout: the daemon is not live")
	}
	return d
}

// prepareDaemon is one that does not run: it reads the database about each key.
func prepareDaemon(t *testing.T, s *mongotest.Server, change ...func(*keytaild.Config)) *daemon {
	t.Helper()
	tokens := filepath.Join(t.TempDir(), "callers")
	if err := os.WriteFile(tokens, []byte("web="+callerToken+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	database := s.Database(t)
	d := &daemon{t: t, server: s, appName: "keytail-" + database}
	d.keys = mongotest.CreateAPIKeys(t, s.Client(t, "outsider").Database(database))
	config := keytaild.Config{
		Config: service.Config{
			Client: s.Client(t, d.appName), Database: database, StreamScope: changestream.Scope(s.StreamScope), CacheSizeMiB: 8,
		},
		CallerTokenFile: tokens,
	}
	for _, f := range change {
		f(&config)
	}
	var err error
	if d.Daemon, err = keytaild.New(t.Context(), config); err != nil {
		t.Fatal(err)
	}
	return d
}

// serve starts an HTTP server for the public listener.
func (d *daemon) serve() *httptest.Server {
	server := httptest.NewServer(d.Public())
	d.t.Cleanup(func() {
		server.CloseClientConnections() // streams of events have no end
		server.Close()
	})
	return server
}

// newKey inserts an active key; fields replace or add fields of its document.
func (d *daemon) newKey(fields ...bson.E) (id, text string) {
	d.t.Helper()
	text, err := apikey.Generate(apikey.DefaultPrefix, nil)
	if err != nil {
		d.t.Fatal(err)
	}
	d.created++
	id = fmt.Sprint("key-", d.created)
	document := bson.M{
		"_id": id, "key_hash": apikey.HashOf(text).Hex(), "user_id": "user-1", "name": "a key",
		"scopes": bson.A{"read"}, "is_active": true, "created_at": time.Now(),
	}
	for _, f := range fields {
		document[f.Key] = f.Value
	}
	if _, err := d.keys.InsertOne(d.t.Context(), document); err != nil {
		d.t.Fatal(err)
	}
	d.waitFor(text, func(code auth.Code) bool { return code != auth.NotFound })
	return id, text
}

// Validate and Authenticate are those of a program that embeds keytail, on the same
// core.
func (d *daemon) Validate(ctx context.Context, key string, request auth.Request) (auth.Verdict, error) {
	return coreauth.Validator{Core: d.Core}.Validate(ctx, key, request)
}

func (d *daemon) Authenticate(opts ...auth.Option) gin.HandlerFunc {
	return auth.Authenticate(coreauth.Validator{Core: d.Core}, opts...)
}

// waitFor waits until the daemon's own answer is this one.
func (d *daemon) waitFor(text string, is func(auth.Code) bool) {
	d.t.Helper()
	mongotest.Eventually(d.t, patience, func() bool {
		verdict, err := d.Validate(d.t.Context(), text, auth.Request{})
		return err == nil && is(verdict.Code)
	}, "the daemon has not applied the change")
}

// revoke disables a key, as another program would, and returns the revision.
func (d *daemon) revoke(id string) auth.Revision {
	d.t.Helper()
	session, err := d.keys.Database().Client().StartSession(options.Session().SetCausalConsistency(false))
	if err != nil {
		d.t.Fatal(err)
	}
	defer session.EndSession(context.Background())
	_, err = d.keys.UpdateByID(mongo.NewSessionContext(d.t.Context(), session), id, bson.D{{Key: "$set", Value: bson.D{{Key: "is_active", Value: false}}}})
	if err != nil {
		d.t.Fatal(err)
	}
	at := session.OperationTime()
	return auth.Revision(clustertime.New(at.T, at.I))
}

// fail makes these commands of the daemon fail until the test ends.
func (d *daemon) fail(commands ...any) {
	d.t.Helper()
	d.server.Needs(d.t, mongotest.Failpoints)
	admin := d.server.Client(d.t, "operator").Database("admin")
	set := func(mode string) error {
		return admin.RunCommand(context.Background(), bson.D{
			{Key: "configureFailPoint", Value: "failCommand"},
			{Key: "mode", Value: mode},
			{Key: "data", Value: bson.D{{Key: "failCommands", Value: bson.A(commands)}, {Key: "errorCode", Value: 11601}, {Key: "appName", Value: d.appName}}},
		}).Err()
	}
	if err := set("alwaysOn"); err != nil {
		d.t.Fatal(err)
	}
	d.t.Cleanup(func() {
		if err := set("off"); err != nil {
			d.t.Errorf("the failpoint stays on: %v", err)
		}
	})
}

// runClient calls Run until the test ends.
func runClient(t *testing.T, c *Client) {
	t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- c.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("Run: %v", err)
		}
	})
}

// Status, headers and body of both are the same for every verdict.
func TestMiddlewareOfClientAndService(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d := startDaemon(t, s)
		c := newClient(t, d.serve().URL)
		_, good := d.newKey()
		_, disabled := d.newKey(bson.E{Key: "is_active", Value: false})
		_, broken := d.newKey(bson.E{Key: "scopes", Value: "read"})
		_, expired := d.newKey(bson.E{Key: "expires_at", Value: time.Now().Add(-time.Hour)})
		_, restricted := d.newKey(bson.E{Key: "allowed_ips", Value: bson.A{"203.0.113.0/24"}})
		_, bound := d.newKey(bson.E{Key: "org_id", Value: "acme"}, bson.E{Key: "project_id", Value: "p1"})
		_, full := d.newKey(
			bson.E{Key: "scopes", Value: bson.A{"a b", "*"}[1:]}, bson.E{Key: "metadata", Value: bson.D{{Key: "plan", Value: "gold"}}},
			bson.E{Key: "expires_at", Value: time.Date(2099, 1, 2, 3, 4, 5, 6e6, time.UTC)}, bson.E{Key: "name", Value: "näme"})
		org := func(*http.Request) string { return "acme" }
		for name, test := range map[string]struct {
			keys   []string
			opts   []auth.Option
			status int
			code   string
		}{
			"missing":               {nil, nil, 401, "MISSING"},
			"malformed":             {[]string{"short"}, nil, 401, "MALFORMED"},
			"mistyped":              {[]string{good[:len(good)-1] + "~"}, nil, 401, "MALFORMED"},
			"long":                  {[]string{strings.Repeat("x", 20<<10)}, nil, 401, "MALFORMED"},
			"invalid UTF-8":         {[]string{"kt_\xff\xfe-invalid"}, nil, 401, "MALFORMED"},
			"two keys":              {[]string{good, full}, nil, 401, "MALFORMED"},
			"not found":             {[]string{"another-key-that-is-unknown"}, nil, 401, "NOT_FOUND"},
			"disabled":              {[]string{disabled}, nil, 401, "DISABLED"},
			"cannot be decoded":     {[]string{broken}, nil, 401, "DISABLED"},
			"expired":               {[]string{expired}, nil, 401, "EXPIRED"},
			"allow-list":            {[]string{restricted}, nil, 403, "FORBIDDEN"},
			"bound":                 {[]string{bound}, nil, 200, ""},
			"bound, required":       {[]string{bound}, []auth.Option{auth.RequireOrg()}, 403, "FORBIDDEN"},
			"path without an org":   {[]string{bound}, []auth.Option{auth.OrgID(auth.PathParam("org"))}, 403, "FORBIDDEN"},
			"another org":           {[]string{bound}, []auth.Option{auth.OrgID(func(*http.Request) string { return "emca" })}, 403, "FORBIDDEN"},
			"the same org":          {[]string{bound}, []auth.Option{auth.OrgID(org), auth.ProjectID(func(*http.Request) string { return "p1" })}, 200, ""},
			"replacement character": {[]string{bound}, []auth.Option{auth.OrgID(func(*http.Request) string { return "ac\uFFFDme" })}, 403, "FORBIDDEN"},
			"replaced, not bound":   {[]string{good}, []auth.Option{auth.OrgID(func(*http.Request) string { return "ac\uFFFDme" })}, 200, ""},
			"invalid org":           {[]string{bound}, []auth.Option{auth.OrgID(func(*http.Request) string { return "a\x00b" })}, 400, "BAD_REQUEST"},
			"scope":                 {[]string{good}, []auth.Option{auth.Scopes("write", "read")}, 403, "INSUFFICIENT_PERMISSIONS"},
			"sufficient scope":      {[]string{good}, []auth.Option{auth.Scopes("read")}, 200, ""},
			"valid":                 {[]string{good}, nil, 200, ""},
			"all fields":            {[]string{full}, []auth.Option{auth.Scopes("any:thing")}, 200, ""},
		} {
			t.Run(name, func(t *testing.T) {
				embedded, remote := responseOf(d.Authenticate(test.opts...), test.keys), responseOf(c.Authenticate(test.opts...), test.keys)
				if diff := cmp.Diff(embedded, remote); diff != "" {
					t.Error(diff)
				}
				if embedded.Status != test.status || test.code != "" && !strings.Contains(embedded.Body, `"`+test.code+`"`) {
					t.Errorf("%+v", embedded)
				}
			})
		}
	})
}

func TestOutageOfClientAndService(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d := prepareDaemon(t, s)
		_, text := d.newKey()
		c := newClient(t, d.serve().URL)
		d.fail("find", "aggregate")
		embedded, remote := responseOf(d.Authenticate(), []string{text}), responseOf(c.Authenticate(), []string{text})
		if diff := cmp.Diff(embedded, remote); diff != "" || embedded.Status != http.StatusServiceUnavailable || embedded.Header.Get("Retry-After") != "1" {
			t.Errorf("%+v %s", embedded, diff)
		}
	})
}

// response is what a client of the API receives.
type response struct {
	Status int
	Header http.Header
	Body   string
}

// responseOf sends a request to an API whose handler writes the principal.
func responseOf(middleware gin.HandlerFunc, keys []string) response {
	router := gin.New()
	router.GET("/", middleware, func(c *gin.Context) {
		p := auth.FromGin(c)
		c.JSON(http.StatusOK, gin.H{
			"key": p.KeyID, "user": p.UserID, "org": p.OrgID, "project": p.ProjectID, "name": p.Name, "scopes": p.Scopes,
			"metadata": string(p.Metadata), "expires": p.ExpiresAt.UTC(), "fresh": !p.AsOf.IsZero() && p.Revision != 0,
		})
	})
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.Header.Set("X-Request-Id", "the-same")
	for _, key := range keys {
		request.Header.Add("X-Api-Key", key)
	}
	recorder := httptest.NewRecorder()
	router.ServeHTTP(recorder, request)
	return response{recorder.Code, recorder.Header(), recorder.Body.String()}
}

// It is no verdict about the API key.
func TestWrongCallerTokenIsUnavailable(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d := startDaemon(t, s)
		_, text := d.newKey()
		for _, token := range []string{"", "another-unknown-token"} {
			c := newClient(t, d.serve().URL, func(c *Config) { c.Token = token })
			verdict, err := c.Validate(t.Context(), text, auth.Request{})
			if !errors.Is(err, ErrCallerToken) || !errors.Is(err, auth.ErrUnavailable) || verdict.Code != auth.Unavailable {
				t.Errorf("%+v, %v", verdict, err)
			}
			if got := responseOf(c.Authenticate(), []string{text}); got.Status != http.StatusServiceUnavailable || got.Header.Get("WWW-Authenticate") != "" {
				t.Errorf("%+v", got)
			}
		}
	})
}

func TestTLSWithAPrivateCA(t *testing.T) {
	mongotest.Each(t, tlsWithAPrivateCA)
}

func tlsWithAPrivateCA(t *testing.T, s *mongotest.Server) {
	d := prepareDaemon(t, s)
	_, text := d.newKey()
	server := httptest.NewUnstartedServer(d.Public())
	server.Config.ErrorLog = zap.NewStdLog(zap.NewNop()) // failed handshakes
	server.StartTLS()
	t.Cleanup(server.Close)
	pool := x509.NewCertPool()
	pool.AddCert(server.Certificate())
	trust := func(c *Config) { c.TLS = &tls.Config{RootCAs: pool, MinVersion: tls.VersionTLS12} }
	if verdict, err := newClient(t, server.URL, trust).Validate(t.Context(), text, auth.Request{}); err != nil || !verdict.Valid() {
		t.Errorf("%+v, %v", verdict, err)
	}
	c := newClient(t, server.URL)
	if _, err := c.Validate(t.Context(), text, auth.Request{}); !errors.Is(err, auth.ErrUnavailable) || !strings.Contains(err.Error(), "is not trusted") {
		t.Errorf("%v", err)
	}
	other := newClient(t, server.URL, trust, func(c *Config) { c.TLS.ServerName = "another.example.org" })
	if _, err := other.Validate(t.Context(), text, auth.Request{}); !errors.Is(err, auth.ErrUnavailable) || !strings.Contains(err.Error(), "is not trusted") {
		t.Errorf("%v", err)
	}
}

// The instance may not have applied the change yet.
func TestMinRevision(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d := startDaemon(t, s)
		c := newClient(t, d.serve().URL)
		for range 20 {
			id, text := d.newKey()
			if verdict, err := c.Validate(t.Context(), text, auth.Request{}); err != nil || !verdict.Valid() {
				t.Fatalf("%+v, %v", verdict, err)
			}
			revision := d.revoke(id)
			verdict, err := c.Validate(t.Context(), text, auth.Request{MinRevision: revision})
			if err != nil || verdict.Code != auth.Disabled || verdict.Revision < revision {
				t.Fatalf("%+v, %v", verdict, err)
			}
		}
		if !s.RefusesFuture {
			return
		}
		if _, err := c.Validate(t.Context(), secret, auth.Request{MinRevision: d.revoke("key-1") + 1<<40}); !errors.Is(err, auth.ErrRevisionAhead) {
			t.Errorf("revision ahead: %v", err)
		}
	})
}

// faultyNetwork is a toxiproxy in front of the daemon.
type faultyNetwork struct {
	*toxiproxy.Proxy
	t *testing.T
}

func startProxy(t *testing.T, upstream string) faultyNetwork {
	t.Helper()
	// Some toxics log to the standard error in spite of their logger.
	zerolog.SetGlobalLevel(zerolog.Disabled)
	p := toxiproxy.NewProxy(toxiproxy.NewServer(toxiproxy.NewMetricsContainer(nil), zerolog.Nop()), t.Name(), "127.0.0.1:0", strings.TrimPrefix(upstream, "http://"))
	if err := p.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Stop)
	return faultyNetwork{p, t}
}

func (p faultyNetwork) url() string { return "http://" + p.Listen }

// add adds a toxic; the returned function removes it.
func (p faultyNetwork) add(toxic string) (remove func()) {
	p.t.Helper()
	added, err := p.Toxics.AddToxicJson(strings.NewReader(toxic))
	if err != nil {
		p.t.Fatal(err)
	}
	return func() {
		if err := p.Toxics.RemoveToxic(context.Background(), added.Name); err != nil {
			p.t.Error(err)
		}
	}
}

// With every fault the verdict is correct or unavailable, and in time. When the network
// works again, so does the client.
func TestNetworkFaults(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d := startDaemon(t, s)
		server := d.serve()
		_, good := d.newKey()
		_, bad := d.newKey(bson.E{Key: "is_active", Value: false})
		for name, test := range map[string]struct {
			toxic string
			// works: requests succeed in spite of the fault.
			works bool
		}{
			"latency":               {`{"type":"latency","stream":"downstream","attributes":{"latency":50,"jitter":40}}`, true},
			"slow":                  {`{"type":"bandwidth","stream":"downstream","attributes":{"rate":4}}`, true},
			"small segments":        {`{"type":"slicer","stream":"downstream","attributes":{"average_size":7,"size_variation":3,"delay":100}}`, true},
			"latency above Timeout": {`{"type":"latency","stream":"downstream","attributes":{"latency":5000}}`, false},
			"reset":                 {`{"type":"reset_peer","stream":"downstream","attributes":{"timeout":0}}`, false},
			"reset later":           {`{"type":"reset_peer","stream":"upstream","attributes":{"timeout":30}}`, false},
			"black hole upstream":   {`{"type":"timeout","stream":"upstream","attributes":{"timeout":0}}`, false},
			"black hole downstream": {`{"type":"timeout","stream":"downstream","attributes":{"timeout":0}}`, false},
			"truncated response":    {`{"type":"limit_data","stream":"downstream","attributes":{"bytes":200}}`, false},
			"truncated request":     {`{"type":"limit_data","stream":"upstream","attributes":{"bytes":20}}`, false},
		} {
			t.Run(name, func(t *testing.T) {
				proxy := startProxy(t, server.URL)
				c := newClient(t, proxy.url(), func(c *Config) {
					c.Timeout, c.BreakFor, c.MaxConnections = time.Second, 50*time.Millisecond, 4
				})
				validate := func(text string) (auth.Verdict, error) { return c.Validate(t.Context(), text, auth.Request{}) }
				if v, err := validate(good); err != nil || !v.Valid() {
					t.Fatalf("before: %+v, %v", v, err)
				}
				remove := proxy.add(test.toxic)
				results := make(chan error)
				began := time.Now()
				for n := range 12 {
					text, want := good, auth.Valid
					if n%2 == 0 {
						text, want = bad, auth.Disabled
					}
					go func() {
						v, err := validate(text)
						if err == nil && v.Code != want {
							t.Errorf("%v for %v", v.Code, want)
						}
						if err != nil && !errors.Is(err, auth.ErrUnavailable) {
							t.Error(err)
						}
						results <- err
					}()
				}
				worked := 0
				for range 12 {
					if err := <-results; err == nil {
						worked++
					} else if test.works {
						t.Error(err)
					}
				}
				if took := time.Since(began); took > 2*c.config.Timeout {
					t.Errorf("took %v", took)
				}
				// The existing connections may still work.
				if !test.works && worked > 4 {
					t.Errorf("%d requests succeeded", worked)
				}
				remove()
				mongotest.Eventually(t, patience, func() bool { v, err := validate(good); return err == nil && v.Valid() }, "the client has not recovered")
				if v, err := validate(bad); err != nil || v.Code != auth.Disabled {
					t.Errorf("after: %+v, %v", v, err)
				}
			})
		}
	})
}

// It has the same address, and the pool is full of connections to the old process.
func TestDaemonRestart(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d := startDaemon(t, s)
		_, text := d.newKey()
		server := httptest.NewServer(d.Public())
		address := server.Listener.Addr().String()
		c := newClient(t, "http://"+address, func(c *Config) { c.BreakFor = 20 * time.Millisecond })
		results := make(chan error)
		for range 8 {
			go func() { _, err := c.Validate(context.Background(), text, auth.Request{}); results <- err }()
		}
		for range 8 {
			if err := <-results; err != nil {
				t.Fatal(err)
			}
		}
		server.CloseClientConnections()
		server.Close()
		// The circuit breaker opens.
		for range 10 {
			if v, err := c.Validate(t.Context(), text, auth.Request{}); !errors.Is(err, auth.ErrUnavailable) || v.Valid() {
				t.Fatalf("%+v, %v", v, err)
			}
		}
		listener, err := net.Listen("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		again := &httptest.Server{Listener: listener, Config: &http.Server{Handler: d.Public()}}
		again.Start()
		t.Cleanup(again.Close)
		mongotest.Eventually(t, patience, func() bool { v, err := c.Validate(t.Context(), text, auth.Request{}); return err == nil && v.Valid() }, "the client has not recovered")
	})
}

// streamingAPI starts an API with streams, with the middleware of a client.
func streamingAPI(t *testing.T, c *Client) *httptest.Server {
	router := gin.New()
	router.GET("/stream", c.Authenticate(auth.CancelOnRevocation()), func(g *gin.Context) {
		g.Header("Content-Type", "text/event-stream")
		_, _ = io.WriteString(g.Writer, "data: hello\n\n")
		g.Writer.Flush()
		<-g.Request.Context().Done()
	})
	server := httptest.NewServer(router)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server
}

// open opens a stream and returns a channel that is closed at its end.
func open(t *testing.T, server *httptest.Server, key string) <-chan struct{} {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+"/stream", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+key)
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(response.Body)
	if line, err := lines.ReadString('\n'); response.StatusCode != http.StatusOK || err != nil || line != "data: hello\n" {
		t.Fatalf("status %d, %q, %v", response.StatusCode, line, err)
	}
	end := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, lines)
		_ = response.Body.Close()
		close(end)
	}()
	return end
}

func expectEnd(t *testing.T, end <-chan struct{}) {
	t.Helper()
	select {
	case <-end:
	case <-time.After(patience):
		t.Fatal("timeout: the stream is still open")
	}
}

// It logs how long it takes.
func TestRevocationCancelsStreamsThroughTheClient(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d := startDaemon(t, s)
		c := newClient(t, d.serve().URL)
		runClient(t, c)
		server := streamingAPI(t, c)
		_, stays := d.newKey()
		other := open(t, server, stays)
		var delays []time.Duration
		for range 20 {
			id, text := d.newKey()
			end := open(t, server, text)
			d.revoke(id)
			at := time.Now()
			expectEnd(t, end)
			delays = append(delays, time.Since(at))
		}
		select {
		case <-other:
			t.Error("the stream of another key was cancelled")
		default:
		}
		slices.Sort(delays)
		t.Logf("%s: cancelled after a median of %v, and %v at most, from the acknowledged write to the end of the body", s.Name, delays[len(delays)/2], delays[len(delays)-1])
	})
}

// The revocation happens while the event stream is disconnected.
func TestRevocationWhileDisconnectedCancelsStreams(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d := startDaemon(t, s)
		proxy := startProxy(t, d.serve().URL)
		c := newClient(t, proxy.url(), func(c *Config) { c.MaxStale, c.BreakFor = 3*time.Second, 50*time.Millisecond })
		runClient(t, c)
		server := streamingAPI(t, c)
		for name, toxic := range map[string]string{
			"reset":      `{"type":"reset_peer","stream":"downstream","attributes":{"timeout":0}}`,
			"black hole": `{"type":"timeout","stream":"downstream","attributes":{"timeout":0}}`,
		} {
			id, text := d.newKey()
			end := open(t, server, text)
			remove := proxy.add(toxic)
			d.revoke(id)
			at := time.Now()
			d.waitFor(text, func(code auth.Code) bool { return code == auth.Disabled })
			remove() // data in transit is lost
			expectEnd(t, end)
			t.Logf("%s: cancelled after %v", name, time.Since(at))
		}
	})
}

// Compare BenchmarkValidate with BenchmarkBarePost, a request without any work over the
// same kind of connection.
func BenchmarkValidate(b *testing.B) {
	server := httptest.NewServer(json200(validBody))
	defer server.Close()
	c := newClient(b, server.URL)
	defer c.Close()
	b.ReportAllocs()
	for b.Loop() {
		if v, err := c.Validate(b.Context(), secret, auth.Request{Scopes: []string{"a"}}); err != nil || !v.Valid() {
			b.Fatal(v, err)
		}
	}
}

func BenchmarkBarePost(b *testing.B) {
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) {}))
	defer server.Close()
	client := server.Client()
	body := `{"key":"` + secret + `","scopes":["a"]}`
	b.ReportAllocs()
	for b.Loop() {
		request, err := http.NewRequestWithContext(b.Context(), http.MethodPost, server.URL, strings.NewReader(body))
		if err != nil {
			b.Fatal(err)
		}
		response, err := client.Do(request)
		if err != nil {
			b.Fatal(err)
		}
		_, _ = io.Copy(io.Discard, response.Body)
		_ = response.Body.Close()
	}
}
