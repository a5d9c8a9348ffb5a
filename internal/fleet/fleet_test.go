package fleet

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/clustertime"
)

// self is the id of the instance under test.
const self = "self/1"

// began is when the database's clock starts.
var began = time.Date(2026, 11, 23, 20, 0, 0, 0, time.UTC)

// world is a database with heartbeats, and what this instance has processed.
type world struct {
	*Fleet
	t         *testing.T
	processed atomic.Uint64

	mutex sync.Mutex
	// now is the cluster time of the next heartbeat's acknowledgement.
	now     clustertime.Time
	all     map[string]heartbeat
	listErr error
	beats   int
	// nonce is the nonce of the last heartbeat of any instance.
	nonce int
	// reads are the times after which the list was read, and glances how often
	// it was read in brief.
	reads   []clustertime.Time
	glances int
}

// newWorld is for a synctest bubble; its poller runs until the test ends.
func newWorld(t *testing.T, change ...func(*Config)) *world {
	t.Helper()
	w := &world{t: t, now: 100, all: map[string]heartbeat{}}
	config := Config{
		Heartbeats: (&mongo.Client{}).Database("db").Collection("beats"), Namespace: "db.keys", Self: self,
		Heartbeater: w, Fresh: func() (time.Time, clustertime.Time) { return time.Now(), clustertime.Time(w.processed.Load()) },
	}
	for _, f := range change {
		f(&config)
	}
	f, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	f.read = w.read
	w.Fleet = f
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
	w.addHeartbeat(self, 0, 0)
	return w
}

// Beat makes the world a Heartbeater.
func (w *world) Beat(context.Context) (clustertime.Time, error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.listErr != nil {
		return 0, w.listErr
	}
	w.beats++
	return w.now, nil
}

func (w *world) read(_ context.Context, after clustertime.Time, brief bool) ([]heartbeat, error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if brief {
		w.glances++
	} else {
		w.reads = append(w.reads, after)
	}
	var all []heartbeat
	for _, h := range w.all {
		all = append(all, h)
	}
	return all, w.listErr
}

// readCounts returns how often the list was read, whole and in brief.
func (w *world) readCounts() (whole, brief int) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	return len(w.reads), w.glances
}

// addHeartbeat writes a heartbeat of an instance, at this time after began by
// the clock of the primary.
func (w *world) addHeartbeat(id string, processed clustertime.Time, at time.Duration) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.nonce++
	w.all[id] = heartbeat{
		maxStale: 15 * time.Second, key: id, version: fmt.Sprint(w.nonce),
		Instance: Instance{ID: id, Revision: processed, LastSeen: began.Add(at)},
	}
}

func (w *world) leaves(id string) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	delete(w.all, id)
}

func (w *world) setListErr(err error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.listErr = err
}

// processes is the round trip of a heartbeat of this instance.
func (w *world) processes(to clustertime.Time) {
	w.processed.Store(uint64(to))
	w.NotifyProgress()
}

// result is the result of a wait in the background.
type result struct {
	SyncResult
	err error
}

func (w *world) wait(revision clustertime.Time, scope Scope, limit time.Duration) <-chan result {
	done := make(chan result, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), limit)
		defer cancel()
		outcome, err := w.Wait(ctx, revision, scope)
		done <- result{outcome, err}
	}()
	return done
}

// waits checks that a wait has not ended yet.
func (w *world) waits(done <-chan result) {
	w.t.Helper()
	synctest.Wait()
	select {
	case r := <-done:
		w.t.Fatalf("the wait has ended: %+v", r)
	default:
	}
}

func (r result) must(t *testing.T, synced bool, missing ...string) {
	t.Helper()
	if r.err != nil || r.Synced != synced || !slices.Equal(r.Missing, missing) {
		t.Fatalf("got %+v, want synced %v and %q missing", r, synced, missing)
	}
}

func TestAWaitForThisInstanceEndsWithTheRoundTrip(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		done := w.wait(100, ScopeInstance, time.Minute)
		w.waits(done)
		w.processes(99)
		w.waits(done)
		w.processes(100)
		r := <-done
		r.must(t, true)
		if r.Took != 0 || w.beats != 1 || len(w.reads) != 0 {
			t.Errorf("took %v, %d heartbeats, %d reads of the list", r.Took, w.beats, len(w.reads))
		}
		if len(r.Instances) != 1 || r.Instances[0].ID != self || r.Instances[0].Revision != 100 {
			t.Errorf("instances are %+v", r.Instances)
		}
	})
}

func TestAWaitForAProcessedRevisionReadsNothing(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.processes(100)
		r := <-w.wait(50, ScopeInstance, time.Minute)
		r.must(t, true)
		if w.beats != 0 {
			t.Errorf("%d heartbeats", w.beats)
		}
	})
}

func TestAWaitForThisInstanceSendsAnotherHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.setListErr(errors.New("unreachable"))
		done := w.wait(100, ScopeInstance, time.Minute)
		time.Sleep(time.Second)
		w.waits(done)
		w.setListErr(nil)
		time.Sleep(3 * time.Second)
		w.waits(done)
		if w.beats < 3 || w.beats > 4 {
			t.Errorf("%d heartbeats in 3 s", w.beats)
		}
		w.processes(100)
		(<-done).must(t, true)
	})
}

func TestADeadlineIsNotAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r := <-w.wait(100, ScopeInstance, 5*time.Second)
		r.must(t, false, self)
		if r.Took != 5*time.Second {
			t.Errorf("took %v", r.Took)
		}
		w.setListErr(errors.New("unreachable"))
		(<-w.wait(100, ScopeInstance, 5*time.Second)).must(t, false, self)
		w.setListErr(nil)
		w.processes(100)
		w.addHeartbeat("other/1", 99, 0)
		(<-w.wait(100, ScopeFleet, 5*time.Second)).must(t, false, "other/1")
	})
}

func TestARevisionAheadIsTheCallersError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, scope := range []Scope{ScopeInstance, ScopeFleet} {
			if r := <-w.wait(101, scope, time.Minute); !errors.Is(r.err, clustertime.ErrRevisionAhead) || r.Took != 0 {
				t.Errorf("scope %v: %+v", scope, r)
			}
		}
		if _, err := w.Instances(t.Context(), 101); !errors.Is(err, clustertime.ErrRevisionAhead) {
			t.Errorf("instances: %v", err)
		}
	})
}

func TestTheFleetIsSyncedWhenItsLastInstanceIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addHeartbeat("a/1", 100, 0)
		w.addHeartbeat("b/1", 99, 0)
		done := w.wait(100, ScopeFleet, time.Minute)
		w.waits(done)
		w.processes(100) // the list still has zero for this instance
		w.waits(done)
		time.Sleep(2 * time.Second)
		w.addHeartbeat("b/1", 100, 2*time.Second)
		r := <-done
		r.must(t, true)
		if len(r.Instances) != 3 || r.Instances[0].ID != "a/1" || r.Instances[2].Revision != 100 {
			t.Errorf("instances are %+v", r.Instances)
		}
		if r.Took < 2*time.Second || r.Took > 2500*time.Millisecond {
			t.Errorf("took %v, and b was there after 2 s", r.Took)
		}
		for _, after := range w.reads {
			if after != 100 {
				t.Errorf("the list was read after %v, not after our own heartbeat", after)
			}
		}
	})
}

func TestAnInstanceWithoutARevisionIsWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.processes(100)
		w.addHeartbeat("new/1", 0, 0)
		(<-w.wait(100, ScopeFleet, time.Second)).must(t, false, "new/1")
	})
}

func TestAnInstanceThatLeavesIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.processes(100)
		w.addHeartbeat("a/1", 99, 0)
		done := w.wait(100, ScopeFleet, time.Minute)
		w.waits(done)
		w.leaves("a/1")
		(<-done).must(t, true)
	})
}

func TestADeadInstanceCountsForMaxStaleAndTheMargin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.processes(100)
		w.addHeartbeat("dead/1", 99, 0)
		(<-w.wait(100, ScopeFleet, time.Second)).must(t, false, "dead/1")
		time.Sleep(15*time.Second + Margin - 2*time.Second)
		// First seen at 0: at 20 s it still counts.
		(<-w.wait(100, ScopeFleet, time.Second)).must(t, false, "dead/1")
		time.Sleep(time.Millisecond)
		r := <-w.wait(100, ScopeFleet, time.Second)
		r.must(t, true)
		if len(r.Instances) != 1 || r.Took != 0 {
			t.Errorf("instances are %+v after %v", r.Instances, r.Took)
		}
	})
}

// TestClocksOfPrimariesDropNoInstance: an instance whose heartbeats are dated
// an hour before those of this instance is as alive as this one.
func TestClocksOfPrimariesDropNoInstance(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.processes(100)
		w.addHeartbeat("slow/1", 99, 0)
		w.addHeartbeat(self, 0, time.Hour)
		(<-w.wait(100, ScopeFleet, 5*time.Second)).must(t, false, "slow/1")
		for i := range 10 {
			w.addHeartbeat("slow/1", 99, -time.Duration(i)*time.Second)
			time.Sleep(4 * time.Second)
		}
		(<-w.wait(100, ScopeFleet, 5*time.Second)).must(t, false, "slow/1")
		// The same time and the same revision again, but another heartbeat.
		time.Sleep(14 * time.Second)
		w.addHeartbeat("slow/1", 99, 0)
		time.Sleep(14 * time.Second)
		w.addHeartbeat("slow/1", 99, 0)
		(<-w.wait(100, ScopeFleet, 5*time.Second)).must(t, false, "slow/1")
	})
}

// TestADeadInstanceIsKnownBeforeTheFirstWait: the first caller does not have to
// wait for that.
func TestADeadInstanceIsKnownBeforeTheFirstWait(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.processes(100)
		time.Sleep(time.Hour)
		w.addHeartbeat("dead/1", 99, 0)
		time.Sleep(15*time.Second + Margin + DefaultPollInterval + DefaultPollInterval/10 + time.Millisecond)
		r := <-w.wait(100, ScopeFleet, 5*time.Second)
		r.must(t, true)
		if r.Took != 0 {
			t.Errorf("it took %v", r.Took)
		}
		// An instance that was off the list meanwhile counts as a new one.
		w.leaves("dead/1")
		time.Sleep(2 * DefaultPollInterval)
		w.addHeartbeat("dead/1", 99, 0)
		(<-w.wait(100, ScopeFleet, 5*time.Second)).must(t, false, "dead/1")
	})
}

// TestNoInstanceIsDroppedWithoutAFreshness: the heartbeats of this instance do
// not been received, so it does not know from when on the list is complete.
func TestNoInstanceIsDroppedWithoutAFreshness(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var asOf atomic.Pointer[time.Time]
		now := time.Now()
		asOf.Store(&now)
		w := newWorld(t, func(c *Config) {
			c.Fresh = func() (time.Time, clustertime.Time) { return *asOf.Load(), 100 }
		})
		w.addHeartbeat("silent/1", 99, 0)
		time.Sleep(time.Hour)
		(<-w.wait(100, ScopeFleet, 5*time.Second)).must(t, false, "silent/1")
		later := time.Now()
		asOf.Store(&later)
		(<-w.wait(100, ScopeFleet, 5*time.Second)).must(t, true)
	})
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t) // nothing has been processed: the time has no meaning
		w.addHeartbeat("silent/1", 100, 0)
		time.Sleep(time.Hour)
		(<-w.wait(100, ScopeFleet, 5*time.Second)).must(t, false, self)
		if all, err := w.Instances(t.Context(), 0); err != nil || len(all) != 2 {
			t.Errorf("instances are %+v, %v", all, err)
		}
	})
}

func TestAListThatCannotBeReadIsLoggedOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		core, logs := observer.New(zap.InfoLevel)
		w := newWorld(t, func(c *Config) { c.Logger, c.Registerer = zap.New(core), prometheus.NewRegistry() })
		w.setListErr(errors.New("unreachable"))
		time.Sleep(59 * time.Second)
		w.setListErr(nil)
		time.Sleep(DefaultPollInterval * 2)
		var lines []string
		for _, l := range logs.All() {
			lines = append(lines, l.Level.String()+" "+l.Message)
		}
		if len(lines) != 2 || !strings.HasPrefix(lines[0], "warn the list of instances cannot be read") || !strings.HasPrefix(lines[1], "info the list") {
			t.Errorf("logged %q", lines)
		}
		if n := testutil.ToFloat64(w.Fleet.reads.failed); n < 9 || n > 14 {
			t.Errorf("%v failed reads in 59 s", n)
		}
	})
}

func TestWithoutItsOwnHeartbeatTheListIsNotUsed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.processes(100)
		w.leaves(self)
		if r := <-w.wait(100, ScopeFleet, time.Second); !errors.Is(r.err, ErrUnavailable) {
			t.Errorf("got %+v", r)
		}
		done := w.wait(100, ScopeFleet, time.Minute)
		w.waits(done)
		w.addHeartbeat(self, 0, 0)
		(<-done).must(t, true)
	})
}

func TestAnUnreachableDatabaseIsAnErrorForTheFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.processes(100)
		unreachable := errors.New("unreachable")
		w.setListErr(unreachable)
		if r := <-w.wait(100, ScopeFleet, time.Second); !errors.Is(r.err, ErrUnavailable) || !errors.Is(r.err, unreachable) {
			t.Errorf("got %+v", r)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := w.Instances(ctx, 0); !errors.Is(err, ErrUnavailable) {
			t.Errorf("instances: %v", err)
		}
		// An instance that was there before is known, so the result can name it
		// as missing.
		w.setListErr(nil)
		w.addHeartbeat("a/1", 99, 0)
		done := w.wait(100, ScopeFleet, 5*time.Second)
		w.waits(done)
		w.setListErr(unreachable)
		(<-done).must(t, false, "a/1")
	})
}

func TestAReadThatBeganBeforeTheCallDoesNotCount(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.processes(100)
		if _, err := w.Instances(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		w.addHeartbeat("a/1", 99, 0)
		instances, err := w.Instances(t.Context(), 0)
		if err != nil || len(instances) != 2 {
			t.Errorf("%+v, %v", instances, err)
		}
	})
}

func TestWaitsShareTheirReads(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.processes(100)
		w.addHeartbeat("a/1", 99, 0)
		const waits = 1000
		done := make([]<-chan result, waits)
		for i := range done {
			done[i] = w.wait(100, ScopeFleet, 10*time.Second)
		}
		time.Sleep(9 * time.Second)
		w.addHeartbeat("a/1", 100, 0)
		for _, d := range done {
			(<-d).must(t, true)
		}
		reads, _ := w.readCounts()
		if reads > 40 {
			t.Errorf("the list was read %d times for %d waits", reads, waits)
		}
		time.Sleep(time.Hour)
		whole, brief := w.readCounts()
		if whole > reads+1 {
			t.Errorf("%d reads of the list although no caller waits", whole-reads)
		}
		if n := time.Duration(brief); n < time.Hour/DefaultPollInterval*9/11 || n > time.Hour/DefaultPollInterval*10/9+2 {
			t.Errorf("%d reads in brief in an hour", n)
		}
	})
}

// TestALargeFleetReadsTheListLessOften: all instances together read as many
// documents a second for each instance as in a small fleet.
func TestALargeFleetReadsTheListLessOften(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for i := range 1000 {
			w.addHeartbeat(fmt.Sprint("i/", i), 100, 0)
		}
		time.Sleep(time.Hour)
		if _, n := w.readCounts(); n < 100 || n > 140 {
			t.Errorf("%d reads of 1000 documents in an hour", n)
		}
	})
}

func TestTooManyWaitsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.MaxWaits = 2 })
		first, second := w.wait(100, ScopeInstance, time.Minute), w.wait(100, ScopeFleet, time.Minute)
		w.waits(first)
		if r := <-w.wait(100, ScopeInstance, time.Minute); !errors.Is(r.err, ErrBusy) {
			t.Errorf("got %+v", r)
		}
		w.processes(100)
		(<-first).must(t, true)
		(<-second).must(t, true)
		(<-w.wait(100, ScopeFleet, time.Minute)).must(t, true)
	})
}

func TestAShutdownEndsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.addHeartbeat("a/1", 0, 0)
		own, all := w.wait(100, ScopeInstance, time.Minute), w.wait(100, ScopeFleet, time.Minute)
		time.Sleep(time.Second)
		w.waits(own)
		w.Close()
		r := <-own
		r.must(t, false, self)
		if r.Took != time.Second {
			t.Errorf("took %v", r.Took)
		}
		(<-all).must(t, false, "a/1", self)
		(<-w.wait(100, ScopeInstance, time.Minute)).must(t, false, self)
	})
}

func TestACallerThatLeavesGetsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { _, err := w.Wait(ctx, 100, ScopeInstance); done <- err }()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestConfigNamesEveryMistake(t *testing.T) {
	_, err := New(Config{MaxWaits: -1, PollInterval: -1})
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) || len(joined.Unwrap()) != 5 {
		t.Errorf("want five mistakes, got: %v", err)
	}
}
