package integration

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/event"
	"go.uber.org/zap/zaptest"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/validator"
)

// tailAnomalies need the tail to stop between two of its steps. They use the packages of
// the service on devmongo, with a gate between tail and cache.
func tailAnomalies() []anomaly {
	return []anomaly{
		{
			name:    "position lost on an open cursor",
			shows:   []string{"LossPosition+LossNoToken"},
			covered: []string{"LossPosition"},
			stage:   positionLost,
		},
		{
			name:    "new stream first read after the log has rolled past its start",
			shows:   []string{"DefaultBatch", "LossPosition+LossNoToken"},
			covered: []string{"LossPosition"},
			stage:   rolledPastTheStart,
		},
		{name: "slow resume", shows: []string{"CatchUpBound"}, stage: slowResume},
		{name: "open refused while the history is lost", shows: []string{"FailureReported"}, stage: refusedDuringLoss},
		{name: "heartbeat and change at one cluster time", shows: []string{"ProcessedBefore"}, stage: oneClusterTime, scopes: testkit.Scopes[:1]},
	}
}

// gate lets a test stop the tail after it has called the cache.
type gate struct {
	*keycache.Cache
	mutex sync.Mutex
	// opened and applied, if not nil, are called once after the call of the cache,
	// applying once before it.
	opened, applied, applying func()
	// last is the time of the newest change that the tail has reached.
	last clustertime.Time
}

func (g *gate) Open(floor clustertime.Time) {
	g.Cache.Open(floor)
	g.pass(&g.opened)
}

func (g *gate) Apply(change *keycache.Change) {
	g.mutex.Lock()
	g.last = change.Time
	g.mutex.Unlock()
	g.pass(&g.applying)
	g.Cache.Apply(change)
	g.pass(&g.applied)
}

func (g *gate) pass(f *func()) {
	g.mutex.Lock()
	call := *f
	*f = nil
	g.mutex.Unlock()
	if call != nil {
		call()
	}
}

// hold makes the tail stop at the next call of this kind. arrived is closed when the tail
// has stopped.
func (g *gate) hold(which *func()) (arrived <-chan struct{}, letGo func()) {
	there, leave := make(chan struct{}), make(chan struct{})
	g.mutex.Lock()
	defer g.mutex.Unlock()
	*which = func() {
		close(there)
		<-leave
	}
	return there, sync.OnceFunc(func() { close(leave) })
}

// gated is a core whose packages the test connects itself. Its fixture has no daemon.
type gated struct {
	*fixture
	gate      *gate
	validator *validator.Validator
	// sentNonce is the nonce of the last heartbeat that was sent.
	sentNonce atomic.Int64
}

func startGated(t *testing.T, scope string, config devmongo.Config) *gated {
	t.Helper()
	d := mongotest.StartDevmongo(t, config)
	database := d.Database(t)
	r := &fixture{t: t, server: &d.Server, registry: prometheus.NewRegistry(), appName: "keytail-" + database}
	r.db = d.Client(t, "other-client").Database(database)
	r.keys = mongotest.CreateAPIKeys(t, r.db)
	g := &gated{fixture: r}
	client := d.Connect(t, d.Options(r.appName).SetMonitor(g.monitor()))
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	cache, err := keycache.New(keycache.Config{SizeMiB: 8})
	must(err)
	g.gate = &gate{Cache: cache}
	store, err := keystore.New(keystore.Config{Client: client, Database: database})
	must(err)
	heart, err := changestream.NewHeartbeater(changestream.HeartbeaterConfig{
		Database: client.Database(database), Collection: r.keys.Name(), Interval: 50 * time.Millisecond,
	})
	must(err)
	must(heart.Prepare(t.Context()))
	tail, err := changestream.New(changestream.Config{
		Scope: changestream.Scope(scope), MaxAwait: changestream.Scope(scope).MaxAwait(changestream.DefaultMaxAwait, 0),
		Database: client.Database(database), Schema: store.Schema(), Sink: g.gate, Collection: store, Heartbeater: heart,
		Logger: zaptest.NewLogger(t), Registerer: r.registry,
	})
	must(err)
	g.validator, err = validator.New(validator.Config{Cache: cache, Store: store})
	must(err)
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() { _ = heart.Run(ctx) })
	group.Go(func() { _ = tail.Run(ctx) })
	t.Cleanup(func() {
		stop()
		group.Wait()
	})
	mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return cache.Trusted() && cache.Freshness() != nil }, "the stream is not opened")
	return g
}

// monitor records the nonce of each heartbeat that is sent.
func (g *gated) monitor() *event.CommandMonitor {
	return &event.CommandMonitor{Started: func(_ context.Context, e *event.CommandStartedEvent) {
		if n, ok := e.Command.Lookup("updates", "0", "u", "$set", "n").Int64OK(); ok {
			g.sentNonce.Store(n)
		}
	}}
}

func (g *gated) validate(k key) apikey.Verdict {
	return g.validator.Validate(context.Background(), k.text, &apikey.Request{})
}

// waitUntilCached validates the key until it is valid, from the cache.
func (g *gated) waitUntilCached(k key) {
	g.t.Helper()
	mongotest.Eventually(g.t, testkit.WaitTimeout, func() bool {
		v := g.validate(k)
		return v.Code == apikey.Valid && v.Source == apikey.SourceCache
	}, k.id, " is not cached")
}

// validateSince is fixture.validateSince with the gated validator.
func (g *gated) validateSince(k key, known time.Time) apikey.Verdict {
	g.t.Helper()
	return validatedSince(g.t, known, func() apikey.Verdict { return g.validate(k) })
}

func arrives(t *testing.T, there <-chan struct{}) {
	t.Helper()
	select {
	case <-there:
	case <-time.After(testkit.WaitTimeout):
		t.Fatal("the tail did not reach the gate")
	}
}

// positionLost: the tail is slow, and the oplog rolls past its cursor.
func positionLost(t *testing.T, scope string) string {
	g := startGated(t, scope, devmongo.Config{OplogSize: smallOplog})
	k := g.newKey()
	g.waitUntilCached(k)
	there, letGo := g.gate.hold(&g.gate.applied)
	defer letGo()
	g.newKey()
	arrives(t, there)
	g.set(k, "is_active", false)
	rollPast(g.fixture)
	letGo()
	return violation(g.validateSince(k, time.Now()), apikey.Disabled)
}

// rolledPastTheStart: a new stream has been opened, and is read for the first time after
// the oplog has rolled past its start. The revocation of a key that was filled in between
// is lost.
func rolledPastTheStart(t *testing.T, scope string) string {
	g := startGated(t, scope, devmongo.Config{OplogSize: smallOplog})
	k := g.newKey()
	g.waitUntilCached(k)
	stream := failing(g.fixture, 286, "getMore", "aggregate")
	stream.wait()
	there, letGo := g.gate.hold(&g.gate.opened)
	defer letGo()
	stream.mend()
	arrives(t, there)
	g.waitUntilCached(k)
	g.set(k, "is_active", false)
	rollPast(g.fixture)
	letGo()
	return violation(g.validateSince(k, time.Now()), apikey.Disabled)
}

// oneClusterTime: a heartbeat and a revocation have the same cluster time (as
// those of unrelated writes may from MongoDB 8.0 on; here it takes a
// transaction), and a caller requires that revision when the heartbeat has arrived and the
// revocation has not.
func oneClusterTime(t *testing.T, scope string) string {
	g := startGated(t, scope, devmongo.Config{})
	k := g.newKey()
	g.waitUntilCached(k)
	mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return g.gate.Stats().Changes == 1 }, "the insert is not applied")
	// The server refuses the heartbeats, so that the test can write one of them.
	failing(g.fixture, 20, "update").wait()
	there, letGo := g.gate.hold(&g.gate.applying)
	defer letGo()
	beats := g.db.Collection(changestream.HeartbeatCollection)
	g.inTransaction(func(ctx context.Context) error {
		if _, err := beats.UpdateMany(ctx, bson.D{}, bson.D{{Key: "$set", Value: bson.D{{Key: "n", Value: g.sentNonce.Load()}}}}); err != nil {
			return err
		}
		_, err := g.keys.UpdateByID(ctx, k.id, bson.D{{Key: "$set", Value: bson.D{{Key: "is_active", Value: false}}}})
		return err
	})
	arrives(t, there)
	g.gate.mutex.Lock()
	at := g.gate.last
	g.gate.mutex.Unlock()
	return violation(g.validator.Validate(t.Context(), k.text, &apikey.Request{MinRevision: uint64(at)}), apikey.Disabled)
}

// slowResume: the stream breaks, and the server takes very long to resume it, while it
// answers all other commands. Meanwhile no answer comes from the cache.
func slowResume(t *testing.T, scope string) string {
	const limit = 15 * time.Second
	d := mongotest.StartDevmongo(t, devmongo.Config{})
	r := start(t, d.InScope(scope), staged, func(c *daemon.Config) { c.MaxStale = time.Second })
	k := r.newKey()
	r.waitUntilCached(k)
	d.Node.DelayResumes(r.appName, time.Hour)
	stream := failing(r, 11600, "getMore")
	stream.wait()
	stream.mend()
	began := time.Now()
	mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return r.validate(k).Source != apikey.SourceCache }, "the cache does not become stale")
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for time.Since(began) < limit {
		if v := r.validate(k); v.Code == apikey.Valid && v.Source == apikey.SourceCache {
			t.Log("answers come from the cache again after ", time.Since(began))
			return ""
		}
		<-ticker.C
	}
	return fmt.Sprintf("no answer came from the cache for %v although the database works; losses: %v", time.Since(began), r.metric("keytail_losses_total"))
}

// refusedDuringLoss: the server refuses to open the stream with an unknown code after the
// history was lost.
func refusedDuringLoss(t *testing.T, scope string) string {
	const limit = 5 * time.Second
	r, _ := stagedService(t, scope, devmongo.Config{})
	stream := failing(r, 99, "getMore", "aggregate")
	defer stream.mend()
	mongotest.Eventually(t, testkit.WaitTimeout, func() bool { return r.metric("keytail_losses_total") > 0 }, "the history is not lost")
	before, began := r.metric("keytail_stream_failures_total"), time.Now()
	ticker := time.NewTicker(50 * time.Millisecond)
	defer ticker.Stop()
	for time.Since(began) < limit {
		// The first failure may be the loss.
		if r.metric("keytail_stream_failures_total") >= before+2 {
			return ""
		}
		<-ticker.C
	}
	return fmt.Sprintf("the stream could not be opened for %v without a metric: got %v failures", limit, r.metric("keytail_stream_failures_total")-before)
}
