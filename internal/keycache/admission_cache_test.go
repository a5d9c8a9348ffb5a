package keycache

import (
	"errors"
	"fmt"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// minSizeToDivide is the smallest size whose generations are not too small for FillOnDemand.
const minSizeToDivide = 5

// evict removes an entry, as bigcache does when it is full: that moves the counter under the lock.
func (s *byteStore) evict(h *apikey.Hash) {
	for _, cache := range s.caches() {
		_ = cache.Delete(storeKey(h))
	}
}

// ask is what a request does.
func (s *byteStore) ask(h *apikey.Hash) []byte {
	value := s.get(h)
	if value != nil {
		s.asked(h)
	}
	return value
}

// outgrown is a cache whose scan has evicted one of two keys, so that it has failed.
func outgrown(t *testing.T) *rig {
	t.Helper()
	r := live(t, forScans, func(c *Config) { c.SizeMiB = minSizeToDivide })
	s := r.begin(t, ScanIntoEmpty)
	s.IndexIsUnique()
	s.Add(hash1, finding("d1", "u1"))
	s.Add(hash2, finding("d2", "u2"))
	r.current.Load().base.Load().evict(&hash2)
	if err := s.Finish(); !errors.Is(err, ErrScanEvicted) {
		t.Fatalf("the scan ends with %v", err)
	}
	return r
}

func (r *rig) fillOnDemand(t *testing.T) {
	t.Helper()
	if err := r.FillOnDemand(); err != nil {
		t.Fatal(err)
	}
	if r.current.Load().base.Load().admission.Load() == nil {
		t.Fatal("the cache is not filled on demand: the test shows nothing")
	}
}

func TestFillOnDemandKeepsTheValidEntries(t *testing.T) {
	r := outgrown(t)
	r.Apply(&Change{ID: "another", Time: 170})
	r.fillOnDemand(t)
	r.mustHit(t, hash1, "u1")
	r.mustMiss(t, hash2)
	r.Apply(&Change{ID: "d1", Time: 180})
	r.mustMiss(t, hash1)
}

func TestACacheFilledOnDemandReportsNoAbsence(t *testing.T) {
	r := outgrown(t)
	r.fillOnDemand(t)
	r.mustMiss(t, hash2)
	r.mustMiss(t, apikey.HashOf("nobody"))
	if r.Stats().Complete {
		t.Fatal("it is reported as complete")
	}
}

func TestACompleteCacheIsNotFilledOnDemand(t *testing.T) {
	r := live(t, forScans, func(c *Config) { c.SizeMiB = minSizeToDivide })
	r.complete(t, ScanIntoEmpty, nil)
	if err := r.FillOnDemand(); err != nil {
		t.Fatal(err)
	}
	r.mustBeAbsent(t, hash1)
}

func TestTheNextScanThatSucceedsEndsFillingOnDemand(t *testing.T) {
	for _, kind := range []ScanKind{ScanIntoEmpty, ScanAside} {
		r := outgrown(t)
		r.fillOnDemand(t)
		r.complete(t, kind, map[apikey.Hash]Finding{hash1: finding("d1", "u1")})
		r.mustHit(t, hash1, "u1")
		r.mustBeAbsent(t, hash2)
		if r.current.Load().base.Load().admission.Load() != nil {
			t.Errorf("kind %d: the cache is still filled on demand", kind)
		}
	}
}

func TestAFailedScanAsideLeavesFillingOnDemandAsItIs(t *testing.T) {
	r := outgrown(t)
	r.fillOnDemand(t)
	s := r.begin(t, ScanAside)
	s.base.store.evictions.Add(1)
	if err := s.Finish(); err == nil {
		t.Fatal("the scan succeeded: the test shows nothing")
	}
	r.fill(hash2, finding("d2", "u3"))
	r.fillOnDemand(t)
	r.mustHit(t, hash1, "u1")
	r.mustHit(t, hash2, "u3")
}

// TestUnknownKeysPushOutNoKnownKey: they have a store of their own, and leave no trace of demand.
func TestUnknownKeysPushOutNoKnownKey(t *testing.T) {
	r := live(t, func(c *Config) { c.SizeMiB = minSizeToDivide })
	const known = 1000
	for i := range known {
		r.fill(apikey.HashOf(fmt.Sprint(i)), finding(fmt.Sprint("d", i), "u"))
	}
	for i := range 100_000 {
		h := apikey.HashOf(fmt.Sprint("unknown-", i))
		if _, ok := r.Get(h); !ok {
			r.fill(h, Finding{})
		}
	}
	words := r.current.Load().base.Load().admission.Load().demand.words
	for i := range words {
		if words[i].Load() != 0 {
			t.Fatal("requests with unknown keys count as demand")
		}
	}
	for i := range known {
		r.mustHit(t, apikey.HashOf(fmt.Sprint(i)), "u")
	}
}

// TestALossEndsTheEntriesOfACacheFilledOnDemand, and requests fill it again, in the same places.
func TestALossEndsTheEntriesOfACacheFilledOnDemand(t *testing.T) {
	r := live(t)
	r.fill(hash1, finding("d1", "u1"))
	r.Lose()
	r.Open(200)
	r.now = r.now.Add(time.Second)
	r.Fresh(Freshness{AsOf: r.now, Processed: 200})
	r.mustMiss(t, hash1)
	r.fill(hash1, finding("d1", "u2"))
	r.mustHit(t, hash1, "u2")
}
