package changestream

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
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

// TestChain plays many histories of a server that loses requests and replies, delays
// requests, ends cursors and is restored. It compares what the chain reports with what
// has happened.
func TestChain(t *testing.T) {
	all := play(20_000)
	if len(all.wrong) > 0 {
		t.Errorf("%d times wrong, first: %s", len(all.wrong), all.wrong[0])
	}
	t.Logf("%d restores that undid something known, %d losses, %d heartbeats accepted", all.restored, all.losses, all.honoured)
	if all.restored == 0 || all.losses == 0 || all.honoured == 0 {
		t.Error("the games are too few to show anything")
	}
}

// played is the outcome of games.
type played struct {
	restored, losses, honoured int
	wrong                      []string
}

func play(games uint64) *played {
	all := &played{}
	for seed := range games {
		g := &game{Rand: rand.New(rand.NewPCG(seed, 0)), seed: seed, played: all}
		g.open()
		for range 60 {
			g.step()
		}
	}
	return all
}

func (g *game) addViolation(what string) {
	g.wrong = append(g.wrong, fmt.Sprintf("seed %d: %s", g.seed, what))
}

// written is a heartbeat in the log of the game's server, with the server process that
// wrote it.
type written struct {
	nonce, anchor, seq int64
	process            int
}

type game struct {
	*rand.Rand
	*played
	seed uint64
	m    heartbeatTracker

	// log is the server's; its last entry is what the document holds. It begins
	// with another client's heartbeat.
	log       []written
	snapshots [][]written
	// late are the heartbeats that are delayed on their way to the server.
	late []heartbeatWrite
	// unread are the indexes of the entries that the stream has not delivered.
	unread      int
	firstCursor bool
	// known is the part of the log that is known to exist in this history: up to its
	// beginning, or to the newest heartbeat that was acknowledged or has arrived.
	known []written
	// process counts the restores.
	process int
	// undone: something that is known has been undone, and no loss was declared yet.
	// interrupted: the cursor has ended since the history began. verified: a
	// heartbeat has arrived in it.
	undone, interrupted, verified bool
}

func (g *game) open() {
	g.m.forget()
	g.unread, g.known = len(g.log), slices.Clone(g.log)
	g.firstCursor, g.undone, g.interrupted, g.verified = true, false, false, false
}

func (g *game) step() {
	switch p := g.IntN(100); {
	case p < 50:
		g.sendHeartbeat()
	case p < 82:
		g.deliver()
	case p < 85 && len(g.late) > 0: // in any order, and no caller waits for the reply
		i := g.IntN(len(g.late))
		g.write(g.late[i])
		g.late = slices.Delete(g.late, i, i+1)
	case p < 92: // the cursor ends, and the stream is resumed
		g.firstCursor, g.interrupted = false, true
	case p < 96:
		g.snapshots = append(g.snapshots, slices.Clone(g.log))
	case len(g.snapshots) > 0:
		g.restore(g.snapshots[g.IntN(len(g.snapshots))])
	}
}

func (g *game) sendHeartbeat() {
	b := g.m.send(time.Now())
	if p := g.IntN(8); p < 2 { // it does not reach the server, or not yet
		if p == 0 && b.after != nil {
			g.late = append(g.late, b)
		}
		return
	}
	accepted := g.write(b)
	if g.IntN(4) == 0 {
		return // the reply is lost
	}
	if accepted {
		g.m.acknowledge(b.nonce, 1, time.Now())
		g.known = slices.Clone(g.log)
		return
	}
	if g.m.noteRefused(b.nonce) {
		if !g.undone {
			g.addViolation("a loss although nothing was undone")
		}
		g.losses++
		g.open()
	}
}

// write is what the server does with a heartbeat.
func (g *game) write(b heartbeatWrite) (accepted bool) {
	accepted = b.after == nil
	if n := len(g.log); n > 0 && !accepted {
		last := g.log[n-1]
		accepted = last.seq < b.seq && (slices.Contains(b.after, last.nonce) || last.anchor == b.anchor)
	}
	if accepted {
		g.log = append(g.log, written{b.nonce, b.anchor, b.seq, g.process})
	}
	return accepted
}

func (g *game) deliver() {
	if g.unread >= len(g.log) {
		return
	}
	w := g.log[g.unread]
	g.unread++
	_, ok, err := g.m.receive(w.nonce, g.firstCursor)
	switch {
	case err != nil:
		if !g.interrupted || g.verified {
			g.addViolation("a loss although the history was verified, or its cursor is the first")
		}
		g.losses++
		g.open()
	case ok:
		// A heartbeat that was written before the restore still proves the same.
		if g.undone && w.process == g.process {
			g.addViolation("a heartbeat is honoured after a restore")
		}
		g.honoured++
		g.verified = true
		if g.unread > len(g.known) {
			g.known = slices.Clone(g.log[:g.unread])
		}
	}
}

// restore sets the log back. The stream is resumed where it was.
func (g *game) restore(snapshot []written) {
	keepsKnown := len(snapshot) >= len(g.known) && slices.Equal(snapshot[:len(g.known)], g.known)
	// Until a heartbeat has arrived, anything may have been read from the undone part.
	if g.undone = !keepsKnown || !g.verified; g.undone {
		g.restored++
	}
	g.process++
	g.log, g.late = slices.Clone(snapshot), nil // its connections are closed
	g.unread = min(g.unread, len(g.log))
	g.firstCursor, g.interrupted = false, true
}
