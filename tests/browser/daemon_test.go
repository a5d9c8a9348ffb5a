package browser

import (
	"context"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongoclient"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/seed"
	"github.com/keytail/keytail/internal/service"
)

func TestMain(m *testing.M) {
	gin.SetMode(gin.ReleaseMode)
	os.Exit(m.Run())
}

const (
	viewerToken = "viewer-token-0123456789"
	adminToken  = "admin-token-01234567890"
	database    = "keys"
)

// world is a daemon with its database behind a gate, and its admin listener.
type world struct {
	t      *testing.T
	daemon *daemon.Daemon
	server *mongotest.Devmongo
	gate   *gate
	// operator is the admin database, without the gate.
	operator *mongo.Database
	// url is that of the admin listener.
	url string
	// tokens is the file of the admin tokens.
	tokens string
	// key is the text of a valid key.
	key string
}

func startDaemon(t *testing.T, changes ...func(*world, *daemon.Config)) *world {
	t.Helper()
	server := mongotest.StartDevmongo(t, devmongo.Config{})
	parsed, err := url.Parse(server.URI)
	if err != nil {
		t.Fatal(err)
	}
	w := &world{t: t, server: server, gate: openGate(t, parsed.Host), operator: server.Client(t).Database("admin"), tokens: filepath.Join(t.TempDir(), "tokens")}
	w.writeTokens("ops=" + viewerToken + " role=viewer\nann=" + adminToken + " role=admin\n")
	uri := "mongodb://" + w.gate.address + "/?directConnection=true"
	settings, err := mongoclient.ForURI(uri)
	if err != nil {
		t.Fatal(err)
	}
	client, err := settings.Connect(uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = client.Disconnect(context.WithoutCancel(t.Context())) })
	w.insert(server.Client(t).Database(database))
	config := daemon.Config{
		Config: service.Config{
			Client: client, Database: database, EnsureSchema: true, InstanceName: "orders-7", Version: "v1.4.0",
			MaxStale: 3 * time.Second, HeartbeatInterval: 200 * time.Millisecond,
		},
		AdminTokenFile: w.tokens, Members: settings.Members,
		Settings: []api.Setting{{Name: "mongodb-uri", Value: "mongodb://mongo-1,mongo-2,mongo-3/keys?replicaSet=…", Given: true}, {Name: "max-stale", Value: "3s", Given: true}, {Name: "cache-size", Value: "512"}},
	}
	for _, change := range changes {
		change(w, &config)
	}
	w.daemon, err = daemon.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	w.run()
	w.serve()
	return w
}

func (w *world) insert(db *mongo.Database) {
	w.t.Helper()
	documents, err := seed.Documents()
	if err != nil {
		w.t.Fatal(err)
	}
	keys := mongotest.CreateAPIKeys(w.t, db)
	if _, err := keys.InsertMany(w.t.Context(), documents); err != nil {
		w.t.Fatal(err)
	}
	if w.key, err = apikey.Generate(apikey.DefaultPrefix, nil); err != nil {
		w.t.Fatal(err)
	}
	if _, err := keys.InsertOne(w.t.Context(), testkit.Document("key-of-the-test", w.key)); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) run() {
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- w.daemon.Run(ctx) }()
	w.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			w.t.Error(err)
		}
	})
	select {
	case <-w.daemon.Live():
	case <-time.After(30 * time.Second):
		w.t.Fatal("the daemon is not live after 30 s")
	}
}

func (w *world) serve() {
	server := httptest.NewServer(w.daemon.Admin())
	w.url = server.URL
	w.t.Cleanup(func() {
		w.daemon.Drain() // ends the streams
		server.Close()
	})
}

func (w *world) writeTokens(lines string) {
	if err := os.WriteFile(w.tokens, []byte(lines), 0o600); err != nil {
		w.t.Fatal(err)
	}
}

// validate validates keys, so that there are verdicts, and linearizable reads in an outage.
func (w *world) validate(texts ...string) {
	for _, text := range texts {
		ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
		w.daemon.Core.Validator.Validate(ctx, text, &apikey.Request{})
		cancel()
	}
}

// failWrites makes the daemon's heartbeats fail until mend is called.
func (w *world) failWrites() (mend func()) {
	w.t.Helper()
	set := func(mode any) {
		if err := w.operator.RunCommand(context.WithoutCancel(w.t.Context()), bson.D{
			{Key: "configureFailPoint", Value: "failCommand"},
			{Key: "mode", Value: mode},
			{Key: "data", Value: bson.D{{Key: "failCommands", Value: bson.A{"update", "findAndModify"}}, {Key: "errorCode", Value: 11601}, {Key: "appName", Value: "keytail"}}},
		}).Err(); err != nil {
			w.t.Error(err)
		}
	}
	set("alwaysOn")
	return func() { set("off") }
}

// gate forwards connections to a server until it is shut.
type gate struct {
	address, target string
	listener        net.Listener

	mutex sync.Mutex
	shut  bool
	open  map[net.Conn]struct{}
	tasks sync.WaitGroup
}

func openGate(t *testing.T, target string) *gate {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	g := &gate{address: listener.Addr().String(), target: target, listener: listener, open: map[net.Conn]struct{}{}}
	g.tasks.Go(g.accept)
	t.Cleanup(func() {
		_ = listener.Close()
		g.close()
		g.tasks.Wait()
	})
	return g
}

func (g *gate) accept() {
	for {
		client, err := g.listener.Accept()
		if err != nil {
			return
		}
		server, err := net.Dial("tcp", g.target)
		if err != nil || !g.add(client, server) {
			_ = client.Close()
			continue
		}
		for _, pair := range [][2]net.Conn{{client, server}, {server, client}} {
			g.tasks.Go(func() {
				_, _ = io.Copy(pair[0], pair[1])
				_, _ = pair[0].Close(), pair[1].Close()
			})
		}
	}
}

// add is false while the gate is shut.
func (g *gate) add(both ...net.Conn) bool {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	for _, c := range both {
		if g.shut {
			_ = c.Close()
			continue
		}
		g.open[c] = struct{}{}
	}
	return !g.shut
}

// close cuts every connection, and every new one.
func (g *gate) close() {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.shut = true
	for c := range g.open {
		_ = c.Close()
		delete(g.open, c)
	}
}

func (g *gate) reopen() {
	g.mutex.Lock()
	defer g.mutex.Unlock()
	g.shut = false
}

// createKeys creates keys by the admin API, so that there are changes and an audit.
func (w *world) createKeys(n int) {
	w.t.Helper()
	for range n {
		request, err := http.NewRequestWithContext(w.t.Context(), http.MethodPost, w.url+api.PathKeys, strings.NewReader(`{"user_id": "user-7", "name": "orders"}`))
		if err != nil {
			w.t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+adminToken)
		request.Header.Set("Content-Type", "application/json")
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			w.t.Fatal(err)
		}
		_ = response.Body.Close()
		if response.StatusCode != http.StatusCreated {
			w.t.Fatalf("creating a key: %s", response.Status)
		}
	}
}

// get is the body of a path for a viewer.
func (w *world) get(path string) string {
	w.t.Helper()
	request, err := http.NewRequestWithContext(w.t.Context(), http.MethodGet, w.url+path, nil)
	if err != nil {
		w.t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+viewerToken)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		w.t.Fatal(err)
	}
	defer response.Body.Close()
	text, err := io.ReadAll(response.Body)
	if err != nil || response.StatusCode != http.StatusOK {
		w.t.Fatalf("%s: %s, %v", path, response.Status, err)
	}
	return string(text)
}
