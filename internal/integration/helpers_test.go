package integration

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/routes"
	"github.com/keytail/keytail/internal/service"
)

func TestMain(m *testing.M) {
	routes.UseReleaseMode()
	goleak.VerifyTestMain(mongotest.Main(m), testkit.ToxiproxyLeaks()...)
}

// fixture is one daemon or embedded service under test, with another client of the same
// collection that writes without keytail.
type fixture struct {
	testkit.Daemon
	// embedded validates with an embedded service. Nil: there is a daemon.
	embedded func(context.Context, string, *apikey.Request) apikey.Verdict

	t        *testing.T
	server   *mongotest.Server
	registry *prometheus.Registry
	// appName is the application name of the service's client.
	appName string
	db      *mongo.Database
	keys    *mongo.Collection
	made    atomic.Int64
}

// start runs a service on a fresh database and waits until it is live.
func start(t *testing.T, s *mongotest.Server, change ...func(*daemon.Config)) *fixture {
	t.Helper()
	return startOn(t, s, s.Database(t), change...)
}

func startOn(t *testing.T, s *mongotest.Server, database string, change ...func(*daemon.Config)) *fixture {
	t.Helper()
	r := &fixture{t: t, server: s, registry: prometheus.NewRegistry(), appName: "keytail-" + database}
	r.db = s.Client(t, "other-client").Database(database)
	r.keys = mongotest.CreateAPIKeys(t, r.db)
	r.Daemon = r.run(r.registry, zaptest.NewLogger(t), change...)
	return r
}

// run creates a daemon on the fixture's database, runs it until the test ends, and waits
// until it is live.
func (r *fixture) run(registry *prometheus.Registry, logger *zap.Logger, change ...func(*daemon.Config)) testkit.Daemon {
	r.t.Helper()
	config := daemon.Config{
		Config: service.Config{
			Client:       r.server.Client(r.t, r.appName),
			Database:     r.db.Name(),
			StreamScope:  changestream.Scope(r.server.StreamScope),
			CacheSizeMiB: 8,
			Logger:       logger,
		},
		Registry: registry,
	}
	for _, f := range change {
		f(&config)
	}
	d, err := daemon.New(r.t.Context(), config)
	if err != nil {
		r.t.Fatal(err)
	}
	testkit.ExpectNoNewSeries(r.t, registry)
	r.runUntilLive(d)
	return testkit.Daemon{Daemon: d}
}

// runner is a daemon or an embedded service.
type runner interface {
	Run(ctx context.Context) error
	Live() <-chan struct{}
}

// runUntilLive runs a service until the test ends, and returns when it is live.
func (r *fixture) runUntilLive(service runner) {
	r.t.Helper()
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- service.Run(ctx) }()
	r.t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			r.t.Errorf("Run: %v", err)
		}
	})
	select {
	case <-service.Live():
	case <-time.After(testkit.WaitTimeout):
		r.t.Fatal("the service did not become live")
	}
}

// withShortMaxStale sets a maximum staleness that a test can wait for.
func withShortMaxStale(c *daemon.Config) {
	c.MaxStale, c.HeartbeatInterval = shortMaxStale, 100*time.Millisecond
}

const shortMaxStale = 1500 * time.Millisecond

// state returns the state that the metric shows.
func (r *fixture) state() string {
	for _, state := range []string{"connecting", "preloading", "live", "stale", "down"} {
		if r.metric("keytail_state", state) == 1 {
			return state
		}
	}
	return ""
}

func (r *fixture) waitForState(state string) {
	r.t.Helper()
	mongotest.Eventually(r.t, testkit.WaitTimeout, func() bool { return r.state() == state }, "the state did not become ", state)
}

// failCommands makes commands of the service fail until the returned function is called.
func (r *fixture) failCommands(commands ...any) func() {
	r.t.Helper()
	r.server.Needs(r.t, mongotest.Failpoints)
	return r.failpoint("alwaysOn", bson.D{
		{Key: "failCommands", Value: bson.A(commands)},
		// Interrupted: the driver does not react to this error, and its view of the
		// topology does not change.
		{Key: "errorCode", Value: 11601},
		{Key: "appName", Value: r.appName},
	})
}

// key is a key in the collection, with its secret.
type key struct {
	id   string
	text string
}

// newKey inserts an active key; fields replace or add to those of its document.
func (r *fixture) newKey(fields ...bson.E) key {
	r.t.Helper()
	text, err := apikey.Generate(apikey.DefaultPrefix, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	k := key{id: fmt.Sprintf("key-%d", r.made.Add(1)), text: text}
	if _, err := r.keys.InsertOne(r.t.Context(), k.document(fields...)); err != nil {
		r.t.Fatal(err)
	}
	return k
}

// lifetime is how long a key must live so that requests find it valid before it expires: several times what a write
// and a read take on this server now.
func (r *fixture) lifetime() time.Duration {
	r.t.Helper()
	began := time.Now()
	r.waitForCode(r.newKey(), apikey.Valid)
	return time.Second + 5*time.Since(began)
}

func (k key) document(fields ...bson.E) bson.D { return testkit.Document(k.id, k.text, fields...) }

func (r *fixture) update(k key, change bson.D) {
	r.t.Helper()
	result, err := r.keys.UpdateByID(r.t.Context(), k.id, change)
	if err != nil {
		r.t.Fatal(err)
	}
	if result.MatchedCount != 1 {
		r.t.Fatalf("no document %s", k.id)
	}
}

func (r *fixture) set(k key, field string, value any) {
	r.t.Helper()
	r.update(k, bson.D{{Key: "$set", Value: bson.D{{Key: field, Value: value}}}})
}

func (r *fixture) validate(k key, scopes ...string) apikey.Verdict {
	return r.validateText(context.Background(), k.text, &apikey.Request{Scopes: scopes})
}

// validateText validates with the daemon or, in a fixture without one, with the embedded
// service.
func (r *fixture) validateText(ctx context.Context, text string, request *apikey.Request) apikey.Verdict {
	if r.embedded != nil {
		return r.embedded(ctx, text, request)
	}
	return r.Validate(ctx, text, request)
}

// waitForCode validates the key until it gets this verdict.
func (r *fixture) waitForCode(k key, want apikey.Code, scopes ...string) {
	r.t.Helper()
	mongotest.Eventually(r.t, testkit.WaitTimeout, func() bool { return r.validate(k, scopes...).Code == want },
		k.id, " did not become ", want)
}

// waitUntilCached validates the key until the answer comes from the cache.
func (r *fixture) waitUntilCached(k key) {
	r.t.Helper()
	mongotest.Eventually(r.t, testkit.WaitTimeout, func() bool { return r.validate(k).Source == apikey.SourceCache },
		k.id, " is not cached")
}

// metric returns a metric of the fixture's service.
func (r *fixture) metric(name string, labels ...string) float64 {
	r.t.Helper()
	return testkit.Metric(r.t, r.registry, name, labels...)
}

func unique() *options.IndexOptionsBuilder { return options.Index().SetUnique(true) }

// isA reports whether an error is of this kind and contains these words.
func isA(err, kind error, words string) bool {
	return errors.Is(err, kind) && strings.Contains(err.Error(), words)
}
