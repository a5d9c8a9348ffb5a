package preload

import (
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
)

// auditEvery is the audit interval where a test waits for an audit.
const auditEvery = 10 * time.Minute

// paced runs f on a simulated clock, with the default pauses. The first audit is due an interval after the
// first scan.
func paced(t *testing.T, f func(r *rig), change ...func(*Config)) {
	synctest.Test(t, func(t *testing.T) {
		change = append([]func(*Config){func(c *Config) {
			c.RebuildPause, c.RetryPause, c.Random = 0, 0, func() float64 { return 1 - jitter }
		}}, change...)
		r := newRig(t, 4, change...)
		r.beat = 20 * time.Millisecond
		r.store.fill("key-", 10, 0)
		r.run()
		r.becomesComplete()
		f(r)
	})
}

func audits(c *Config) { c.AuditInterval = auditEvery }

// makeIncomplete applies a change that does not contain all of its hashes.
func (r *rig) makeIncomplete() {
	r.tail.Lock()
	defer r.tail.Unlock()
	r.at++
	r.cache.Apply(&keycache.Change{ID: apikey.DocID("odd"), Time: r.at, Unreadable: true})
}

// reopenStream loses the history and opens a new stream.
func (r *rig) reopenStream() {
	r.tail.Lock()
	defer r.tail.Unlock()
	r.cache.Lose()
	r.at++
	r.cache.Open(r.at)
}

// makeIncompleteFor makes the cache incomplete ten times a second for d.
func (r *rig) makeIncompleteFor(d time.Duration) {
	for end := time.Now().Add(d); time.Now().Before(end); {
		r.makeIncomplete()
		time.Sleep(100 * time.Millisecond)
	}
}

func (r *rig) scanned() int {
	r.store.mutex.Lock()
	defer r.store.mutex.Unlock()
	return r.store.scans
}

// The first repair is made immediately, the next ones after 1 s, 2 s, 4 s ...
// up to a minute.
func TestRepeatedRepairsArePaced(t *testing.T) {
	paced(t, func(r *rig) {
		r.makeIncompleteFor(500 * time.Millisecond)
		if n := r.scanned(); n != 2 {
			r.t.Errorf("%d scans in half a second, want the first one and one more immediately", n)
		}
		r.makeIncompleteFor(10 * time.Minute)
		// 1+2+4+8+16+32 s, and then one a minute.
		n := r.scanned()
		if n < 14 || n > 20 {
			r.t.Errorf("%d scans in ten minutes of voids, want 14 to 20", n)
		}
		// One repair is waiting now.
		if got := counter(r.metrics.requests.WithLabelValues("incomplete")); got != float64(n) {
			r.t.Errorf("%v scans were requested after the first, want %d", got, n)
		}
		if pause := testutil.ToFloat64(r.metrics.pause); pause <= 0 || pause > 70 {
			r.t.Errorf("the pause is %v s", pause)
		}
	})
}

func TestAScanThatWaitsIsMade(t *testing.T) {
	paced(t, func(r *rig) {
		r.makeIncompleteFor(3 * time.Minute)
		if r.cache.Stats().Complete {
			r.t.Fatal("the storm does not void: the test shows nothing")
		}
		before := r.scanned()
		time.Sleep(DefaultRebuildPause * 6 / 5)
		if pause := testutil.ToFloat64(r.metrics.pause); pause != 0 {
			r.t.Errorf("the pause is %v s although no scan is requested", pause)
		}
		if !r.cache.Stats().Complete || r.scanned() != before+1 {
			r.t.Errorf("complete is %v after %d more scans", r.cache.Stats().Complete, r.scanned()-before)
		}
	})
}

func TestAQuietPeriodEndsThePause(t *testing.T) {
	paced(t, func(r *rig) {
		r.makeIncompleteFor(3 * time.Minute)
		time.Sleep(3 * DefaultRebuildPause)
		before := r.scanned()
		r.makeIncomplete()
		time.Sleep(200 * time.Millisecond)
		if !r.cache.Stats().Complete || r.scanned() != before+1 {
			r.t.Error("the first scan after a quiet period was not made immediately")
		}
	})
}

// Someone who can cause losses cannot make keytail read the collection all the
// time.
func TestManyLossesCauseFewScans(t *testing.T) {
	paced(t, func(r *rig) {
		before := r.scanned()
		for range 600 { // ten minutes
			r.reopenStream()
			time.Sleep(time.Second)
		}
		if n := r.scanned() - before; n < 60 || n > firstScans+600/5+5 {
			r.t.Errorf("%d scans in ten minutes of losses, want about one in %v", n, firstScanPause)
		}
		time.Sleep(2 * firstScanPause)
		if !r.cache.Stats().Complete {
			r.t.Error("the cache is not complete after the losses")
		}
	})
}

func TestTheFirstScanOfAnEpochIsNotDelayed(t *testing.T) {
	paced(t, func(r *rig) {
		r.makeIncompleteFor(3 * time.Minute)
		for range 5 {
			before := r.scanned()
			r.reopenStream()
			time.Sleep(200 * time.Millisecond)
			if !r.cache.Stats().Complete || r.scanned() != before+1 {
				r.t.Fatal("the first scan of an epoch waited")
			}
		}
	})
}

// A document with more hashes than keytail tracks stays until someone removes
// it: another attempt immediately would not help.
func TestADocumentWithTooManyHashesIsTriedAgainAtTheNextAudit(t *testing.T) {
	paced(t, func(r *rig) {
		r.store.mutex.Lock()
		h := apikey.HashOf("opaque")
		r.store.documents[h] = keystore.Document{ID: "opaque", MoreHashes: true, Record: apikey.Record{KeyID: "opaque"}}
		r.store.mutex.Unlock()
		r.makeIncomplete()
		time.Sleep(auditEvery / 2)
		if r.scanned() != 2 || r.cache.Stats().Complete || r.absent("nobody") {
			r.t.Errorf("%d scans, want 2; complete is %v", r.scanned(), r.cache.Stats().Complete)
		}
		r.store.mutex.Lock()
		delete(r.store.documents, h)
		r.store.mutex.Unlock()
		time.Sleep(auditEvery)
		if !r.cache.Stats().Complete {
			r.t.Error("it is not complete after the next audit")
		}
	}, audits)
}

// Every kind of scan marks a hash within an array: the cache treats it neither
// as unknown nor as a hit, and keeps what was read for it.
func TestHashesWithinAnArrayAreMarked(t *testing.T) {
	paced(t, func(r *rig) {
		array := keystore.Document{ID: "array", OtherHashes: []apikey.Hash{apikey.HashOf("a"), apikey.HashOf("b")}, Record: apikey.Record{KeyID: "array", Defect: "key_hash is no hash"}}
		r.store.mutex.Lock()
		for _, h := range array.OtherHashes {
			r.store.documents[h] = array
		}
		r.store.mutex.Unlock()
		read := func() {
			r.cache.Store(r.cache.Begin(), array.OtherHashes[0], keycache.Found(array.ID, &array.Record))
		}
		for _, next := range []func(){
			r.makeIncomplete, // in place
			r.reopenStream,   // into a new generation
			read,             // and in place once more
		} {
			next()
			r.makeIncomplete()
			time.Sleep(2 * time.Minute)
			if !r.cache.Stats().Complete || r.absent("a") || r.absent("b") || !r.absent("nobody") {
				r.t.Fatal("a hash within an array is absent, or all is unknown")
			}
		}
		if a, ok := r.cache.Get(array.OtherHashes[0]); !ok || !a.Found || a.Record.KeyID != "array" {
			r.t.Error("what was read for a hash within an array is not kept")
		}
		// The database changes without an event: the next audit finds the
		// difference.
		changed := array
		changed.Record.Name = "another"
		r.store.mutex.Lock()
		for _, h := range array.OtherHashes {
			r.store.documents[h] = changed
		}
		r.store.mutex.Unlock()
		time.Sleep(2 * auditEvery)
		if n := r.cache.Stats().Mismatches; n != 1 {
			r.t.Errorf("%d mismatches, want 1", n)
		}
	}, audits)
}

// TestRebuildsHaveADutyCycle: a large collection that changes all the time is not read most of the time.
func TestRebuildsHaveADutyCycle(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		const scan = time.Minute
		r := newRig(t, 4, func(c *Config) { c.RebuildPause = DefaultRebuildPause })
		p := newPlan(&r.Loader.config, r.logger, r.metrics, func() time.Duration { return scan })
		var rebuild *cause
		for i := range p.causes {
			if p.causes[i].why == reasonRebuild {
				rebuild = &p.causes[i]
			}
		}
		p.request(rebuild, time.Now())
		if wait := time.Until(p.earliest()); wait > 0 {
			t.Errorf("the first rebuild waits %v", wait)
		}
		p.requested.kind = keycache.ScanAside
		p.ended(2, nil)
		p.request(rebuild, time.Now())
		if wait := time.Until(p.earliest()); wait < (optionalShare-1)*scan {
			t.Errorf("after a scan of %v, the next rebuild waits %v", scan, wait)
		}
	})
}
