package preload

import (
	"fmt"
	"slices"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keycache"
)

// update applies updates of the first n keys, each this many times, as their events show them.
func (r *rig) update(n, times int) {
	r.tail.Lock()
	defer r.tail.Unlock()
	for range times {
		for i := range n {
			r.at++
			r.cache.Apply(&keycache.Change{ID: apikey.DocID(fmt.Sprint("key-", i)), Time: r.at, Refresh: true})
		}
	}
}

// drop updates the first n keys until many refreshes have been dropped.
func (r *rig) drop(n int) {
	r.update(n, refreshQueue/n+100)
	if s := r.cache.Stats(); s.RefreshesDropped == 0 || s.RefreshesWaiting != refreshQueue {
		r.t.Fatalf("%d refreshes wait and %d were dropped: the test shows nothing", s.RefreshesWaiting, s.RefreshesDropped)
	}
}

// drain empties the queue of refreshes. It reads no key.
func (r *rig) drain() {
	for len(r.cache.Refreshes()) > 0 {
		<-r.cache.Refreshes()
	}
}

// needARead is how many keys of the store need one.
func (r *rig) needARead() int { return len(r.store.documents) - r.mustBeRight() }

func requested(r *rig, why reason) float64 {
	return counter(r.metrics.requests.WithLabelValues(string(why)))
}

// After a bulk change of more keys than can be refreshed, no key needs a read soon.
func TestDroppedRefreshesAreFollowedByAScan(t *testing.T) {
	paced(t, func(r *rig) {
		r.drop(10)
		time.Sleep(time.Minute)
		if n := r.scanned(); n != 1 || r.needARead() != 10 {
			r.t.Errorf("%d scans while refreshes wait, and %d keys need a read", n, r.needARead())
		}
		r.drain()
		time.Sleep(3 * time.Second)
		if n := r.scanned(); n != 2 || r.needARead() != 0 || requested(r, reasonDropped) != 1 {
			r.t.Errorf("%d scans, %d keys need a read", n, r.needARead())
		}
		time.Sleep(10 * time.Minute)
		if n := r.scanned(); n != 2 {
			r.t.Errorf("%d scans after a single bulk change, want 2 with the first", n)
		}
	})
}

// While refreshes are dropped, a scan would be outdated when it ends.
func TestABulkChangeEndsBeforeItsScan(t *testing.T) {
	paced(t, func(r *rig) {
		for range 240 {
			r.drop(10)
			r.drain()
			time.Sleep(quietTime / 2)
		}
		if n := r.scanned(); n != 1 {
			r.t.Errorf("%d scans during a bulk change, want only the first", n)
		}
		time.Sleep(2*measureInterval + 2*pollInterval)
		if n := r.scanned(); n != 2 || r.needARead() != 0 {
			r.t.Errorf("%d scans after it, %d keys need a read", n, r.needARead())
		}
	})
}

// Few keys that need a read do not cause a scan of all others, whatever was dropped.
func TestDroppedRefreshesOfFewKeysCauseNoScan(t *testing.T) {
	paced(t, func(r *rig) {
		r.store.fill("more-", 1000, 0)
		r.reopenStream()
		time.Sleep(time.Second)
		r.drop(10)
		r.drain()
		time.Sleep(10 * time.Minute)
		// A few others share a slot with one of the ten.
		if n := r.scanned(); n != 2 || r.needARead() < 10 || r.needARead() > 20 {
			r.t.Errorf("%d scans, want 2; %d keys need a read, want 10 to 20", n, r.needARead())
		}
	})
}

// What the validator reads in time needs no scan.
func TestDroppedRefreshesOfKeysThatAreReadCauseNoScan(t *testing.T) {
	paced(t, func(r *rig) {
		r.drop(10)
		for _, d := range r.store.documents {
			r.cache.Store(r.cache.Begin(), d.Hash, keycache.Found(d.ID, &d.Record))
		}
		r.drain()
		time.Sleep(10 * time.Minute)
		if n := r.scanned(); n != 1 {
			r.t.Errorf("%d scans, want 1", n)
		}
	})
}

// A collection that is changed in bulk all the time is scanned for a tenth of the time at most.
func TestScansForDroppedRefreshesHaveADutyCycle(t *testing.T) {
	const takes, duration = 20 * time.Second, time.Hour
	paced(t, func(r *rig) {
		r.store.mutex.Lock()
		r.store.takes = takes
		r.store.mutex.Unlock()
		r.reopenStream() // so that the duration of a scan is known
		time.Sleep(time.Minute)
		before := r.scanned()
		for end := time.Now().Add(duration); time.Now().Before(end); time.Sleep(10 * time.Second) {
			r.drop(10)
			r.drain()
		}
		n := r.scanned() - before
		if most := int(duration / takes / optionalShare); n > most || n < most/2 {
			r.t.Errorf("%d scans of %v in %v, want %d to %d", n, takes, duration, most/2, most)
		}
	})
}

// Entries of deleted keys need a read after a scan, too, and are no reason for another one.
func TestDeletedKeysAreNoReasonForScans(t *testing.T) {
	paced(t, func(r *rig) {
		r.store.fill("more-", 90, 0)
		r.reopenStream()
		time.Sleep(time.Second)
		r.store.mutex.Lock()
		for i := range 10 {
			delete(r.store.documents, apikey.HashOf(fmt.Sprint("key-", i)))
		}
		r.store.mutex.Unlock()
		for range 20 {
			r.drop(10)
			r.drain()
			time.Sleep(time.Minute)
		}
		if n := requested(r, reasonDropped); n != 1 {
			r.t.Errorf("%v scans were requested, want 1", n)
		}
	})
}

// With the share at 1, no share of keys is a reason for a scan.
func TestScansForDroppedRefreshesCanBeOff(t *testing.T) {
	paced(t, func(r *rig) {
		r.drop(10)
		r.drain()
		time.Sleep(10 * time.Minute)
		if n := r.scanned(); n != 1 {
			r.t.Errorf("%d scans, want 1", n)
		}
	}, func(c *Config) { c.OutdatedShare = 1 })
}

// A rebuild that begins amid a bulk change reads keys before they change, and no other follows for a minute.
func TestARebuildWaitsForTheEndOfABulkChange(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t, 4)
		p := newPlan(&r.Loader.config, r.logger, r.metrics, func() time.Duration { return time.Second })
		p.outgrown = true
		rebuild := causes()[slices.IndexFunc(causes(), func(c cause) bool { return c.why == reasonRebuild })]
		begins := func(dropped uint64, waiting int) bool {
			s := &situation{now: time.Now(), Stats: keycache.Stats{Entries: 1000, RefreshesDropped: dropped, RefreshesWaiting: waiting}}
			p.drops.look(s)
			return rebuild.requires(p, s)
		}
		for _, step := range []struct {
			after   time.Duration
			dropped uint64
			waiting int
			want    bool
		}{
			{0, 0, 0, true},
			{time.Second, 0, 1, true}, // a key now and then
			{time.Second, 7, 0, false},
			{quietTime - 1, 7, 0, false},
			{1, 7, 0, true},
			{time.Second, 7, 900, false},
			{quietTime, 7, 0, true},
		} {
			time.Sleep(step.after)
			if got := begins(step.dropped, step.waiting); got != step.want {
				t.Errorf("%+v: got %v", step, got)
			}
		}
		began := time.Now()
		for dropped := uint64(8); !begins(dropped, 0); dropped++ {
			if time.Since(began) > longestWait {
				t.Fatal("a rebuild waits for as long as keys change")
			}
			time.Sleep(quietTime / 2)
		}
		if time.Since(began) < longestWait {
			t.Errorf("it has waited %v for a bulk change that goes on", time.Since(began))
		}
	})
}
