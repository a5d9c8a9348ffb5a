package keycache

import (
	"fmt"
	"sync/atomic"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// A scan in place that was given up has seen one of two documents with a hash, and left it in the
// overlay. The next scan that succeeds makes such entries valid, but it has seen both.
func TestAScanThatSeesAHashTwiceEndsTheEntryOfAScanThatFailed(t *testing.T) {
	for _, kind := range []ScanKind{ScanIntoEmpty, ScanInPlace, ScanAside} {
		r := live(t, forScans)
		r.complete(t, ScanIntoEmpty, nil)
		for _, id := range []apikey.DocID{"d1", "d2"} {
			r.Apply(&Change{ID: id, Time: 170, Hash: hash1, HasHash: true})
		}
		failed := r.begin(t, ScanInPlace)
		failed.Add(hash1, finding("d1", "u1"))
		failed.Abandon()
		s := r.begin(t, kind)
		s.Add(hash1, finding("d1", "u1"))
		s.Add(hash1, finding("d2", "u2"))
		if err := s.Finish(); err != nil {
			t.Fatal(err)
		}
		if a, ok := r.Get(hash1); ok {
			t.Errorf("scan of kind %v: two documents have the hash, and one of them is the answer: %+v", kind, a)
		}
	}
}

// The front ends after a marker is stored. A marker that is still kept back, to choose the size of the
// base, would come after that, and a hit between the entry and the marker would stay in the front.
func TestAMarkerIsStoredBeforeTheFrontEnds(t *testing.T) {
	r := live(t, forScans)
	s, err := r.BeginScan(ScanIntoEmpty, 10*sampled)
	if err != nil {
		t.Fatal(err)
	}
	s.IndexIsUnique()
	s.Add(hash1, finding("d1", "u1"))
	s.Add(hash1, finding("d2", "u2"))
	if e, _, ok := s.into.decodeEntry(s.into.get(&hash1), &hash1); !ok || e.kind != marker {
		t.Error("the era has moved, and the base has no marker yet")
	}
	r.mustMiss(t, hash1)
}

// A hit that has loaded the generation before it is replaced must not bring an entry of that generation
// into the front afterwards. The test holds that the era of an entry is loaded before the lookup. It does
// not find it when the era is loaded after the generation and before the lookup: Get has no hook there.
// TestTheCodeHasTheModelsOrder holds that order.
func TestNoEntryOfAnOldGenerationEntersTheFront(t *testing.T) {
	r := live(t, forScans)
	r.complete(t, ScanIntoEmpty, map[apikey.Hash]Finding{hash1: finding("d1", "u1")})
	old := r.current.Load()
	base, err := newByteStore(1, 0)
	if err != nil {
		t.Fatal(err)
	}
	empty := newGeneration(base, old.slots, DefaultMaxAge)
	var stop atomic.Bool
	var hits atomic.Uint64
	done := make(chan struct{})
	go func() {
		defer close(done)
		for !stop.Load() {
			r.Get(hash1)
			hits.Add(1)
		}
	}()
	wait := func() {
		for n := hits.Load(); hits.Load() < n+2; {
			continue
		}
	}
	for until := time.Now().Add(time.Second); time.Now().Before(until) && !t.Failed(); {
		for range 100 {
			r.current.Store(old)
			wait()
			r.current.Store(empty) // as a scan does
			r.front.end()
			wait()
			if r.front.get(&hash1) != nil {
				t.Error("the front has an entry of the old generation")
				break
			}
		}
	}
	stop.Store(true)
	<-done
}

// Without the unique index each audit sees the same hashes twice. The base has markers of them, which
// answer nothing: they must not fill the list of ended entries, past which the whole base counts no more.
func TestAuditsOfManyDuplicatesDoNotEndTheBase(t *testing.T) {
	r := live(t, forScans)
	for _, kind := range []ScanKind{ScanIntoEmpty, ScanInPlace} {
		s := r.begin(t, kind)
		s.Add(hash1, finding("d1", "u1"))
		for i := range maxEnded + 1 {
			user := fmt.Sprint("twin-", i)
			s.Add(apikey.HashOf(user), finding(user, user))
			s.Add(apikey.HashOf(user), finding(user+"b", user))
		}
		if err := s.Finish(); err != nil {
			t.Fatal(err)
		}
	}
	r.mustHit(t, hash1, "u1")
	if _, worth := r.Rebuild(); worth {
		t.Error("a new base is worth it")
	}
	r.mustMiss(t, apikey.HashOf("twin-1"))
}

// preload abandons a scan after Finish, and after the audit of its suspects, which takes a while.
func TestAbandonAfterFinishDoesNothing(t *testing.T) {
	r := live(t, forScans)
	s := r.begin(t, ScanIntoEmpty)
	s.IndexIsUnique()
	s.Add(hash1, finding("d1", "u1"))
	r.Apply(&Change{ID: "d9", Time: 170, Unreadable: true})
	if err := s.Finish(); err == nil {
		t.Fatal("the scan has succeeded")
	}
	era := r.front.era.Load()
	r.later(DefaultMaxAge / 2)
	s.Abandon()
	if r.front.era.Load() != era {
		t.Error("the front has ended once more")
	}
	r.later(DefaultMaxAge / 2)
	r.mustMiss(t, hash1)
}

// A scan aside that sees a hash twice leaves the base in use as it is. The first read that finds both
// documents must end the base's entry, although the overlay has a marker already: the entry cannot
// answer any more, but it shows its document as the only owner of the hash.
func TestAnAmbiguousReadEndsWhatTheBaseSaysAboutTheOwner(t *testing.T) {
	r := live(t, forScans)
	r.complete(t, ScanIntoEmpty, map[apikey.Hash]Finding{hash1: finding("d1", "u1")})
	r.Apply(&Change{ID: "d1", Time: 170})
	r.fill(hash1, finding("d1", "u2"))
	s := r.begin(t, ScanAside)
	s.Add(hash1, finding("d1", "u2"))
	s.Add(hash1, finding("d2", "u2"))
	both := finding("d2", "u2")
	both.Ambiguous = true
	r.Store(r.Begin(), hash1, both)
	s.Abandon()
	r.StoreByID(r.Begin(), hash1, finding("d1", "u3"))
	r.mustMiss(t, hash1)
}
