package fleet

import (
	"context"
	"errors"
	"slices"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo"

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
	now   clustertime.Time
	all   map[string]heartbeat
	away  error
	beats int
	// reads are the times after which the list was read.
	reads []clustertime.Time
}

// newWorld is for use within a synctest bubble; its poller runs until the test
// ends.
func newWorld(t *testing.T, change ...func(*Config)) *world {
	t.Helper()
	w := &world{t: t, now: 100, all: map[string]heartbeat{}}
	config := Config{
		Heartbeats: (&mongo.Client{}).Database("db").Collection("beats"), Namespace: "db.keys", Self: self,
		Pulse: w, Processed: func() clustertime.Time { return clustertime.Time(w.processed.Load()) },
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
	w.says(self, 0, 0)
	return w
}

// Beat makes the world a Pulse.
func (w *world) Beat(context.Context) (clustertime.Time, error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	if w.away != nil {
		return 0, w.away
	}
	w.beats++
	return w.now, nil
}

func (w *world) read(_ context.Context, after clustertime.Time) ([]heartbeat, error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.reads = append(w.reads, after)
	var all []heartbeat
	for _, h := range w.all {
		all = append(all, h)
	}
	return all, w.away
}

// says is a heartbeat of an instance, so long after began.
func (w *world) says(id string, processed clustertime.Time, at time.Duration) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.all[id] = heartbeat{maxStale: 15 * time.Second, Instance: Instance{ID: id, Revision: processed, LastSeen: began.Add(at)}}
}

func (w *world) leaves(id string) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	delete(w.all, id)
}

func (w *world) goesAway(err error) {
	w.mutex.Lock()
	defer w.mutex.Unlock()
	w.away = err
}

// processes is a heartbeat that came back to this instance.
func (w *world) processes(to clustertime.Time) {
	w.processed.Store(uint64(to))
	w.Moved()
}

// result of a wait in the background.
type result struct {
	Outcome
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

// waits checks that nothing has come of a wait yet.
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

func TestAWaitForItselfEndsWhenTheHeartbeatIsBack(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		done := w.wait(100, Self, time.Minute)
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

func TestAWaitForWhatIsThereAsksNobody(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.processes(100)
		r := <-w.wait(50, Self, time.Minute)
		r.must(t, true)
		if w.beats != 0 {
			t.Errorf("%d heartbeats", w.beats)
		}
	})
}

func TestAWaitForItselfBeatsAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.goesAway(errors.New("away"))
		done := w.wait(100, Self, time.Minute)
		time.Sleep(time.Second)
		w.waits(done)
		w.goesAway(nil)
		time.Sleep(3 * time.Second)
		w.waits(done)
		if w.beats < 3 || w.beats > 4 {
			t.Errorf("%d heartbeats in 3 s", w.beats)
		}
		w.processes(100)
		(<-done).must(t, true)
	})
}

func TestATimeThatIsUpIsNoError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		r := <-w.wait(100, Self, 5*time.Second)
		r.must(t, false, self)
		if r.Took != 5*time.Second {
			t.Errorf("took %v", r.Took)
		}
		w.goesAway(errors.New("away"))
		(<-w.wait(100, Self, 5*time.Second)).must(t, false, self)
		w.goesAway(nil)
		w.processes(100)
		w.says("other/1", 99, 0)
		(<-w.wait(100, All, 5*time.Second)).must(t, false, "other/1")
	})
}

func TestARevisionAheadIsTheCallersError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		for _, scope := range []Scope{Self, All} {
			if r := <-w.wait(101, scope, time.Minute); !errors.Is(r.err, ErrAhead) || r.Took != 0 {
				t.Errorf("scope %v: %+v", scope, r)
			}
		}
		if _, err := w.Instances(t.Context(), 101); !errors.Is(err, ErrAhead) {
			t.Errorf("instances: %v", err)
		}
	})
}

func TestTheFleetIsSyncedWhenItsLastInstanceIs(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.says("a/1", 100, 0)
		w.says("b/1", 99, 0)
		done := w.wait(100, All, time.Minute)
		w.waits(done)
		w.processes(100) // the list says zero of this one still
		w.waits(done)
		time.Sleep(2 * time.Second)
		w.says("b/1", 100, 2*time.Second)
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
		w.says("new/1", 0, 0)
		(<-w.wait(100, All, time.Second)).must(t, false, "new/1")
	})
}

func TestAnInstanceThatLeavesIsNotWaitedFor(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.processes(100)
		w.says("a/1", 99, 0)
		done := w.wait(100, All, time.Minute)
		w.waits(done)
		w.leaves("a/1")
		(<-done).must(t, true)
	})
}

func TestADeadInstanceCountsForMaxStaleAndTheMargin(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.processes(100)
		w.says("dead/1", 99, 0)
		w.says(self, 0, 20*time.Second)
		(<-w.wait(100, All, time.Second)).must(t, false, "dead/1")
		w.says(self, 0, 20*time.Second+time.Millisecond)
		r := <-w.wait(100, All, time.Second)
		r.must(t, true)
		if len(r.Instances) != 1 {
			t.Errorf("instances are %+v", r.Instances)
		}
	})
}

func TestWithoutItsOwnHeartbeatNobodyIsJudged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.processes(100)
		w.leaves(self)
		if r := <-w.wait(100, All, time.Second); !errors.Is(r.err, ErrUnavailable) {
			t.Errorf("got %+v", r)
		}
		done := w.wait(100, All, time.Minute)
		w.waits(done)
		w.says(self, 0, 0)
		(<-done).must(t, true)
	})
}

func TestADatabaseThatIsAwayIsAnErrorForTheFleet(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.processes(100)
		away := errors.New("away")
		w.goesAway(away)
		if r := <-w.wait(100, All, time.Second); !errors.Is(r.err, ErrUnavailable) || !errors.Is(r.err, away) {
			t.Errorf("got %+v", r)
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Second)
		defer cancel()
		if _, err := w.Instances(ctx, 0); !errors.Is(err, ErrUnavailable) {
			t.Errorf("instances: %v", err)
		}
		// One that was there before is known, and what is missing can be said.
		w.goesAway(nil)
		w.says("a/1", 99, 0)
		done := w.wait(100, All, 5*time.Second)
		w.waits(done)
		w.goesAway(away)
		(<-done).must(t, false, "a/1")
	})
}

func TestALookThatBeganBeforeTheCallIsNotItsOwn(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.processes(100)
		if _, err := w.Instances(t.Context(), 0); err != nil {
			t.Fatal(err)
		}
		w.says("a/1", 99, 0)
		instances, err := w.Instances(t.Context(), 0)
		if err != nil || len(instances) != 2 {
			t.Errorf("%+v, %v", instances, err)
		}
	})
}

func TestWaitsShareTheirLooks(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.processes(100)
		w.says("a/1", 99, 0)
		const waits = 1000
		done := make([]<-chan result, waits)
		for i := range done {
			done[i] = w.wait(100, All, 10*time.Second)
		}
		time.Sleep(9 * time.Second)
		w.says("a/1", 100, 0)
		for _, d := range done {
			(<-d).must(t, true)
		}
		if n := len(w.reads); n > 40 {
			t.Errorf("the list was read %d times for %d waits", n, waits)
		}
		looks := len(w.reads)
		time.Sleep(time.Hour)
		if n := len(w.reads); n > looks+1 {
			t.Errorf("%d reads of the list although nobody waits", n-looks)
		}
	})
}

func TestTooManyWaitsAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t, func(c *Config) { c.MaxWaits = 2 })
		first, second := w.wait(100, Self, time.Minute), w.wait(100, All, time.Minute)
		w.waits(first)
		if r := <-w.wait(100, Self, time.Minute); !errors.Is(r.err, ErrBusy) {
			t.Errorf("got %+v", r)
		}
		w.processes(100)
		(<-first).must(t, true)
		(<-second).must(t, true)
		(<-w.wait(100, All, time.Minute)).must(t, true)
	})
}

func TestAShutdownEndsWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		w.says("a/1", 0, 0)
		own, all := w.wait(100, Self, time.Minute), w.wait(100, All, time.Minute)
		time.Sleep(time.Second)
		w.waits(own)
		w.Close()
		r := <-own
		r.must(t, false, self)
		if r.Took != time.Second {
			t.Errorf("took %v", r.Took)
		}
		(<-all).must(t, false, "a/1", self)
		(<-w.wait(100, Self, time.Minute)).must(t, false, self)
	})
}

func TestACallerWhoGoesAwayIsAnError(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld(t)
		ctx, cancel := context.WithCancel(context.Background())
		done := make(chan error, 1)
		go func() { _, err := w.Wait(ctx, 100, Self); done <- err }()
		synctest.Wait()
		cancel()
		if err := <-done; !errors.Is(err, context.Canceled) {
			t.Errorf("got %v", err)
		}
	})
}

func TestConfigNamesEveryMistake(t *testing.T) {
	_, err := New(Config{MaxWaits: -1})
	var joined interface{ Unwrap() []error }
	if !errors.As(err, &joined) || len(joined.Unwrap()) != 4 {
		t.Errorf("want four mistakes, got: %v", err)
	}
}
