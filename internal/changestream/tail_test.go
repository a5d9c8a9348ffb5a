package changestream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/goleak"
	"go.uber.org/zap/zaptest"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(mongotest.Main(m)) }

const patience = 20 * time.Second

// recorder is a sink that records its calls.
type recorder struct {
	mutex   sync.Mutex
	floors  []clustertime.Time
	losses  int
	isOpen  bool
	changes []keycache.Change
	fresh   []keycache.Freshness
	onLoss  func() // called at each loss, with the mutex locked; nil: nothing
}

func (r *recorder) Lose() bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	was := r.isOpen
	r.isOpen = false
	if was {
		r.losses++
		if r.onLoss != nil {
			r.onLoss()
		}
	}
	return was
}

func (r *recorder) Open(floor clustertime.Time) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.isOpen = true
	r.floors = append(r.floors, floor)
}

func (r *recorder) Apply(c *keycache.Change) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.changes = append(r.changes, *c)
}

func (r *recorder) Fresh(f keycache.Freshness) {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	r.fresh = append(r.fresh, f)
}

// look calls f with the recorder locked.
func (r *recorder) look(f func() bool) bool {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	return f()
}

func (r *recorder) applied(n int) func() bool {
	return func() bool { return r.look(func() bool { return len(r.changes) >= n }) }
}

// rig is a tail on a server, with a separate client for the test's writes.
type rig struct {
	*Tail
	*Heartbeater
	*recorder
	t       testing.TB
	server  *mongotest.Server
	db      *mongo.Database
	keys    *mongo.Collection
	appName string
	stop    func()
}

func newRig(t testing.TB, s *mongotest.Server, create bool, change ...func(*Config)) *rig {
	t.Helper()
	name := s.Database(t)
	r := &rig{t: t, server: s, recorder: &recorder{}, appName: "tail-" + name}
	r.db = s.Client(t, "outsider").Database(name)
	r.keys = r.db.Collection(schema.Collection)
	if create {
		r.keys = mongotest.CreateAPIKeys(t, r.db)
	}
	client := s.Client(t, r.appName)
	store, err := keystore.New(keystore.Config{Client: client, Database: name})
	if err != nil {
		t.Fatal(err)
	}
	config := Config{
		Database: client.Database(name), Schema: schema, Sink: r.recorder, Collection: store,
		Logger: zaptest.NewLogger(t),
	}
	for _, f := range change {
		f(&config)
	}
	if config.Heartbeater == nil {
		config.Heartbeater = newHeartbeater(t, client.Database(name))
	}
	r.Heartbeater = config.Heartbeater
	if r.Tail, err = New(config); err != nil {
		t.Fatal(err)
	}
	return r
}

// newHeartbeater makes a Heartbeater that sends twenty heartbeats a second.
func newHeartbeater(t testing.TB, db *mongo.Database, change ...func(*HeartbeaterConfig)) *Heartbeater {
	t.Helper()
	config := HeartbeaterConfig{
		Database: db, Collection: schema.Collection, InstanceName: "host", Version: "test",
		Interval: 50 * time.Millisecond, Logger: zaptest.NewLogger(t),
	}
	for _, f := range change {
		f(&config)
	}
	h, err := NewHeartbeater(config)
	if err != nil {
		t.Fatal(err)
	}
	return h
}

// run starts tail and heartbeater, and stops them when the test ends.
func (r *rig) run() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 2)
	go func() { done <- r.Tail.Run(ctx) }()
	go func() { done <- r.Heartbeater.Run(ctx) }()
	r.stop = sync.OnceFunc(func() {
		cancel()
		if err := errors.Join(<-done, <-done); err != nil {
			r.t.Errorf("Run: %v", err)
		}
	})
	r.t.Cleanup(r.stop)
}

// failures counts failures, in all phases and with all codes unless some are named.
func (r *rig) failures(labels ...string) float64 {
	registry := prometheus.NewRegistry()
	registry.MustRegister(r.Tail.metrics.failures)
	families, err := registry.Gather()
	if err != nil {
		r.t.Fatal(err)
	}
	sum := 0.0
	for _, family := range families {
		for _, m := range family.GetMetric() {
			has := map[string]bool{}
			for _, l := range m.GetLabel() {
				has[l.GetValue()] = true
			}
			if !slices.ContainsFunc(labels, func(l string) bool { return !has[l] }) {
				sum += m.GetCounter().GetValue()
			}
		}
	}
	return sum
}

func (r *rig) runOpen() {
	r.t.Helper()
	r.run()
	mongotest.Eventually(r.t, patience, func() bool { return r.look(func() bool { return r.isOpen }) }, "the stream does not open")
}

// runFresh also waits for the first heartbeat. Before that, an interruption of the
// stream is a loss.
func (r *rig) runFresh() {
	r.t.Helper()
	r.runOpen()
	r.waitUntilFresh()
}

// insert adds a key and returns the operationTime of its acknowledgement: that of
// the write or, when others write at the same time, a little later.
func (r *rig) insert(id string) clustertime.Time {
	r.t.Helper()
	session, err := r.db.Client().StartSession()
	if err != nil {
		r.t.Fatal(err)
	}
	defer session.EndSession(context.Background())
	d := keyDocument(apikey.HashOf("key of " + id))
	d[0].Value = id
	if _, err := r.keys.InsertOne(mongo.NewSessionContext(r.t.Context(), session), d); err != nil {
		r.t.Fatal(err)
	}
	at := session.OperationTime()
	return clustertime.New(at.T, at.I)
}

func (r *rig) failpoint(mode any, data ...bson.E) func() {
	r.t.Helper()
	admin := r.server.Client(r.t, "operator").Database("admin")
	command := func(mode any) error {
		return admin.RunCommand(context.Background(), bson.D{
			{Key: "configureFailPoint", Value: "failCommand"},
			{Key: "mode", Value: mode},
			{Key: "data", Value: append(bson.D{{Key: "appName", Value: r.appName}}, data...)},
		}).Err()
	}
	if err := command(mode); err != nil {
		r.t.Fatal(err)
	}
	off := sync.OnceFunc(func() {
		// The driver does not retry this command, and what a test has done to the server
		// (a stepdown) may have closed the pooled connections. Each failure closes one.
		err := command("off")
		for deadline := time.Now().Add(patience); mongo.IsNetworkError(err) && time.Now().Before(deadline); {
			err = command("off")
		}
		if err != nil {
			r.t.Errorf("the failpoint stays on: %v", err)
		}
	})
	r.t.Cleanup(off)
	return off
}

func TestTheFloorLeavesNoGap(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := newRig(t, s, true)
		before := r.insert("before")
		r.runOpen()
		if floor := r.floors[0]; floor < before {
			t.Fatalf("the floor is %v, a write acknowledged before the open is of %v and will not be delivered", floor, before)
		}
		after := r.insert("after")
		mongotest.Eventually(t, patience, r.applied(1), "the change is not delivered")
		if got := r.changes[0]; got.Time > after || got.Time <= before || got.Record == nil || got.Record.KeyID != "after" {
			t.Fatalf("got %+v, want the insert of %v", got, after)
		}
	})
}

func TestEveryChangeOnceAndInOrder(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := newRig(t, s, true)
		r.runFresh()
		const changes = 200
		for i := range changes {
			if i%50 == 25 && s.Failpoints {
				r.failpoint(bson.D{{Key: "times", Value: 3}},
					bson.E{Key: "failCommands", Value: bson.A{"getMore", "aggregate"}},
					bson.E{Key: "errorCode", Value: 216})
			}
			r.insert(fmt.Sprint("key-", i))
		}
		mongotest.Eventually(t, patience, r.applied(changes), "not all are delivered")
		r.stop()
		if len(r.changes) != changes || r.losses != 0 {
			t.Fatalf("%d changes, %d losses", len(r.changes), r.losses)
		}
		for i, c := range r.changes {
			if c.Record.KeyID != fmt.Sprint("key-", i) {
				t.Fatalf("change %d is of %s", i, c.Record.KeyID)
			}
			if i > 0 && c.Time < r.changes[i-1].Time {
				t.Fatalf("change %d is of %v, after one of %v", i, c.Time, r.changes[i-1].Time)
			}
		}
	})
}

func TestFreshnessMovesWithoutAnyChange(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := newRig(t, s, true, func(c *Config) { c.MaxAwait = 50 * time.Millisecond })
		started := time.Now()
		r.runOpen()
		mongotest.Eventually(t, patience, func() bool { return r.look(func() bool { return len(r.fresh) >= 3 }) }, "the freshness does not move")
		r.stop()
		for i, f := range r.fresh {
			if f.AsOf.Before(started) || f.AsOf.After(time.Now()) || (i > 0 && f.AsOf.Before(r.fresh[i-1].AsOf)) {
				t.Fatalf("freshness %d is %v, the one before %v", i, f.AsOf, r.fresh[max(0, i-1)].AsOf)
			}
		}
		var trips dto.Metric
		if err := r.Tail.metrics.roundTrip.Write(&trips); err != nil || trips.GetHistogram().GetSampleCount() != uint64(len(r.fresh)) {
			t.Errorf("%d round trips are measured, want one for each of %d heartbeats (%v)", trips.GetHistogram().GetSampleCount(), len(r.fresh), err)
		}
	})
}

// A freshness must not run ahead of the changes that it covers: when its time is after
// a write's acknowledgement, the write has been applied.
func TestFreshnessComesAfterTheChangesItCovers(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := newRig(t, s, true, func(c *Config) {
			c.Heartbeater = newHeartbeater(t, c.Database, func(h *HeartbeaterConfig) { h.Interval = MinHeartbeatInterval })
		})
		r.runOpen()
		acknowledged := []time.Time{}
		for i := range 100 {
			r.insert(fmt.Sprint("key-", i))
			acknowledged = append(acknowledged, time.Now())
			r.requestNow()
			r.look(func() bool {
				if len(r.fresh) == 0 {
					return true
				}
				asOf := r.fresh[len(r.fresh)-1].AsOf
				covered := 0
				for _, at := range acknowledged {
					if at.Before(asOf) {
						covered++
					}
				}
				if covered > len(r.changes) {
					t.Errorf("fresh as of a time when %d writes were acknowledged, %d are applied", covered, len(r.changes))
				}
				return true
			})
		}
	})
}

func TestAMissingCollectionIsNotOpened(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := newRig(t, s, false)
		r.run()
		mongotest.Eventually(t, patience, func() bool { return r.failures() >= 2 }, "nothing is tried")
		if r.look(func() bool { return r.isOpen }) {
			t.Fatal("a stream of a missing collection opens the cache")
		}
		mongotest.CreateAPIKeys(t, r.db)
		mongotest.Eventually(t, patience, func() bool { return r.look(func() bool { return r.isOpen }) }, "it does not open when the collection exists")
	})
}

func TestStopWorksWhileTheServerIsUnreachable(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		s.Needs(t, mongotest.Failpoints)
		r := newRig(t, s, true)
		r.failpoint("alwaysOn", bson.E{Key: "failCommands", Value: bson.A{"aggregate"}}, bson.E{Key: "errorCode", Value: 91})
		r.run()
		mongotest.Eventually(t, patience, func() bool { return r.failures() >= 1 }, "nothing fails")
		r.stop()
	})
}

func TestConfigNamesEveryMistake(t *testing.T) {
	_, err := New(Config{MaxAwait: time.Second, Watchdog: time.Second})
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) || len(joined.Unwrap()) != 5 {
		t.Fatalf("want five mistakes, got: %v", err)
	}
}

func TestTimeoutsAllowTwoResumes(t *testing.T) {
	for maxStale, want := range map[time.Duration][2]time.Duration{
		0:                     {time.Second, 5 * time.Second},
		15 * time.Second:      {time.Second, 5 * time.Second},
		time.Hour:             {time.Second, 5 * time.Second},
		6 * time.Second:       {time.Second, 2 * time.Second},
		30 * time.Millisecond: {500 * time.Millisecond, time.Second},
	} {
		if maxAwait, watchdog := TimeoutsFor(maxStale); maxAwait != want[0] || watchdog != want[1] {
			t.Errorf("max_stale %v: %v and %v, want %v", maxStale, maxAwait, watchdog, want)
		}
	}
}
