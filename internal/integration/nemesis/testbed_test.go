package nemesis

import (
	"context"
	"fmt"
	"maps"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.mongodb.org/mongo-driver/v2/mongo/writeconcern"
	"go.uber.org/goleak"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest"

	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/integration/testkit"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/nemesis"
	"github.com/keytail/keytail/internal/service"
)

// cacheSizes are the instances' cache sizes in MiB. The last one is too small for ballast.
var cacheSizes = []int{64, 64, 3}

// mayEvict reports whether an instance may evict entries.
func mayEvict(number int) bool { return cacheSizes[number%len(cacheSizes)] < 64 }

// instance is one cache under test, a keytail or another one, with its own proxy to the server.
type instance struct {
	validator
	name, appName string
	proxy         proxied
	// commands are those that its client has sent.
	commands *commandCount
	// keytail is nil if the instance is another cache.
	keytail *keytailDaemon
}

// keytailDaemon is what the tests see of a keytail besides its answers.
type keytailDaemon struct {
	testkit.Daemon
	registry *prometheus.Registry
}

// newInstance returns an instance that cannot answer yet, and the client that it is to use.
func newInstance(t *testing.T, s *mongotest.Server, number int) (*instance, *mongo.Client) {
	t.Helper()
	i := &instance{name: instanceName(number), commands: &commandCount{}}
	i.appName = "keytail-" + i.name
	i.proxy = startProxy(t, i.name, s)
	return i, s.Connect(t, i.proxy.options(s, i.appName).SetMonitor(i.commands.monitor()))
}

// testbed is a MongoDB server and a fleet of instances that use it.
type testbed struct {
	t      *testing.T
	server *mongotest.Server
	keys   *mongo.Collection
	// once is the same collection by a client without retries: a retry would hide the
	// effect of a failure.
	once      *mongo.Collection
	instances []*instance
	faults    map[string]fault
	// forget makes all instances lose their history, and gives them time to scan.
	// Nil: not possible with this server.
	forget func()
	// devmongo is the server if it is devmongo, otherwise nil.
	devmongo *mongotest.Devmongo
	// only lists the kinds of faults to make, at this pace. Nil: all.
	only []string
	pace nemesis.Pace
	// appeared counts the times that a collection which had been ended existed again
	// although nobody had created it: see watchForCollection.
	appeared atomic.Int32
}

// checkLeaks runs f with its cleanups, and fails if goroutines or open files are left.
func checkLeaks(t *testing.T, f func(t *testing.T)) {
	t.Helper()
	before, err := nemesis.OpenFiles()
	if err != nil {
		t.Fatal(err)
	}
	options := append(testkit.ToxiproxyLeaks(), goleak.IgnoreCurrent())
	if !t.Run("run", f) {
		return
	}
	mongotest.Eventually(t, testkit.WaitTimeout, func() bool { err = goleak.Find(options...); return err == nil }, "goroutines leak: ", lazyText(func() any { return err }))
	after := 0
	mongotest.Eventually(t, testkit.WaitTimeout, func() bool {
		after, err = nemesis.OpenFiles()
		return err == nil && after <= before+openFilesOfTheRuntime
	}, "files leak")
	t.Logf("files: %d before, %d after", before, after)
}

// lazyText computes its value when it is printed.
type lazyText func() any

func (l lazyText) String() string { return fmt.Sprint(l()) }

// openFilesOfTheRuntime is the number of files that the network poller opens at first use.
const openFilesOfTheRuntime = 3

// newTestbed starts a fleet of keytails.
func newTestbed(t *testing.T, s *mongotest.Server) *testbed {
	t.Helper()
	a := newTestbedOf(t, s, startKeytail)
	for _, i := range a.instances {
		select {
		case <-i.keytail.Live():
		case <-time.After(testkit.WaitTimeout):
			t.Fatalf("%s does not become live", i.name)
		}
	}
	return a
}

// newTestbedOf starts a fleet of any caches.
func newTestbedOf(t *testing.T, s *mongotest.Server, start func(t *testing.T, s *mongotest.Server, database string, number int) *instance) *testbed {
	t.Helper()
	database := s.Database(t)
	a := &testbed{t: t, server: s, pace: nemesis.Sparse(nemesisMaxStale), faults: toxics(t)}
	a.faults["ballast"] = a.overfill
	if s.Failpoints {
		maps.Copy(a.faults, failpoints(t, s))
		maps.Copy(a.faults, streamErrors(t, s))
	}
	a.keys = connectWithShortTimeouts(t, s, "other-client").Database(database).
		Collection("api_keys", options.Collection().SetWriteConcern(writeconcern.Majority()))
	a.make(a.keys)
	once := func(o *options.ClientOptions) { o.SetRetryWrites(false) }
	a.once = connectWithShortTimeouts(t, s, "other-client", once).Database(database).
		Collection(a.keys.Name(), options.Collection().SetWriteConcern(writeconcern.Majority()))
	for i := range nemesisInstances {
		a.instances = append(a.instances, start(t, s, database, i))
	}
	return a
}

func startKeytail(t *testing.T, s *mongotest.Server, database string, number int) *instance {
	t.Helper()
	i, client := newInstance(t, s, number)
	registry := prometheus.NewRegistry()
	logger := zap.NewNop()
	if *nemesisLogs {
		logger = zaptest.NewLogger(t, zaptest.Level(zap.InfoLevel)).Named(i.name)
	}
	d, err := daemon.New(t.Context(), daemon.Config{
		Config: service.Config{
			Client:            client,
			Database:          database,
			MaxStale:          nemesisMaxStale,
			HeartbeatInterval: nemesisMaxStale / 12,
			InstanceName:      i.name,
			CacheSizeMiB:      cacheSizes[number%len(cacheSizes)],
			StreamScope:       changestream.Scope(s.StreamScope),
			Usage:             service.UsageOff, // the writers use its field as a fence
			Logger:            logger,
		},
		Registry: registry,
	})
	if err != nil {
		t.Fatal(err)
	}
	testkit.ExpectNoNewSeries(t, registry)
	i.keytail = &keytailDaemon{testkit.Daemon{Daemon: d}, registry}
	i.validator = i.keytail
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- d.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", i.name, err)
		}
	})
	return i
}

func (a *testbed) writersKeys() []*mongo.Collection { return []*mongo.Collection{a.keys, a.once} }

func (a *testbed) validators() []validator {
	validators := make([]validator, len(a.instances))
	for i, instance := range a.instances {
		validators[i] = instance
	}
	return validators
}
