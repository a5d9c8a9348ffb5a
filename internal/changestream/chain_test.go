package changestream

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

// waitForLoss waits until the history is lost for this reason.
func (r *rig) waitForLoss(reason Reason) {
	r.t.Helper()
	mongotest.Eventually(r.t, patience, func() bool {
		last := r.Status().LastLoss
		return last != nil && last.Reason == reason
	}, "the history is not lost as ", string(reason))
}

// waitUntilFresh waits until the first heartbeat has arrived.
func (r *rig) waitUntilFresh() {
	r.t.Helper()
	mongotest.Eventually(r.t, patience, func() bool { return r.freshened() > 0 }, "the first heartbeat does not arrive")
}

// eachScope runs f in both scopes, each with its own devmongo. The interval is an
// hour, so heartbeats are sent only where the test needs them.
func eachScope(t *testing.T, f func(t *testing.T, r *rig, node *devmongo.Server)) {
	for _, scope := range []Scope{ScopeDatabase, ScopeCollection} {
		t.Run(string(scope), func(t *testing.T) {
			s := mongotest.StartDevmongo(t, devmongo.Config{})
			f(t, newRig(t, &s.Server, true, func(c *Config) {
				c.Scope, c.MaxAwait = scope, 20*time.Millisecond
				c.Heartbeater = newHeartbeater(t, c.Database, func(h *HeartbeaterConfig) { h.Interval, h.MaxStale = time.Hour, 3*time.Hour })
			}), s.Node)
		})
	}
}

// sendAndReceive sends a heartbeat and waits until it has arrived.
func (r *rig) sendAndReceive() {
	r.t.Helper()
	n := r.freshened()
	if _, err := r.Beat(r.t.Context()); err != nil {
		r.t.Fatal(err)
	}
	mongotest.Eventually(r.t, patience, func() bool { return r.freshened() > n }, "the heartbeat does not arrive")
}

// waitUntilIdle returns when the stream's token is that of an empty batch, which names no
// event: two requests have been answered since the oplog moved.
func (r *rig) waitUntilIdle(node *devmongo.Server) {
	r.t.Helper()
	node.TickNoop()
	r.waitForRequests(3, time.Millisecond)
}

// waitForRequests returns when the tail has sent n requests, each of which the server delays.
// The failpoint stays on.
func (r *rig) waitForRequests(n int, held time.Duration) {
	r.t.Helper()
	admin := r.server.Client(r.t, "operator").Database("admin")
	countRequests := func() int {
		var reply struct{ Count int }
		if err := admin.RunCommand(r.t.Context(), bson.D{
			{Key: "configureFailPoint", Value: "failCommand"},
			{Key: "mode", Value: "alwaysOn"},
			{Key: "data", Value: bson.D{
				{Key: "appName", Value: r.appName},
				{Key: "failCommands", Value: bson.A{"getMore"}},
				{Key: "blockConnection", Value: true},
				{Key: "blockTimeMS", Value: held.Milliseconds()},
			}},
		}).Decode(&reply); err != nil {
			r.t.Fatal(err)
		}
		return reply.Count
	}
	countRequests()
	got := 0
	mongotest.Eventually(r.t, patience, func() bool { got += countRequests(); return got >= n }, "the tail sends no request")
}

func TestARestoreInPlaceIsALoss(t *testing.T) {
	eachScope(t, func(t *testing.T, r *rig, node *devmongo.Server) {
		r.runOpen()
		r.waitUntilFresh()
		snapshot := node.Snapshot()
		r.insert("undone")
		r.sendAndReceive()
		r.waitUntilIdle(node)
		before := r.freshened()
		node.Restore(snapshot)
		mongotest.Eventually(t, patience, func() bool {
			_, err := r.Beat(t.Context())
			if r.look(func() bool { return len(r.fresh) > before && len(r.floors) == 1 }) {
				t.Fatal("a heartbeat arrived after the restore, and the history is not lost")
			}
			return err == nil && r.look(func() bool { return len(r.fresh) > before })
		}, "the freshness does not move")
		r.waitForLoss(reasonRewound)
		r.stop()
		if r.losses != 1 || len(r.floors) != 2 {
			t.Errorf("%d losses, %d opens", r.losses, len(r.floors))
		}
	})
}

// The processed time belongs to the lost history, so the fleet must not see it.
func TestALossRemovesTheProcessedTime(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := oneHeartbeat(t, s)
		r.sendAndReceive()
		processed := func() bool {
			raw, err := r.heartbeats().FindOne(t.Context(), bson.D{{Key: "_id", Value: r.id}}).Raw()
			if err != nil {
				t.Fatal(err)
			}
			_, err = raw.LookupErr(fieldProcessed)
			return err == nil
		}
		if !processed() {
			t.Fatal("processed is missing")
		}
		r.Heartbeater.forget()
		if _, err := r.Beat(t.Context()); err != nil {
			t.Fatal(err)
		}
		if processed() {
			t.Error("processed is still there")
		}
	})
}

// An upsert that returns the previous document would hide the restore from the next
// heartbeat, if its reply is lost.
func TestALostReplyDoesNotHideARestore(t *testing.T) {
	for _, scope := range []Scope{ScopeDatabase, ScopeCollection} {
		t.Run(string(scope), func(t *testing.T) {
			s := mongotest.StartDevmongo(t, devmongo.Config{})
			r := newRig(t, &s.Server, true, func(c *Config) {
				c.Scope, c.MaxAwait = scope, 20*time.Millisecond
				c.Heartbeater = newHeartbeater(t, c.Database, func(h *HeartbeaterConfig) { h.Interval, h.MaxStale = 200*time.Millisecond, 600*time.Millisecond })
			})
			r.runOpen()
			snapshot := s.Node.Snapshot()
			r.waitForFreshness(2)
			r.waitUntilIdle(s.Node)
			s.Node.DelayReplies(r.appName, "update", time.Minute)
			failed := r.beats(resultFailed)
			s.Node.Restore(snapshot)
			mongotest.Eventually(t, patience, func() bool { return r.beats(resultFailed) >= failed+3 }, "no reply is lost")
			s.Node.DelayReplies("", "", 0)
			mongotest.Eventually(t, patience, func() bool { return r.look(func() bool { return r.losses > 0 }) }, "the restore is not detected")
			r.waitForFreshness(1)
		})
	}
}

// A server that was stopped for longer than a heartbeat's deadline finds several
// heartbeats in its sockets, and executes them in any order.
func TestAHeartbeatThatIsOvertakenKeepsTheHistory(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := oneHeartbeat(t, s)
		r.sendAndReceive()
		late := r.Heartbeater.tracker.send(time.Now())
		r.sendAndReceive()
		if _, err := r.Heartbeater.write(t.Context(), late); !errors.Is(err, errRewound) {
			t.Errorf("the overtaken one: %v", err) // no caller waits for this any more
		}
		r.sendAndReceive()
		r.stop()
		if r.losses != 0 || r.beats(resultRefused) != 0 {
			t.Errorf("%d losses, %v heartbeats refused", r.losses, r.beats(resultRefused))
		}
	})
}

func TestHeartbeatsWithoutAReplyKeepTheHistory(t *testing.T) {
	s := mongotest.StartDevmongo(t, devmongo.Config{})
	r := newRig(t, &s.Server, true, func(c *Config) {
		c.Heartbeater = newHeartbeater(t, c.Database, func(h *HeartbeaterConfig) { h.MaxStale = 300 * time.Millisecond })
	})
	r.runOpen()
	r.waitForFreshness(1)
	s.Node.DelayReplies(r.appName, "update", time.Minute)
	r.waitForFreshness(3) // they are in the oplog, whether or not the replies arrive
	failed := r.beats(resultFailed)
	mongotest.Eventually(t, patience, func() bool { return r.beats(resultFailed) >= failed+3 }, "no reply is lost")
	s.Node.DelayReplies("", "", 0)
	acknowledged := r.beats(resultAcknowledged)
	mongotest.Eventually(t, patience, func() bool { return r.beats(resultAcknowledged) >= acknowledged+3 }, "no heartbeat was acknowledged")
	r.stop()
	if r.losses != 0 || r.beats(resultRefused) != 0 {
		t.Errorf("%d losses, %v heartbeats refused", r.losses, r.beats(resultRefused))
	}
}

func TestARolledBackHeartbeatKeepsTheHistory(t *testing.T) {
	s := mongotest.StartDevmongo(t, devmongo.Config{})
	r := newRig(t, &s.Server, true, func(c *Config) {
		c.Heartbeater = newHeartbeater(t, c.Database, func(h *HeartbeaterConfig) { h.MaxStale = 600 * time.Millisecond })
	})
	r.runOpen()
	r.waitForFreshness(2)
	s.Node.HoldMajority()
	failed := r.beats(resultFailed)
	mongotest.Eventually(t, patience, func() bool { return r.beats(resultFailed) >= failed+2 }, "no heartbeat waits for the majority")
	s.Node.Rollback()
	r.waitForFreshness(3)
	r.stop()
	if r.losses != 0 {
		t.Errorf("%d losses: %+v", r.losses, r.Status().LastLoss)
	}
}

// The tail's request takes an hour; the heartbeat ends it.
func TestALossByAHeartbeatIsDeclaredImmediately(t *testing.T) {
	s := mongotest.StartDevmongo(t, devmongo.Config{})
	core, logs := observer.New(zap.WarnLevel)
	r := newRig(t, &s.Server, true, func(c *Config) {
		c.Scope, c.MaxAwait, c.Watchdog, c.Logger = ScopeCollection, 250*time.Millisecond, 3*time.Hour, zap.New(core)
		c.Heartbeater = newHeartbeater(t, c.Database, func(h *HeartbeaterConfig) { h.Interval, h.MaxStale = time.Hour, 3*time.Hour })
	})
	r.runOpen()
	r.waitUntilFresh()
	if _, err := r.heartbeats().DeleteOne(t.Context(), bson.D{{Key: "_id", Value: r.id}}); err != nil {
		t.Fatal(err)
	}
	off := r.failpoint("off")
	r.waitForRequests(1, time.Hour)
	if _, err := r.Beat(t.Context()); !errors.Is(err, errRewound) {
		t.Errorf("the heartbeat: %v", err)
	}
	r.waitForLoss(reasonRewound)
	off()
	r.beatUntilFresh(1)
	r.stop()
	lines := logs.FilterMessageSnippet("lost its history").All()
	if len(lines) != 1 || !strings.Contains(lines[0].ContextMap()["error"].(string), "restored from a snapshot") {
		t.Errorf("logged: %v", logs.All())
	}
	if got := testutil.ToFloat64(r.Tail.metrics.losses.WithLabelValues(string(reasonRewound))); got != 1 || r.beats(resultRefused) != 1 {
		t.Errorf("counted %v losses, %v heartbeats refused", got, r.beats(resultRefused))
	}
}

func TestAPauseEndsWithTheHistory(t *testing.T) {
	tail := &Tail{config: Config{Heartbeater: &Heartbeater{}, Now: time.Now}, catchUp: &catchUp{}}
	m := &tail.config.Heartbeater.tracker
	m.receiveVerified(m.send(after(0)).nonce)
	n := m.send(after(1)).nonce
	done := make(chan bool)
	go func() { done <- tail.waitToRetry(t.Context(), time.Hour) }()
	if !m.noteRefused(n) {
		t.Fatal("the history is not lost")
	}
	if !<-done {
		t.Error("treated as the end of Run")
	}
	ended, cancel := context.WithCancel(t.Context())
	cancel()
	if tail.waitToRetry(ended, time.Hour) {
		t.Error("continues after the end of Run")
	}
}

func TestAPauseEndsWithAnOutage(t *testing.T) {
	c := newClock(t)
	tail := &Tail{config: Config{Heartbeater: &Heartbeater{}, Now: time.Now}, catchUp: c.catchUp}
	done := make(chan bool)
	go func() { done <- tail.waitToRetry(t.Context(), time.Hour) }()
	mongotest.Eventually(t, patience, func() bool {
		c.mutex.Lock()
		c.at = c.at.Add(time.Minute)
		c.mutex.Unlock()
		c.acknowledged(1)
		select {
		case goesOn := <-done:
			return goesOn
		default:
			return false
		}
	}, "the pause goes on")
}

func (m *heartbeatTracker) receiveVerified(n int64) { _, _, _ = m.receive(n, true) }

// If a node is restored before any heartbeat has arrived, there is nothing to compare
// the document with.
func TestAStreamIsNotResumedBeforeAHeartbeatArrived(t *testing.T) {
	eachScope(t, func(t *testing.T, r *rig, node *devmongo.Server) {
		snapshot := node.Snapshot()
		r.failpoint("alwaysOn", bson.E{Key: "failCommands", Value: bson.A{"update"}}, bson.E{Key: "errorCode", Value: 2})
		r.runOpen()
		mongotest.Eventually(t, patience, func() bool { return r.beats(resultFailed) > 0 }, "no heartbeat fails")
		node.Restore(snapshot) // this removes the failpoint, too
		mongotest.Eventually(t, patience, func() bool {
			_, _ = r.Beat(t.Context())
			return r.look(func() bool { return r.losses > 0 })
		}, "the history is treated as the same")
		r.waitForLoss(reasonUnverified)
		r.beatUntilFresh(1)
	})
}

// beatUntilFresh waits like waitForFreshness, and sends the heartbeats.
func (r *rig) beatUntilFresh(n int) {
	r.t.Helper()
	want := r.freshened() + n
	mongotest.Eventually(r.t, patience, func() bool { _, _ = r.Beat(r.t.Context()); return r.freshened() >= want }, "the freshness does not move")
}

// An attacker writes nonces that it has seen, and others, into the document.
func TestForgedNoncesDoNotMoveTheFreshness(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		r := oneHeartbeat(t, s)
		var own struct {
			N int64 `bson:"n"`
		}
		if err := r.heartbeats().FindOne(t.Context(), bson.D{{Key: "_id", Value: r.id}}).Decode(&own); err != nil {
			t.Fatal(err)
		}
		for n := range int64(100) { // those of a counter, among others
			r.writeNonce(r.id, n)
			r.writeNonce(r.id, own.N+n)
		}
		r.writeNonce(r.id, own.N) // and restores the document
		r.waitUntilDelivered("marker")
		if got := r.freshened(); got != 1 {
			t.Errorf("the freshness moved %d times, want once", got)
		}
		r.sendAndReceive()
		// Leaving another nonce causes a loss, and proves nothing either.
		r.writeNonce(r.id, 7)
		if _, err := r.Beat(t.Context()); !errors.Is(err, errRewound) {
			t.Errorf("the next heartbeat: %v", err)
		}
		r.waitForLoss(reasonRewound)
		r.waitForFreshness(1)
	})
}
