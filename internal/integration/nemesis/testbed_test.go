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

// instance is one keytail of the fleet, with its own proxy to the server.
type instance struct {
	testkit.Daemon
	name, appName string
	proxy         proxied
	registry      *prometheus.Registry
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

func newTestbed(t *testing.T, s *mongotest.Server) *testbed {
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
		a.instances = append(a.instances, startInstance(t, s, database, i))
	}
	for _, i := range a.instances {
		select {
		case <-i.Live():
		case <-time.After(testkit.WaitTimeout):
			t.Fatalf("%s does not become live", i.name)
		}
	}
	return a
}

func startInstance(t *testing.T, s *mongotest.Server, database string, number int) *instance {
	t.Helper()
	i := &instance{name: instanceName(number), registry: prometheus.NewRegistry()}
	i.appName = "keytail-" + i.name
	i.proxy = startProxy(t, i.name, s)
	logger := zap.NewNop()
	if *nemesisLogs {
		logger = zaptest.NewLogger(t, zaptest.Level(zap.InfoLevel)).Named(i.name)
	}
	d, err := daemon.New(t.Context(), daemon.Config{
		Config: service.Config{
			Client:            s.Connect(t, i.proxy.options(s, i.appName)),
			Database:          database,
			MaxStale:          nemesisMaxStale,
			HeartbeatInterval: nemesisMaxStale / 12,
			InstanceName:      i.name,
			CacheSizeMiB:      cacheSizes[number%len(cacheSizes)],
			StreamScope:       changestream.Scope(s.StreamScope),
			Usage:             service.UsageOff, // the writers use its field as a fence
			Logger:            logger,
		},
		Registry: i.registry,
	})
	if err != nil {
		t.Fatal(err)
	}
	testkit.ExpectNoNewSeries(t, i.registry)
	i.Daemon = testkit.Daemon{Daemon: d}
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
