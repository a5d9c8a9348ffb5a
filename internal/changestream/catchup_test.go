package changestream

import (
	"errors"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/mongotest"
)

// clock is a catchUp whose time the test moves. Its heartbeats are one second apart,
// and max_stale is 15 s.
type clock struct {
	*catchUp
	t    *testing.T
	at   time.Time
	scan time.Duration
	logs *observer.ObservedLogs
	lost Reason
	// again counts the requests that were cancelled because an outage was over.
	again int
}

func newClock(t *testing.T) *clock {
	t.Helper()
	core, logs := observer.New(zap.InfoLevel)
	c := &clock{t: t, at: time.Unix(1_000_000, 0), logs: logs}
	c.catchUp = &catchUp{
		minBound: DefaultMinCatchUp, maxBound: DefaultMaxCatchUp, lastScan: func() time.Duration { return c.scan },
		maxStale: 15 * time.Second, step: func() time.Duration { return 6 * time.Second },
		now: func() time.Time { return c.at }, logger: zap.New(core),
	}
	c.attemptStarted()
	c.opened()
	c.arm(func(why error) {
		if c.again++; errors.Is(why, errCatchUpTooSlow) {
			c.lost, c.again = reasonCatchUp, c.again-1
		}
	})
	c.acknowledged(0)
	return c
}

// beats acknowledges a heartbeat each second, and returns after how many seconds
// the stream was given up. Zero: it was not.
func (c *clock) beats(seconds int) int {
	for i := range seconds {
		c.at = c.at.Add(time.Second)
		c.acknowledged(clustertime.New(uint32(c.at.Unix()), 1))
		if c.lost != "" {
			return i + 1
		}
	}
	return 0
}

func (c *clock) holds(seconds int, what string) {
	c.t.Helper()
	if got := c.beats(seconds); got != 0 {
		c.t.Fatalf("%s: the history was given up after %d s", what, got)
	}
}

func (c *clock) givenUpAfter(seconds int, what string) {
	c.t.Helper()
	if got := c.beats(seconds + 2); got != seconds {
		c.t.Fatalf("%s: the history was given up after %d s, want %d", what, got, seconds)
	}
}

// toBehind moves to the second in which the clock starts.
func (c *clock) toBehind() {
	c.t.Helper()
	c.holds(16, "within max_stale")
}

func TestCatchingUpEndsAtItsBound(t *testing.T) {
	c := newClock(t)
	c.toBehind()
	c.givenUpAfter(6, "5 s, and the heartbeat after them")
	if err := c.exceededErr(); reasonOf(classify(err)) != reasonCatchUp || !errors.Is(err, errCatchUpTooSlow) {
		t.Errorf("got %v", err)
	}
}

func TestTheBoundFollowsTheLastScan(t *testing.T) {
	for scan, want := range map[time.Duration]time.Duration{
		0:                5 * time.Second,
		time.Second:      5 * time.Second,
		10 * time.Second: 20 * time.Second,
		time.Hour:        time.Minute,
	} {
		c := newClock(t)
		c.scan = scan
		if got := c.currentBound(); got != want {
			t.Errorf("a scan of %v: %v, want %v", scan, got, want)
		}
	}
}

func TestAnOutageOfTheDatabaseDoesNotCount(t *testing.T) {
	c := newClock(t)
	c.at = c.at.Add(10 * time.Minute)
	c.holds(1, "the first heartbeat after the outage")
	if c.again != 1 {
		t.Errorf("%d requests were cancelled after an outage", c.again)
	}
	c.givenUpAfter(6, "from the first heartbeat after the outage on")

	c = newClock(t)
	c.scan = 5 * time.Second // a bound of 10 s
	c.toBehind()
	c.holds(2, "before the outage")
	c.at = c.at.Add(10 * time.Minute)
	c.holds(2, "an outage while it catches up counts as one step")
	if c.again != 0 {
		t.Error("a request was cancelled that was sent after heartbeats had been acknowledged")
	}
	c.givenUpAfter(2, "after the outage")
}

func TestTheTimeWhileTheServerRefusesDoesNotCount(t *testing.T) {
	c := newClock(t)
	c.openRefused()
	c.holds(600, "the server refuses to open the stream")
	c.attemptStarted()
	c.holds(6, "the first that is not refused")
	c.openRefused()
	c.holds(600, "refused again")
	c.attemptStarted()
	if got := c.beats(3); got == 0 {
		t.Error("the time spent before is lost")
	}
}

func TestOnlyARecentFreshnessEndsCatchingUp(t *testing.T) {
	c := newClock(t)
	c.toBehind()
	c.holds(4, "within the bound")
	c.fresh(c.at.Add(-16 * time.Second))
	if c.beats(2) == 0 {
		t.Error("a heartbeat that arrived late was enough")
	}
	c = newClock(t)
	c.toBehind()
	c.holds(4, "within the bound")
	c.fresh(c.at.Add(-14 * time.Second))
	c.toBehindAgain(t)
}

// toBehindAgain checks that the clock starts at zero.
func (c *clock) toBehindAgain(t *testing.T) {
	t.Helper()
	if _, took := c.progress(); took != 0 {
		t.Errorf("still catching up after %v", took)
	}
	c.holds(2+5, "a new clock")
}

func TestTheBoundDoublesWhileLossesDoNotHelp(t *testing.T) {
	c := newClock(t)
	lose := func() {
		c.catchUp.lost(reasonCatchUp)
		c.opened()
		c.lost = ""
	}
	for _, want := range []int{5, 10, 20, 40, 80, 160, 320, 600, 600} {
		c.toBehind()
		c.givenUpAfter(want+1, "the next one in a row")
		lose()
	}
	c.fresh(c.at)
	c.toBehind()
	c.givenUpAfter(6, "after it was fresh")
}

func TestNoCatchingUpWithoutAHistory(t *testing.T) {
	c := newClock(t)
	c.catchUp.lost(reasonDrop)
	c.holds(600, "lost already")
	c.opened()
	c.toBehind()
	c.givenUpAfter(6, "the new stream is bounded, too, and a drop does not count")
}

// After a restore the times of the oplog are earlier.
func TestTheBacklogBelongsToOneHistory(t *testing.T) {
	c := newClock(t)
	c.scan = time.Minute
	c.acknowledged(clustertime.New(uint32(c.at.Unix())+3600, 1))
	c.catchUp.lost(reasonRewound)
	c.opened()
	c.positionReached(clustertime.New(uint32(c.at.Unix()), 1))
	c.toBehind()
	c.holds(4, "within the bound")
	if backlog, _ := c.progress(); backlog != 20*time.Second {
		t.Errorf("a backlog of %v", backlog)
	}
}

func TestProgressIsShown(t *testing.T) {
	c := newClock(t)
	c.scan = time.Minute
	c.positionReached(clustertime.New(uint32(c.at.Unix()), 1))
	if backlog, took := c.progress(); backlog != 0 || took != 0 {
		t.Errorf("a backlog of %v for %v in a healthy system", backlog, took)
	}
	c.toBehind()
	c.holds(12, "within the bound")
	if backlog, took := c.progress(); backlog != 28*time.Second || took != 12*time.Second {
		t.Errorf("a backlog of %v for %v", backlog, took)
	}
	c.fresh(c.at)
	var lines []string
	for _, line := range c.logs.All() {
		lines = append(lines, line.Message)
	}
	progress := "the change stream is still catching up"
	if !slices.Equal(lines, []string{
		"the change stream is behind and is catching up; until then every key is read from the database",
		progress, progress, "the change stream has caught up",
	}) {
		t.Errorf("%q", lines)
	}
}

func TestARequestThatBeginsTooLateIsCancelledImmediately(t *testing.T) {
	c := newClock(t)
	disarm := c.arm(func(error) { t.Error("called after it was disarmed") })
	disarm()
	c.toBehind()
	c.beats(10)
	given := false
	c.arm(func(error) { given = true })
	if !given {
		t.Error("the request was not cancelled")
	}
}

// inBothScopes runs f with a rig that is stale after 600 ms and may catch up for
// half a second.
func inBothScopes(t *testing.T, f func(t *testing.T, r *rig, node *devmongo.Server, logs *observer.ObservedLogs)) {
	t.Helper()
	for _, scope := range []Scope{ScopeDatabase, ScopeCollection} {
		t.Run(string(scope), func(t *testing.T) {
			s := mongotest.StartDevmongo(t, devmongo.Config{})
			core, logs := observer.New(zap.InfoLevel)
			r := newRig(t, &s.Server, true, func(c *Config) {
				c.Scope, c.MaxAwait, c.Logger = scope, 20*time.Millisecond, zap.New(core)
				c.MinCatchUp = 500 * time.Millisecond
				c.Heartbeater = newHeartbeater(t, c.Database, func(h *HeartbeaterConfig) { h.MaxStale = 600 * time.Millisecond })
			})
			f(t, r, s.Node, logs)
		})
	}
}

// interrupt breaks the stream once. The next attempt to resume it never ends.
func (r *rig) interrupt(node *devmongo.Server) {
	r.t.Helper()
	node.DelayResumes(r.appName, time.Hour)
	r.failpoint(bson.D{{Key: "times", Value: 1}}, bson.E{Key: "failCommands", Value: bson.A{"getMore"}}, bson.E{Key: "errorCode", Value: 11600})
}

// waitUntilVeryOld waits until the cache is much older than the sum of max_stale and
// the bound.
func (r *rig) waitUntilVeryOld() {
	r.t.Helper()
	mongotest.Eventually(r.t, patience, func() bool {
		return r.look(func() bool { return time.Since(r.fresh[len(r.fresh)-1].AsOf) > 2*time.Second })
	}, "freshness still moves")
}

func (r *rig) lossOf(reason Reason) func() bool {
	return func() bool { last := r.Status().LastLoss; return last != nil && last.Reason == reason }
}

func TestAResumeThatBlocksIsALossWithinTheBound(t *testing.T) {
	inBothScopes(t, func(t *testing.T, r *rig, node *devmongo.Server, logs *observer.ObservedLogs) {
		r.runOpen()
		r.waitForFreshness(1)
		r.interrupt(node)
		mongotest.Eventually(t, patience, r.lossOf(reasonCatchUp), "it is retried forever")
		lostAt := r.Status().LastLoss.At
		r.look(func() bool {
			i := slices.IndexFunc(r.fresh, func(f keycache.Freshness) bool { return f.AsOf.After(lostAt) })
			if i < 0 {
				i = len(r.fresh)
			}
			if took := lostAt.Sub(r.fresh[i-1].AsOf); took < 1100*time.Millisecond {
				t.Errorf("given up when the cache was %v old, before max_stale and the bound", took)
			}
			return true
		})
		// The new stream begins at the present, and is fresh although resumes still block.
		mongotest.Eventually(t, patience, func() bool {
			return r.look(func() bool { return len(r.fresh) > 0 && r.fresh[len(r.fresh)-1].AsOf.After(r.Status().LastLoss.At) })
		}, "the new stream is not fresh")
		if n := logs.FilterMessageSnippet("is behind and is catching up").Len(); n != 1 {
			t.Errorf("%d lines report that it is catching up", n)
		}
		if r.failures(phaseResume, string(reasonCatchUp)) != 1 || testutil.ToFloat64(r.Tail.metrics.losses.WithLabelValues(string(reasonCatchUp))) != 1 {
			t.Error("it is not counted exactly once")
		}
	})
}

func TestASlowResumeIsNoLossWhileTheDatabaseIsUnreachable(t *testing.T) {
	inBothScopes(t, func(t *testing.T, r *rig, node *devmongo.Server, _ *observer.ObservedLogs) {
		r.runOpen()
		r.waitForFreshness(1)
		node.HoldMajority()
		r.interrupt(node)
		r.waitUntilVeryOld()
		node.DelayResumes("", 0)
		node.ReleaseMajority()
		r.waitForFreshness(r.freshened() + 2)
		if r.look(func() bool { return r.losses != 0 }) {
			t.Errorf("lost: %+v", r.Status().LastLoss)
		}
	})
}

// The connection of the resume in progress is dead, the others are not.
func TestARequestThatAnOutageLeftHangingIsNoLoss(t *testing.T) {
	inBothScopes(t, func(t *testing.T, r *rig, node *devmongo.Server, _ *observer.ObservedLogs) {
		r.runOpen()
		r.waitForFreshness(1)
		r.failpoint(bson.D{{Key: "times", Value: 1}}, bson.E{Key: "failCommands", Value: bson.A{"aggregate"}},
			bson.E{Key: "blockConnection", Value: true}, bson.E{Key: "blockTimeMS", Value: time.Hour.Milliseconds()})
		node.HoldMajority()
		node.StepDown(50 * time.Millisecond)
		r.waitUntilVeryOld()
		node.ReleaseMajority()
		r.waitForFreshness(2)
		r.stop()
		if r.losses != 0 {
			t.Errorf("lost: %+v", r.Status().LastLoss)
		}
		if n := r.failures(phaseGetMore, failedOutageOver) + r.failures(phaseResume, failedOutageOver); n != 1 {
			t.Errorf("%v requests were cancelled", n)
		}
	})
}

// Heartbeats are acknowledged and never arrive, while changes do. This may happen on
// a sharded cluster.
func TestHeartbeatsThatNeverArriveCauseLossesAtIntervals(t *testing.T) {
	s := mongotest.StartDevmongo(t, devmongo.Config{})
	elsewhere := s.Client(t).Database(s.Database(t))
	r := newRig(t, &s.Server, true, func(c *Config) {
		c.MaxAwait, c.MinCatchUp = 20*time.Millisecond, 100*time.Millisecond
		c.Heartbeater = newHeartbeater(t, c.Database, func(h *HeartbeaterConfig) { h.MaxStale = 300 * time.Millisecond })
	})
	r.Heartbeater.beats = elsewhere.Collection(HeartbeatCollection)
	r.runOpen()
	var at []time.Time
	for n := range 3 {
		mongotest.Eventually(t, patience, func() bool {
			r.insert("")
			_, _ = r.keys.DeleteMany(t.Context(), bson.D{})
			return r.Status().Losses > uint64(n)
		}, "it is kept forever")
		at = append(at, r.Status().LastLoss.At)
	}
	if !r.lossOf(reasonCatchUp)() {
		t.Errorf("lost: %+v", r.Status().LastLoss)
	}
	// max_stale, and bounds of 200 and 400 ms.
	if first, second := at[1].Sub(at[0]), at[2].Sub(at[1]); first < 500*time.Millisecond || second < 700*time.Millisecond {
		t.Errorf("losses %v and %v apart: the bound does not double", first, second)
	}
}
