package changestream

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.mongodb.org/mongo-driver/v2/bson"
	mongoevent "go.mongodb.org/mongo-driver/v2/event"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongotest"
)

// collectionRig watches only the keys. Its heartbeats are in another database.
func collectionRig(t *testing.T, s *mongotest.Server, change ...func(*HeartbeaterConfig)) *rig {
	t.Helper()
	state := s.Database(t)
	return newRig(t, s, true, func(c *Config) {
		c.Scope, c.MaxAwait = ScopeCollection, 50*time.Millisecond
		c.Heartbeater = newHeartbeater(t, c.Database, append([]func(*HeartbeaterConfig){func(h *HeartbeaterConfig) {
			h.State = h.Database.Client().Database(state)
		}}, change...)...)
	})
}

// eachComparable runs f on the servers that can serve collection scope. On the others
// the start must fail.
func eachComparable(t *testing.T, f func(t *testing.T, s *mongotest.Server)) {
	t.Helper()
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		if s.MongoDBTokens {
			f(t, s)
			return
		}
		r := collectionRig(t, s)
		if err := r.CheckAccess(t.Context()); !errors.Is(err, errTokenLayout) {
			t.Errorf("tokens of another layout: %v", err)
		}
	})
}

func TestCollectionScopeIsNotOpenedOnTokensOfAnotherLayout(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		if s.MongoDBTokens {
			return
		}
		r := collectionRig(t, s)
		r.run()
		mongotest.Eventually(t, patience, func() bool { return r.failures() >= 2 }, "it is not rejected")
		r.stop()
		if len(r.floors) != 0 || len(r.fresh) != 0 {
			t.Errorf("opened %d times, fresh %d times", len(r.floors), len(r.fresh))
		}
	})
}

func TestCollectionScopeIsFreshWithoutAnyChange(t *testing.T) {
	eachComparable(t, func(t *testing.T, s *mongotest.Server) {
		r := collectionRig(t, s)
		started := time.Now()
		r.runOpen()
		r.waitForFreshness(5)
		r.stop()
		for i, f := range r.fresh {
			if f.AsOf.Before(started) || f.AsOf.After(time.Now()) || f.Processed == 0 || (i > 0 && f.AsOf.Before(r.fresh[i-1].AsOf)) {
				t.Fatalf("freshness %d is %+v, the one before %+v", i, f, r.fresh[max(0, i-1)])
			}
		}
		if got := testutil.ToFloat64(r.Tail.metrics.misses); got != 0 || r.losses != 0 {
			t.Errorf("%v misses, %d losses", got, r.losses)
		}
	})
}

// What the freshness covers has been applied, under load and while the stream breaks
// now and then.
func TestCollectionScopeIsFreshAfterTheChangesItCovers(t *testing.T) {
	eachComparable(t, func(t *testing.T, s *mongotest.Server) {
		r := collectionRig(t, s, func(h *HeartbeaterConfig) { h.Interval = MinHeartbeatInterval })
		r.runFresh()
		var written []clustertime.Time
		var acknowledged []time.Time
		for i := range 200 {
			if i%50 == 25 && s.Failpoints {
				r.failpoint(bson.D{{Key: "times", Value: 3}},
					bson.E{Key: "failCommands", Value: bson.A{"getMore", "aggregate"}}, bson.E{Key: "errorCode", Value: 216})
			}
			written = append(written, r.insert(fmt.Sprint("key-", i)))
			acknowledged = append(acknowledged, time.Now())
			r.requestNow()
			r.look(func() bool {
				if len(r.fresh) == 0 {
					return true
				}
				last, byAge, byTime := r.fresh[len(r.fresh)-1], 0, 0
				for i := range written {
					if acknowledged[i].Before(last.AsOf) {
						byAge++
					}
					if i+1 < len(r.changes) || written[i] > last.Processed {
						continue
					}
					byTime = i + 1
				}
				if byAge > len(r.changes) || byTime > len(r.changes) {
					t.Errorf("%d writes are covered by age, %d by time, %d are applied", byAge, byTime, len(r.changes))
				}
				return true
			})
		}
		r.waitForFreshness(2)
	})
}

func TestCollectionScopeAnswersABeatWithinOneWait(t *testing.T) {
	eachComparable(t, func(t *testing.T, s *mongotest.Server) {
		r := collectionRig(t, s, func(h *HeartbeaterConfig) { h.Interval, h.MaxStale = time.Hour, 3*time.Hour })
		r.runOpen()
		r.waitForFreshness(1)
		for i := range 5 {
			written := r.insert(fmt.Sprint("key-", i))
			if _, err := r.Beat(t.Context()); err != nil {
				t.Fatal(err)
			}
			mongotest.Eventually(t, time.Second, func() bool {
				return r.look(func() bool { return r.fresh[len(r.fresh)-1].Processed >= written })
			}, "the write is not processed")
		}
	})
}

// What a position in the oplog proves about a heartbeat acknowledged at time 100.
func TestWhatAPositionProves(t *testing.T) {
	const acknowledgedTime = 100
	type step func(t *Tail) error
	empty := func(at clustertime.Time) step {
		return func(t *Tail) error { return t.noteEmptyBatch(token(fmt.Sprintf("82%016X2B0429", uint64(at)))) }
	}
	one := func(at clustertime.Time) step {
		return func(t *Tail) error { return t.noteEventTime(&event{time: at}, 0) }
	}
	for _, c := range []struct {
		name string
		step step
		want bool
	}{
		{"an empty batch before it", empty(acknowledgedTime - 1), false},
		{"an empty batch at it", empty(acknowledgedTime), true},
		{"an empty batch past it", empty(acknowledgedTime + 1), true},
		{"an event before it", one(acknowledgedTime - 1), false},
		{"an event at it: more of that time may follow", one(acknowledgedTime), false},
		{"an event past it", one(acknowledgedTime + 1), true},
	} {
		sink := &recorder{}
		catchUp := &catchUp{now: time.Now}
		metrics, err := newMetrics(nil, catchUp)
		if err != nil {
			t.Fatal(err)
		}
		tail := &Tail{
			config:      Config{Scope: ScopeCollection, Heartbeater: &Heartbeater{}, Sink: sink, Now: time.Now},
			firstCursor: true, catchUp: catchUp, metrics: metrics,
		}
		tracker := &tail.config.Heartbeater.tracker
		tracker.acknowledge(tracker.send(after(1)).nonce, acknowledgedTime, after(2))
		for range 2 { // the second time proves nothing new
			if err := c.step(tail); err != nil {
				t.Fatal(err)
			}
		}
		if got := len(sink.fresh) == 1; got != c.want || len(sink.fresh) > 1 {
			t.Errorf("%s: fresh %d times", c.name, len(sink.fresh))
		} else if got && !sink.fresh[0].AsOf.Equal(after(1)) {
			t.Errorf("%s: fresh as of %v", c.name, sink.fresh[0].AsOf)
		}
	}
}

func TestTheNewestHeartbeatThatAPositionCovers(t *testing.T) {
	var m heartbeatTracker
	sent := []int64{0}
	for n := range clustertime.Time(10) {
		sent = append(sent, m.send(after(float64(n))).nonce)
		if n != 6 { // the seventh was not acknowledged
			m.acknowledge(sent[n+1], 10*(n+1), after(float64(n)))
		}
	}
	for _, c := range []struct {
		position clustertime.Time
		want     int
	}{{9, 0}, {10, 1}, {59, 5}, {70, 6}, {65, 6}, {1000, 10}} {
		if got := slices.Index(sent, m.newestCoveredBy(c.position)); got != c.want {
			t.Errorf("position %v covers heartbeat %d, want %d", c.position, got, c.want)
		}
	}
	if _, _, _ = m.receive(sent[6], true); m.newestCoveredBy(65) != 0 {
		t.Error("a heartbeat counts twice")
	}
}

// A position that is ahead of the server's time proves nothing.
func TestAPositionFromBeforeTheTimeWentBackProvesNothing(t *testing.T) {
	var m heartbeatTracker
	m.startAt(1000)
	m.acknowledge(m.send(after(0)).nonce, 500, after(1))
	if n := m.newestCoveredBy(1000); n != 0 {
		t.Errorf("covers heartbeat %d", n)
	}
	if !m.hasUndelivered(after(-1)) {
		t.Error("the heartbeat is not expected any more")
	}
	m.startAt(0) // a new stream
	second := m.send(after(2)).nonce
	m.acknowledge(second, 501, after(3))
	if n := m.newestCoveredBy(501); n != second {
		t.Errorf("after a new start: %d, want %d", n, second)
	}
}

// A cursor that was opened after a heartbeat may be on a restored server, whose positions are of another history. A
// heartbeat that was sent since, and acknowledged, shows that it is not.
func TestAPositionNeedsAHeartbeatThatWasSentOverItsCursor(t *testing.T) {
	var m heartbeatTracker
	first := m.send(after(0)).nonce
	m.acknowledge(first, 500, after(1))
	inFlight := m.send(after(1)).nonce
	if n := m.cursorOpened(); n != 0 {
		t.Errorf("without a position the heartbeat %d is covered", n)
	}
	m.acknowledge(inFlight, 550, after(2))
	if n := m.newestCoveredBy(600); n != 0 {
		t.Errorf("covers heartbeat %d", n)
	}
	second := m.send(after(2)).nonce
	m.acknowledge(second, 700, after(3))
	if n := m.newestCoveredBy(700); n != second {
		t.Errorf("of the cursor's own time: %d, want %d", n, second)
	}
}

// Where each cursor breaks soon, the next one finds what the one before has proved.
func TestACursorThatBreaksHasProvedWhatWasBeforeIt(t *testing.T) {
	var m heartbeatTracker
	first := m.send(after(0)).nonce
	m.acknowledge(first, 500, after(1))
	m.cursorOpened()
	m.newestCoveredBy(600)
	m.acknowledge(m.send(after(2)).nonce, 700, after(3))
	if n := m.cursorOpened(); n != first {
		t.Errorf("got %d, want %d", n, first)
	}
}

func TestCollectionScopeIsNotFreshWithoutAMajority(t *testing.T) {
	s := mongotest.StartDevmongo(t, devmongo.Config{})
	r := collectionRig(t, &s.Server, func(h *HeartbeaterConfig) { h.MaxStale = 600 * time.Millisecond })
	r.runOpen()
	r.waitForFreshness(1)
	s.Node.HoldMajority()
	r.checkStandsStill()
	s.Node.ReleaseMajority()
	r.waitForFreshness(3)
	r.stop()
	if got := testutil.ToFloat64(r.Tail.metrics.misses); got != 0 || r.losses != 0 {
		t.Errorf("%v misses, %d losses", got, r.losses)
	}
}

// The stream's node gets no writes, and heartbeats are acknowledged elsewhere, as by
// the successor of a primary that was cut off.
func TestCollectionScopeATokenThatDoesNotAdvanceIsAMiss(t *testing.T) {
	silent, successor := mongotest.StartDevmongo(t, devmongo.Config{}), mongotest.StartDevmongo(t, devmongo.Config{})
	// The newest time of the silent one is now behind that of the other.
	r := newRig(t, &silent.Server, true, func(c *Config) {
		c.Scope, c.MaxAwait = ScopeCollection, 20*time.Millisecond
		c.Heartbeater = newHeartbeater(t, c.Database, func(h *HeartbeaterConfig) {
			h.MaxStale, h.State = 600*time.Millisecond, successor.Client(t).Database("state")
		})
	})
	for range 20 {
		if _, err := successor.Client(t).Database("state").Collection("noise").InsertOne(t.Context(), bson.D{}); err != nil {
			t.Fatal(err)
		}
	}
	r.runOpen()
	mongotest.Eventually(t, patience, func() bool { return testutil.ToFloat64(r.Tail.metrics.misses) >= 2 }, "the stream is not closed")
	if n := r.freshened(); n != 0 {
		t.Errorf("fresh %d times by a stream that stops", n)
	}
	mongotest.Eventually(t, patience, func() bool { return r.look(func() bool { return r.losses > 0 }) }, "a stream that never moves is kept")
	r.stop()
	if got := r.Status().LastLoss; got.Reason != reasonNoProgress {
		t.Errorf("lost by %+v", got)
	}
}

// A token ahead of the oplog is past every heartbeat, and covers none.
func TestCollectionScopeATokenAheadOfTheLogIsALoss(t *testing.T) {
	s := mongotest.StartDevmongo(t, devmongo.Config{})
	r := newStuckRigIn(t, s, ScopeCollection)
	r.run()
	mongotest.Eventually(t, patience, func() bool { return r.look(func() bool { return r.losses > 0 }) }, "the token is kept forever")
	r.look(func() bool {
		if len(r.fresh) != 0 && len(r.floors) == 0 {
			t.Errorf("fresh %d times by a token ahead of the oplog", len(r.fresh))
		}
		return true
	})
	r.waitForFreshness(2)
	r.stop()
	for _, f := range r.fresh {
		if f.Processed.Seconds() > uint32(time.Now().Add(time.Hour).Unix()) {
			t.Errorf("the new history reports %v as processed, a time of the lost history", f.Processed)
		}
	}
	if got := r.Status().LastLoss; r.losses != 1 || got.Reason != reasonNoProgress {
		t.Errorf("%d losses, the last is %+v", r.losses, got)
	}
}

// While the server does not answer, no acknowledged heartbeat makes the cache fresh,
// however many there are.
func TestCollectionScopeIsNotFreshWhileTheStreamIsBlocked(t *testing.T) {
	eachComparable(t, func(t *testing.T, s *mongotest.Server) {
		s.Needs(t, mongotest.Failpoints)
		r := collectionRig(t, s)
		r.runOpen()
		r.waitForFreshness(1)
		mend := r.failpoint("alwaysOn", bson.E{Key: "failCommands", Value: bson.A{"getMore", "aggregate"}}, bson.E{Key: "errorCode", Value: 216})
		mongotest.Eventually(t, patience, func() bool { return r.failures() > 0 }, "the stream does not break")
		before, acknowledged := r.freshened(), r.beats(resultAcknowledged)
		mongotest.Eventually(t, patience, func() bool { return r.beats(resultAcknowledged) >= acknowledged+5 }, "heartbeats fail")
		if got := r.freshened(); got != before {
			t.Errorf("fresh %d times without a stream", got-before)
		}
		mend()
		r.waitForFreshness(2)
	})
}

func TestCollectionScopeEndsAreOneLossEach(t *testing.T) {
	eachComparable(t, func(t *testing.T, s *mongotest.Server) {
		for reason, end := range map[Reason]func(r *rig) error{
			reasonDrop: func(r *rig) error { return r.keys.Drop(t.Context()) },
			reasonRename: func(r *rig) error {
				return r.db.Client().Database("admin").RunCommand(t.Context(), bson.D{
					{Key: "renameCollection", Value: r.db.Name() + ".api_keys"}, {Key: "to", Value: r.db.Name() + ".elsewhere"},
				}).Err()
			},
		} {
			r := collectionRig(t, s)
			r.runOpen()
			if err := end(r); err != nil {
				t.Fatal(err)
			}
			mongotest.Eventually(t, patience, func() bool { return r.look(func() bool { return !r.isOpen }) }, "the end is not noticed")
			mongotest.CreateAPIKeys(t, r.db)
			mongotest.Eventually(t, patience, func() bool { return r.look(func() bool { return r.isOpen }) }, "it does not open again")
			r.waitUntilDelivered("marker")
			r.stop()
			if got := r.Status().LastLoss; r.losses != 1 || got == nil || got.Reason != reason {
				t.Errorf("%s: %d losses, the last %+v", reason, r.losses, got)
			}
		}
	})
}

// The driver forgets the cursor of a stream that the watchdog ends.
func TestCollectionScopeKillsItsCursorWithTheRightNamespace(t *testing.T) {
	s := mongotest.StartDevmongo(t, devmongo.Config{})
	var killed atomic.Value
	r := newRig(t, &s.Server, true, func(c *Config) {
		opts := s.Options("tail-" + c.Database.Name()).SetMonitor(&mongoevent.CommandMonitor{Started: func(_ context.Context, e *mongoevent.CommandStartedEvent) {
			if e.CommandName == "killCursors" {
				killed.Store(e.Command.Lookup("killCursors").StringValue())
			}
		}})
		c.Database = s.Connect(t, opts).Database(c.Database.Name())
		c.Scope, c.MaxAwait, c.Watchdog = ScopeCollection, 50*time.Millisecond, 500*time.Millisecond
	})
	r.runOpen()
	r.failpoint("alwaysOn", bson.E{Key: "failCommands", Value: bson.A{"getMore"}},
		bson.E{Key: "blockConnection", Value: true}, bson.E{Key: "blockTimeMS", Value: 3000})
	mongotest.Eventually(t, patience, func() bool { return killed.Load() != nil }, "the cursor is not killed")
	if got := killed.Load(); got != "api_keys" {
		t.Errorf("killed a cursor of %v", got)
	}
}

func TestCheckAccessNamesTheMissingPrivilege(t *testing.T) {
	s := mongotest.StartDevmongo(t, devmongo.Config{})
	for scope, words := range map[Scope]string{ScopeDatabase: "--stream-scope collection", ScopeCollection: `the collection "api_keys" of the database`} {
		r := newRig(t, &s.Server, true, func(c *Config) { c.Scope = scope })
		if err := r.CheckAccess(t.Context()); err != nil {
			t.Fatal(err)
		}
		for _, code := range []int{13, 8000} {
			mend := r.failpoint("alwaysOn", bson.E{Key: "failCommands", Value: bson.A{"aggregate"}}, bson.E{Key: "errorCode", Value: code})
			err := r.CheckAccess(t.Context())
			mend()
			if !errors.Is(err, keystore.ErrUnauthorized) || !strings.Contains(err.Error(), "find and changeStream") || !strings.Contains(err.Error(), words) {
				t.Errorf("%s, %d: %v", scope, code, err)
			}
		}
		r.failpoint("alwaysOn", bson.E{Key: "failCommands", Value: bson.A{"aggregate"}}, bson.E{Key: "errorCode", Value: 91})
		if err := r.CheckAccess(t.Context()); err != nil {
			t.Errorf("a transient error is reported as permanent: %v", err)
		}
	}
}

func TestInvalidScopes(t *testing.T) {
	client := &mongo.Client{}
	db := client.Database("db")
	heart := func(state string) *Heartbeater {
		return newHeartbeater(t, db, func(h *HeartbeaterConfig) { h.State = client.Database(state) })
	}
	for _, c := range []struct {
		scope Scope
		state string
		words string
	}{
		{ScopeDatabase, "other", "--state-database"},
		{ScopeCollection, "other", ""},
		{ScopeCollection, "db", ""},
		{ScopeDatabase, "db", ""},
		{"cluster", "db", `"cluster"`},
	} {
		config := Config{Database: db, Scope: c.scope, Heartbeater: heart(c.state)}
		err := config.validateScope()
		if (err == nil) != (c.words == "") || (err != nil && !strings.Contains(err.Error(), c.words)) {
			t.Errorf("%s with %s: %v", c.scope, c.state, err)
		}
	}
	for _, state := range []string{"admin", "config", "local"} {
		_, err := NewHeartbeater(HeartbeaterConfig{Database: db, State: client.Database(state), Collection: "c"})
		if err == nil || !strings.Contains(err.Error(), "--state-database") {
			t.Errorf("state in %s: %v", state, err)
		}
	}
	if _, err := NewHeartbeater(HeartbeaterConfig{Database: db, State: client.Database("other"), Collection: HeartbeatCollection}); err != nil {
		t.Errorf("keys in a collection of that name elsewhere: %v", err)
	}
}

func TestScopeShortensTheWait(t *testing.T) {
	for _, c := range []struct {
		scope          Scope
		maxStale, want time.Duration
	}{
		{ScopeDatabase, 0, time.Second},
		{ScopeCollection, 0, 250 * time.Millisecond},
		{ScopeCollection, 15 * time.Second, 250 * time.Millisecond},
		{ScopeCollection, 600 * time.Millisecond, 100 * time.Millisecond},
		{ScopeCollection, 30 * time.Millisecond, 5 * time.Millisecond},
	} {
		if got := c.scope.MaxAwait(time.Second, c.maxStale); got != c.want {
			t.Errorf("%s, %v: %v, want %v", c.scope, c.maxStale, got, c.want)
		}
	}
}

// The keys' collection may have the name of the heartbeat collection if heartbeats are
// in another database.
func TestKeysInACollectionOfTheHeartbeatsName(t *testing.T) {
	kind, value, err := bson.MarshalValue("the key")
	if err != nil {
		t.Fatal(err)
	}
	keys := schema
	keys.Collection = HeartbeatCollection
	config := Config{Scope: ScopeCollection, Schema: keys, Heartbeater: &Heartbeater{id: "the key"}}
	e := event{kind: kindDelete, collection: HeartbeatCollection, id: bson.RawValue{Type: kind, Value: value}, time: 7}
	m, err := newInterpreter(&config.Schema, config.heartbeatID()).interpret(&e)
	if err != nil || m.change == nil || m.nonce != 0 {
		t.Errorf("got %+v, %v", m, err)
	}
}
