package changestream

import (
	"context"
	"errors"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongotest"
)

func (r *rig) beats(result string) float64 {
	return testutil.ToFloat64(r.results.WithLabelValues(result))
}

func (r *rig) freshened() int {
	n := 0
	r.look(func() bool { n = len(r.fresh); return true })
	return n
}

// waitForFreshness waits until the freshness has moved n times more.
func (r *rig) waitForFreshness(n int) {
	r.t.Helper()
	want := r.freshened() + n
	mongotest.Eventually(r.t, patience, func() bool { return r.freshened() >= want }, "the freshness does not move")
}

// checkStandsStill passes when several heartbeats fail and the freshness does not move
// meanwhile. At first an acknowledged heartbeat may still be on its way.
func (r *rig) checkStandsStill() {
	r.t.Helper()
	fail := func(n float64) {
		r.t.Helper()
		want := r.beats(resultFailed) + n
		mongotest.Eventually(r.t, patience, func() bool { return r.beats(resultFailed) >= want }, "no heartbeats fail")
	}
	fail(2)
	before := r.freshened()
	fail(3)
	if got := r.freshened(); got != before {
		r.t.Errorf("the freshness has moved %d times although no heartbeat was acknowledged", got-before)
	}
}

func (r *rig) heartbeats() *mongo.Collection { return r.db.Collection(HeartbeatCollection) }

// waitUntilDelivered waits until the stream has delivered everything from before this call.
func (r *rig) waitUntilDelivered(id string) {
	r.t.Helper()
	r.insert(id)
	mongotest.Eventually(r.t, patience, func() bool {
		return r.look(func() bool { return len(r.changes) > 0 && r.changes[len(r.changes)-1].Record.KeyID == id })
	}, "the stream does not get to the marker")
}

// oneHeartbeat makes a rig that sends one heartbeat when the stream opens, and then none
// for an hour.
func oneHeartbeat(t *testing.T, s *mongotest.Server, change ...func(*Config)) *rig {
	t.Helper()
	r := newRig(t, s, true, append(change, func(c *Config) {
		c.Heartbeater = newHeartbeater(t, c.Database, func(h *HeartbeaterConfig) { h.Interval, h.MaxStale = time.Hour, 3*time.Hour })
	})...)
	r.runOpen()
	mongotest.Eventually(t, patience, func() bool { return r.freshened() == 1 }, "the first heartbeat does not arrive")
	return r
}

func TestFreshnessDoesNotAdvanceWhileHeartbeatsFail(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		s.Needs(t, mongotest.Failpoints)
		r := newRig(t, s, true)
		r.runOpen()
		r.waitForFreshness(1)
		mend := r.failpoint("alwaysOn", bson.E{Key: "failCommands", Value: bson.A{"update"}}, bson.E{Key: "errorCode", Value: 2})
		r.checkStandsStill()
		r.waitUntilDelivered("meanwhile") // the stream itself works
		mend()
		r.waitForFreshness(3)
		if got := testutil.ToFloat64(r.Tail.metrics.misses); got != 0 {
			t.Errorf("%v freshness misses, although the stream delivers all heartbeats", got)
		}
	})
}

func TestFreshnessDoesNotAdvanceWithoutAMajority(t *testing.T) {
	s := mongotest.StartDevmongo(t, devmongo.Config{})
	r := newRig(t, &s.Server, true, func(c *Config) {
		c.Heartbeater = newHeartbeater(t, c.Database, func(h *HeartbeaterConfig) { h.MaxStale = 600 * time.Millisecond })
	})
	r.runOpen()
	r.waitForFreshness(1)
	s.Node.HoldMajority()
	r.checkStandsStill()
	if got := testutil.ToFloat64(r.Tail.metrics.misses); got != 0 {
		t.Errorf("%v freshness misses, although the stream is not the cause", got)
	}
	s.Node.ReleaseMajority()
	r.waitForFreshness(3)
	r.stop()
	if r.losses != 0 {
		t.Errorf("%d losses", r.losses)
	}
}

func TestProcessedIsBetweenTheLastWriteAndTheHeartbeat(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := oneHeartbeat(t, s)
		written := r.insert("before")
		at, err := r.Beat(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		mongotest.Eventually(t, patience, func() bool { return r.freshened() == 2 }, "the heartbeat does not arrive")
		r.stop()
		if got := r.fresh[1].Processed; got < written || got >= at {
			t.Errorf("processed is %v, the write before was at %v, the heartbeat at %v or before", got, written, at)
		}
	})
}

func TestTheDocumentOfAHeartbeat(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := newRig(t, s, true)
		if err := r.Prepare(t.Context()); err != nil {
			t.Fatal(err)
		}
		if n, err := r.heartbeats().CountDocuments(t.Context(), bson.D{}); err != nil || n != 0 {
			t.Fatalf("%d documents before the stream is open, %v", n, err)
		}
		r.runOpen()
		r.waitForFreshness(3)
		var got struct {
			ID        string         `bson:"_id"`
			N         int64          `bson:"n"`
			Anchor    int64          `bson:"anchor"`
			Processed bson.Timestamp `bson:"processed"`
			At        time.Time      `bson:"at"`
			MaxStale  int64          `bson:"max_stale_ms"`
			Staleness *int64         `bson:"staleness_ms"`
			NS        string         `bson:"ns"`
			Version   string         `bson:"version"`
		}
		mongotest.Eventually(t, patience, func() bool {
			if err := r.heartbeats().FindOne(t.Context(), bson.D{}).Decode(&got); err != nil {
				t.Fatal(err)
			}
			return got.N != 0 && got.Anchor != 0 && got.Staleness != nil
		}, "no third heartbeat")
		if !strings.HasPrefix(got.ID, "host/") || got.ID != r.id || len(got.ID) < len("host/")+26 {
			t.Errorf("_id is %q", got.ID)
		}
		if got.MaxStale != 15_000 || got.NS != r.db.Name()+".api_keys" || got.Version != "test" || got.Processed.T == 0 ||
			*got.Staleness < 0 || *got.Staleness > 15_000 || time.Since(got.At).Abs() > time.Minute {
			t.Errorf("got %+v", got)
		}
		r.stop()
		if n, err := r.heartbeats().CountDocuments(context.Background(), bson.D{}); err != nil || n != 0 {
			t.Errorf("%d documents after a clean stop, %v", n, err)
		}
	})
}

// Every instance on the fleet's list has a floor: nothing is written before the stream
// is open.
func TestTheFirstHeartbeatFollowsTheFirstOpen(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := newRig(t, s, false) // there is no collection, so the stream does not open
		r.run()
		deadline, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		defer cancel()
		if at, err := r.Beat(deadline); err == nil || r.tracker.anySent() {
			t.Errorf("a heartbeat was sent before the stream was open, at %v, %v", at, err)
		}
		mongotest.CreateAPIKeys(t, r.db)
		r.waitForFreshness(1)
	})
}

// MongoDB replaces an empty timestamp by its own current time.
func TestUnknownFieldsAreLeftOut(t *testing.T) {
	h := newHeartbeater(t, (&mongo.Client{}).Database("db"))
	has := func(name string) bool {
		return slices.ContainsFunc(h.document(heartbeatWrite{nonce: 1}), func(e bson.E) bool { return e.Key == name })
	}
	if has("processed") || has("staleness_ms") {
		t.Errorf("before the first arrived: %v", h.document(heartbeatWrite{nonce: 1}))
	}
	h.lastFreshness.Store(&keycache.Freshness{AsOf: time.Now()})
	if has("processed") || !has("staleness_ms") {
		t.Errorf("without a cluster time: %v", h.document(heartbeatWrite{nonce: 1}))
	}
	h.lastFreshness.Store(&keycache.Freshness{AsOf: time.Now(), Processed: 7})
	if !has("processed") || !has("staleness_ms") {
		t.Errorf("with both: %v", h.document(heartbeatWrite{nonce: 1}))
	}
}

func TestPrepareMakesTheIndexThatRemovesDeadInstances(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := newRig(t, s, true)
		for range 2 {
			if err := r.Prepare(t.Context()); err != nil {
				t.Fatal(err)
			}
		}
		if got := r.ttl(); got != 24*60*60 {
			t.Errorf("instances are removed after %d s", got)
		}
		if n, err := r.heartbeats().CountDocuments(t.Context(), bson.D{}); err != nil || n != 0 {
			t.Errorf("%d documents were not deleted, %v", n, err)
		}
	})
}

// ttl is the expiry of the index on at, in seconds; -1 without one.
func (r *rig) ttl() int64 {
	r.t.Helper()
	indexes, err := r.heartbeats().Indexes().ListSpecifications(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	for _, i := range indexes {
		if _, err := i.KeysDocument.LookupErr(fieldAt); err == nil && i.ExpireAfterSeconds != nil {
			return int64(*i.ExpireAfterSeconds)
		}
	}
	return -1
}

func TestPrepareNamesTheMissingPrivilege(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		s.Needs(t, mongotest.Failpoints)
		r := newRig(t, s, true)
		for _, command := range []string{"createIndexes", "update", "delete"} {
			for _, code := range []int{13, 8000} {
				mend := r.failpoint("alwaysOn", bson.E{Key: "failCommands", Value: bson.A{command}}, bson.E{Key: "errorCode", Value: code})
				err := r.Prepare(t.Context())
				mend()
				if !errors.Is(err, keystore.ErrUnauthorized) || strings.Contains(err.Error(), "\n") {
					t.Fatalf("%s, %d: %v", command, code, err)
				}
				for _, part := range []string{"insert, update, remove and createIndex", `collection "keytail_heartbeats"`, `database "` + r.db.Name() + `"`} {
					if !strings.Contains(err.Error(), part) {
						t.Errorf("%s: %q does not mention %s", command, err, part)
					}
				}
			}
		}
		r.failpoint("alwaysOn", bson.E{Key: "failCommands", Value: bson.A{"update"}}, bson.E{Key: "errorCode", Value: 2})
		if err := r.Prepare(t.Context()); err == nil || errors.Is(err, keystore.ErrUnauthorized) || !strings.Contains(err.Error(), HeartbeatCollection) {
			t.Errorf("another failure: %v", err)
		}
	})
}

func TestPrepareRejectsAnotherExpiry(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := newRig(t, s, true)
		_, err := r.heartbeats().Indexes().CreateOne(t.Context(), mongo.IndexModel{
			Keys: bson.D{{Key: fieldAt, Value: 1}}, Options: options.Index().SetExpireAfterSeconds(5),
		})
		if err != nil {
			t.Fatal(err)
		}
		if err := r.Prepare(t.Context()); err == nil || !strings.Contains(err.Error(), "drop that index") {
			t.Errorf("got %v", err)
		}
	})
}

func TestPrepareNeedsNoMajority(t *testing.T) {
	s := mongotest.StartDevmongo(t, devmongo.Config{})
	r := newRig(t, &s.Server, true)
	if err := r.Prepare(t.Context()); err != nil {
		t.Fatal(err)
	}
	s.Node.HoldMajority()
	defer s.Node.ReleaseMajority()
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Second)
	defer cancel()
	if err := r.Prepare(ctx); err != nil {
		t.Error(err)
	}
}

func TestHeartbeatsOfOthersProveNothing(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := oneHeartbeat(t, s)
		n := r.tracker.send(time.Now()).nonce // it was not sent, but would count if it arrived
		for _, id := range []any{"host/an older boot", "other/" + r.id, r.id + "/check", 7} {
			for range 2 { // an insert, then an update
				r.writeNonce(id, n)
			}
		}
		r.writeNonce(r.id, 1<<40)
		if _, err := r.heartbeats().UpdateByID(t.Context(), r.id, bson.D{{Key: "$set", Value: bson.D{{Key: "n", Value: strconv.FormatInt(n, 10)}}}}); err != nil {
			t.Fatal(err)
		}
		r.waitUntilDelivered("marker")
		r.stop()
		if len(r.fresh) != 1 || r.losses != 0 {
			t.Errorf("the freshness moved %d times, want once; %d losses", len(r.fresh), r.losses)
		}
		// The server sends none of the others' eight. What arrived: this instance's first,
		// the one that was never sent, the one that is no number, and the marker.
		for kind, want := range map[string]float64{"heartbeat": 2, kindUpdate: 1, kindInsert: 1, kindReplace: 0} {
			if got := testutil.ToFloat64(r.Tail.metrics.events.WithLabelValues(kind)); got != want {
				t.Errorf("%v events of type %s arrived, want %v", got, kind, want)
			}
		}
	})
}

func (r *rig) writeNonce(id any, n int64) {
	r.t.Helper()
	_, err := r.heartbeats().UpdateByID(r.t.Context(), id, bson.D{
		{Key: "$set", Value: bson.D{{Key: fieldNonce, Value: n}}},
		{Key: "$inc", Value: bson.D{{Key: "times", Value: 1}}},
	}, options.UpdateOne().SetUpsert(true))
	if err != nil {
		r.t.Fatal(err)
	}
}

func TestANonceIsReadFromInsertUpdateAndReplace(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := oneHeartbeat(t, s)
		own := bson.D{{Key: "_id", Value: r.id}}
		for name, write := range map[string]func(n int64) error{
			"replace": func(n int64) error {
				_, err := r.heartbeats().ReplaceOne(t.Context(), own, bson.D{{Key: "n", Value: n}})
				return err
			},
			"update": func(n int64) error {
				_, err := r.heartbeats().UpdateOne(t.Context(), own, bson.D{{Key: "$set", Value: bson.D{{Key: "n", Value: n}}}})
				return err
			},
			"update by a pipeline": func(n int64) error {
				_, err := r.heartbeats().UpdateOne(t.Context(), own, mongo.Pipeline{{{Key: "$set", Value: bson.D{{Key: "n", Value: n}}}}})
				return err
			},
			"insert": func(n int64) error {
				_, err := r.heartbeats().DeleteOne(t.Context(), own)
				if err == nil {
					_, err = r.heartbeats().InsertOne(t.Context(), append(own, bson.E{Key: "n", Value: n}))
				}
				return err
			},
		} {
			sent := time.Now()
			before := r.freshened()
			if err := write(r.tracker.send(sent).nonce); err != nil {
				t.Fatal(name, err)
			}
			mongotest.Eventually(t, patience, func() bool { return r.freshened() > before }, name, " does not count")
			r.look(func() bool {
				if got := r.fresh[len(r.fresh)-1].AsOf; !got.Equal(sent) {
					t.Errorf("%s: fresh as of %v, sent at %v", name, got, sent)
				}
				return true
			})
		}
	})
}

// The filter for last_used must not drop a heartbeat, whatever the names of the user's
// fields are.
func TestHeartbeatsPassTheFilterForIgnorableUpdates(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := oneHeartbeat(t, s, func(c *Config) { c.Schema.LastUsed = fieldNonce })
		n := r.tracker.send(time.Now()).nonce
		if _, err := r.heartbeats().UpdateByID(t.Context(), r.id, bson.D{{Key: "$set", Value: bson.D{{Key: fieldNonce, Value: n}}}}); err != nil {
			t.Fatal(err)
		}
		mongotest.Eventually(t, patience, func() bool { return r.freshened() == 2 }, "the heartbeat was dropped")
	})
}

func TestADroppedHeartbeatCollectionIsCreatedAgain(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := newRig(t, s, true)
		r.runOpen()
		r.waitForFreshness(1)
		if err := r.heartbeats().Drop(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.waitForLoss(reasonRewound) // it looks like a restore
		r.waitForFreshness(5)
		mongotest.Eventually(t, patience, func() bool { return r.ttl() == 24*60*60 }, "the index is not created again")
		r.waitUntilDelivered("marker")
		r.stop()
		if r.losses != 1 {
			t.Errorf("%d losses", r.losses)
		}
	})
}

// Heartbeats in another database are acknowledged, and never arrive.
func TestAFreshnessMissOpensTheStreamAgain(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		elsewhere := s.Client(t).Database(s.Database(t))
		r := newRig(t, s, true, func(c *Config) {
			c.MaxAwait = 20 * time.Millisecond
			c.Heartbeater = newHeartbeater(t, c.Database, func(h *HeartbeaterConfig) { h.MaxStale = 600 * time.Millisecond })
		})
		r.Heartbeater.beats = elsewhere.Collection(HeartbeatCollection)
		opened := time.Now()
		r.runOpen()
		resumed := func(n float64) func() bool {
			return func() bool { return testutil.ToFloat64(r.Tail.metrics.opens.WithLabelValues("resumed")) >= n }
		}
		mongotest.Eventually(t, patience, resumed(1), "the stream is not opened again")
		if took := time.Since(opened); took < 200*time.Millisecond {
			t.Errorf("closed after %v, a third of max_stale is 200ms", took)
		}
		r.insert("meanwhile")
		mongotest.Eventually(t, patience, r.applied(1), "the change is not delivered")
		r.look(func() bool {
			if got := r.changes[0].Record.KeyID; got != "meanwhile" {
				t.Errorf("got the change of %s", got)
			}
			return true
		})
		if testutil.ToFloat64(r.Tail.metrics.misses) == 0 || r.freshened() != 0 {
			t.Errorf("%v misses, the freshness moved %d times", testutil.ToFloat64(r.Tail.metrics.misses), r.freshened())
		}
	})
}

// newStuckRig makes a rig that resumes after a token ahead of the oplog: the server accepts
// it and delivers nothing. MongoDB does that after a restore from a backup.
func newStuckRig(t *testing.T, s *mongotest.Devmongo) *rig {
	t.Helper()
	return newStuckRigIn(t, s, ScopeDatabase)
}

func newStuckRigIn(t *testing.T, s *mongotest.Devmongo, scope Scope) *rig {
	t.Helper()
	r := newRig(t, &s.Server, true, func(c *Config) {
		c.Scope = scope
		c.MaxAwait = 20 * time.Millisecond
		c.Heartbeater = newHeartbeater(t, c.Database, func(h *HeartbeaterConfig) { h.MaxStale = 600 * time.Millisecond })
	})
	probe, err := r.db.Watch(t.Context(), mongo.Pipeline{})
	if err != nil {
		t.Fatal(err)
	}
	data := []byte(probe.ResumeToken().Lookup("_data").StringValue())
	if err := probe.Close(t.Context()); err != nil {
		t.Fatal(err)
	}
	data[2] = 'F' // the first digit of the seconds: the year 2100 or so
	r.Tail.token = token(string(data))
	r.isOpen = true
	return r
}

func TestTwoFruitlessResumesAreALoss(t *testing.T) {
	s := mongotest.StartDevmongo(t, devmongo.Config{})
	r := newStuckRig(t, s)
	var resumes []float64 // before each loss; on a machine under load there are resumes after it, too
	r.onLoss = func() {
		resumes = append(resumes, testutil.ToFloat64(r.Tail.metrics.opens.WithLabelValues("resumed")))
	}
	r.run()
	mongotest.Eventually(t, patience, func() bool { return r.look(func() bool { return r.losses > 0 }) }, "the token is kept forever")
	r.waitForFreshness(2)
	r.waitUntilDelivered("marker")
	r.stop()
	if got := r.Status().LastLoss; len(resumes) != 1 || got.Reason != reasonNoProgress {
		t.Errorf("%d losses, the last is %+v", len(resumes), got)
	}
	if resumes[0] != maxFruitlessResumes {
		t.Errorf("%v resumes before the loss, want %d", resumes[0], maxFruitlessResumes)
	}
}

func TestSilenceWithoutAcknowledgedHeartbeatsIsNoLoss(t *testing.T) {
	s := mongotest.StartDevmongo(t, devmongo.Config{})
	r := newStuckRig(t, s)
	r.failpoint("alwaysOn", bson.E{Key: "failCommands", Value: bson.A{"update"}}, bson.E{Key: "errorCode", Value: 2})
	r.run()
	r.checkStandsStill()
	r.stop()
	if r.losses != 0 || testutil.ToFloat64(r.Tail.metrics.misses) != 0 {
		t.Errorf("lost: %+v, %v misses", r.Status().LastLoss, testutil.ToFloat64(r.Tail.metrics.misses))
	}
}

func TestWhatMakesAResumeFruitless(t *testing.T) {
	broken := errors.New("broken")
	for _, c := range []struct {
		name         string
		resumed      bool
		acknowledged bool
		events       int
		moves        bool
		cause        error
		want         []Reason
	}{
		{name: "silent", resumed: true, acknowledged: true, want: []Reason{"", reasonNoProgress, "", reasonNoProgress}},
		{name: "a new stream", acknowledged: true, want: []Reason{"", "", ""}},
		{name: "no acknowledgement", resumed: true, want: []Reason{"", "", ""}},
		{name: "a heartbeat or a change", resumed: true, acknowledged: true, events: 1, want: []Reason{"", "", ""}},
		{name: "the token moved", resumed: true, acknowledged: true, moves: true, want: []Reason{"", "", ""}},
		{name: "lost anyway", resumed: true, acknowledged: true, cause: lost(reasonDrop, nil), want: []Reason{reasonDrop, reasonDrop, reasonDrop}},
	} {
		h := &Heartbeater{}
		tail := &Tail{config: Config{Heartbeater: h}}
		for i, want := range c.want {
			tail.token = token("8200000007000000012B04")
			s := &stream{resumed: c.resumed, opened: after(float64(i)), openedAfter: tail.token, events: c.events}
			n := h.tracker.send(after(float64(i) + 0.5)).nonce
			if c.acknowledged {
				h.tracker.acknowledge(n, 1, after(float64(i)+0.6))
			}
			if c.moves {
				tail.token = token("8200000008000000012B04")
			}
			cause := c.cause
			if cause == nil {
				cause = broken
			}
			err := tail.checkProgress(s, cause)
			if got := reasonOf(classify(err)); got != want {
				t.Errorf("%s: stream %d: got %q, want %q", c.name, i, got, want)
			}
			if reasonOf(classify(err)) != "" {
				tail.fruitless = 0 // as lose does
			}
		}
	}
}

func TestBeatIsSentAfterTheCall(t *testing.T) {
	h := newHeartbeater(t, (&mongo.Client{}).Database("db"))
	result := make(chan clustertime.Time, 1)
	inFlight := h.takeWaiting()
	go func() {
		at, _ := h.Beat(t.Context())
		result <- at
	}()
	mongotest.Eventually(t, patience, func() bool { return len(h.wanted) == 1 }, "no heartbeat is requested")
	inFlight.at = 1
	close(inFlight.done)
	next := h.takeWaiting()
	if next == inFlight {
		t.Fatal("the next heartbeat is the one in flight")
	}
	select {
	case at := <-result:
		t.Fatalf("answered by the heartbeat that was in flight, %v", at)
	default:
	}
	next.at = 2
	close(next.done)
	if at := <-result; at != 2 {
		t.Errorf("answered by the heartbeat of %v", at)
	}
	if len(h.wanted) != 0 {
		t.Error("wanted still holds a value, although all callers were taken")
	}
}

func TestBeatCoversWhatWasWrittenBeforeIt(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := oneHeartbeat(t, s)
		const callers, rounds = 8, 10
		var group sync.WaitGroup
		for i := range callers {
			group.Go(func() {
				for j := range rounds {
					written := r.insert(string(rune('a'+i)) + string(rune('a'+j)))
					at, err := r.Beat(t.Context())
					if err != nil || at <= written {
						t.Errorf("a heartbeat of %v after a write of %v, %v", at, written, err)
					}
				}
			})
		}
		group.Wait()
		if sent := r.beats(resultAcknowledged); sent > callers*rounds {
			t.Errorf("%v heartbeats for %d calls", sent, callers*rounds)
		}
	})
}

func TestBeatsShareAHeartbeat(t *testing.T) {
	s := mongotest.StartDevmongo(t, devmongo.Config{})
	r := oneHeartbeat(t, &s.Server)
	s.Node.HoldMajority()
	first := make(chan error, 1)
	go func() { _, err := r.Beat(t.Context()); first <- err }()
	sent := func() int64 { r.tracker.mutex.Lock(); defer r.tracker.mutex.Unlock(); return r.tracker.last }
	mongotest.Eventually(t, patience, func() bool { return sent() == 2 }, "nothing is sent")
	const callers = 20
	var joined, group sync.WaitGroup
	for range callers {
		joined.Add(1)
		group.Go(func() {
			joined.Done()
			if _, err := r.Beat(t.Context()); err != nil {
				t.Error(err)
			}
		})
	}
	joined.Wait()
	s.Node.ReleaseMajority()
	group.Wait()
	if err := <-first; err != nil {
		t.Error(err)
	}
	// One for all callers that came while the first was delayed, and a few for callers
	// that the scheduler ran late.
	if got := sent(); got > callers/2 {
		t.Errorf("%d heartbeats for %d callers", got, callers)
	}
}

func TestBeatDoesNotBlockForever(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := newRig(t, s, true)
		deadline, cancel := context.WithTimeout(t.Context(), 50*time.Millisecond)
		defer cancel()
		if _, err := r.Beat(deadline); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("before the first open: %v", err)
		}
		r.runOpen()
		if s.Failpoints {
			mend := r.failpoint("alwaysOn", bson.E{Key: "failCommands", Value: bson.A{"update"}}, bson.E{Key: "errorCode", Value: 2})
			if _, err := r.Beat(t.Context()); err == nil {
				t.Error("a heartbeat that failed is no error")
			}
			mend()
		}
		r.stop()
		if _, err := r.Beat(t.Context()); !errors.Is(err, ErrHeartbeatStopped) {
			t.Errorf("after the stop: %v", err)
		}
	})
}

// A heartbeat that is in flight at the stop must not come after the deletion.
func TestAStopWaitsForTheHeartbeatInFlight(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		s.Needs(t, mongotest.Failpoints)
		r := newRig(t, s, true)
		r.runOpen()
		r.waitForFreshness(1)
		r.failpoint("alwaysOn", bson.E{Key: "failCommands", Value: bson.A{"update"}},
			bson.E{Key: "blockConnection", Value: true}, bson.E{Key: "blockTimeMS", Value: 300})
		sent := func() int64 { r.tracker.mutex.Lock(); defer r.tracker.mutex.Unlock(); return r.tracker.last }
		before := sent()
		mongotest.Eventually(t, patience, func() bool { return sent() > before+1 }, "nothing is sent")
		acknowledged := r.beats(resultAcknowledged)
		r.stop()
		if got := r.beats(resultAcknowledged); got <= acknowledged {
			t.Error("the heartbeat in flight was cancelled")
		}
		if n, err := r.heartbeats().CountDocuments(context.Background(), bson.D{}); err != nil || n != 0 {
			t.Errorf("%d documents after a clean stop, %v", n, err)
		}
	})
}

// A heartbeat that a stop cancels is no failure.
func TestAStopIsNoHeartbeatFailure(t *testing.T) {
	s := mongotest.StartDevmongo(t, devmongo.Config{})
	core, logs := observer.New(zap.WarnLevel)
	h := newHeartbeater(t, s.Client(t, "heart").Database(s.Database(t)), func(c *HeartbeaterConfig) { c.Logger, c.MaxStale = zap.New(core), 30*time.Second })
	s.Node.HoldMajority()
	defer s.Node.ReleaseMajority()
	ctx, stop := context.WithCancel(t.Context())
	stop()
	h.sendHeartbeat(ctx)
	if logs.Len() != 0 || testutil.ToFloat64(h.results.WithLabelValues(resultFailed)) != 0 {
		t.Errorf("logged %v", logs.All())
	}
}

func TestAHeartbeatFailureIsLoggedWhenItChanges(t *testing.T) {
	core, logs := observer.New(zap.InfoLevel)
	h := newHeartbeater(t, (&mongo.Client{}).Database("db"), func(c *HeartbeaterConfig) { c.Logger = zap.New(core) })
	for _, err := range []error{nil, nil, errors.New("a"), errors.New("b"), errors.New("c"), nil, nil} {
		h.recordResult(err)
	}
	var got []string
	for _, line := range logs.All() {
		got = append(got, line.Level.String())
	}
	if !slices.Equal(got, []string{"info", "warn", "info"}) {
		t.Errorf("got %v", logs.All())
	}
	if ok, failed := testutil.ToFloat64(h.results.WithLabelValues(resultAcknowledged)), testutil.ToFloat64(h.results.WithLabelValues(resultFailed)); ok != 4 || failed != 3 {
		t.Errorf("counted %v acknowledged and %v failed", ok, failed)
	}
}

// TestAHeartbeatFailureLogsAdvice, and repeats it while the failure lasts.
func TestAHeartbeatFailureLogsAdvice(t *testing.T) {
	for _, c := range []struct {
		err    error
		advice string
	}{
		{mongo.CommandError{Code: 13}, "insert and update"},
		{context.DeadlineExceeded, "has a primary and a majority"},
		{mongo.WriteException{WriteConcernError: &mongo.WriteConcernError{Code: 64}}, "has a primary and a majority"},
		{mongo.CommandError{Code: 100}, "has a primary and a majority"},
		{mongo.CommandError{Code: 14031}, "disk"},
		{errors.New("another"), "look up"},
	} {
		core, logs := observer.New(zap.InfoLevel)
		now := time.Now()
		h := newHeartbeater(t, (&mongo.Client{}).Database("db"), func(c *HeartbeaterConfig) {
			c.Logger, c.Now = zap.New(core), func() time.Time { return now }
		})
		for range 121 {
			h.recordResult(c.err)
			now = now.Add(time.Second)
		}
		lines := logs.FilterMessageSnippet("not acknowledged").All()
		if len(lines) != 3 {
			t.Errorf("%v: %d lines in two minutes", c.err, len(lines))
		}
		for _, line := range lines {
			if advice, _ := line.ContextMap()["advice"].(string); !strings.Contains(advice, c.advice) {
				t.Errorf("%v: the advice is %q", c.err, advice)
			}
		}
	}
}

func TestHeartbeaterConfigNamesEveryMistake(t *testing.T) {
	for name, c := range map[string]struct {
		config   HeartbeaterConfig
		mistakes int
	}{
		"nothing":           {HeartbeaterConfig{}, 2},
		"keys in the way":   {HeartbeaterConfig{Collection: HeartbeatCollection}, 2},
		"too seldom":        {HeartbeaterConfig{Collection: "c", Interval: 6 * time.Second}, 2},
		"too often":         {HeartbeaterConfig{Collection: "c", Interval: time.Millisecond}, 2},
		"max_stale too low": {HeartbeaterConfig{Collection: "c", MaxStale: 29 * time.Millisecond}, 2},
		"a long name":       {HeartbeaterConfig{Collection: "c", InstanceName: strings.Repeat("x", 257)}, 2},
	} {
		_, err := NewHeartbeater(c.config)
		var joined interface{ Unwrap() []error }
		if !errors.As(err, &joined) || len(joined.Unwrap()) != c.mistakes {
			t.Errorf("%s: want %d mistakes, got: %v", name, c.mistakes, err)
		}
	}
	h := newHeartbeater(t, (&mongo.Client{}).Database("db"), func(c *HeartbeaterConfig) { *c = HeartbeaterConfig{Database: c.Database, Collection: "c"} })
	if h.Interval() != time.Second || h.config.MaxStale != 15*time.Second || !strings.HasPrefix(h.id, hostName()+"/") {
		t.Errorf("the defaults are %+v, id %q", h.config, h.id)
	}
}
