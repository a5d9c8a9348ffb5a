package keycache

import (
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
)

func forScans(c *Config) { c.Complete = true }

func (r *rig) begin(t *testing.T, kind ScanKind) *Scan {
	t.Helper()
	s, err := r.BeginScan(kind, 0)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// complete scans a collection of the given documents.
func (r *rig) complete(t *testing.T, kind ScanKind, documents map[apikey.Hash]Finding) *Scan {
	t.Helper()
	s := r.begin(t, kind)
	for h, f := range documents {
		s.Add(h, f)
	}
	if err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	return s
}

func (r *rig) mustBeAbsent(t *testing.T, h apikey.Hash) {
	t.Helper()
	if a, ok := r.Get(h); !ok || a.Found {
		t.Fatalf("want an absence, got %+v, %v", a, ok)
	}
}

func TestACompleteCacheAnswersAbsences(t *testing.T) {
	r := live(t, forScans)
	r.mustMiss(t, hash2)
	r.complete(t, ScanIntoEmpty, map[apikey.Hash]Finding{hash1: finding("d1", "u1")})
	r.mustHit(t, hash1, "u1")
	r.mustBeAbsent(t, hash2)
	if !r.Stats().Complete {
		t.Fatal("Stats does not report a complete cache")
	}
	r.now = r.now.Add(DefaultMaxStale + 1)
	r.mustMiss(t, hash2)
}

func TestAnAbsenceEndsWhenItsHashAppears(t *testing.T) {
	r := live(t, forScans)
	r.complete(t, ScanIntoEmpty, nil)
	r.Apply(&Change{ID: "d1", Time: 170, Hash: hash1, HasHash: true})
	r.mustMiss(t, hash1)
	r.mustBeAbsent(t, hash2)
}

func TestAHashThatAppearsDuringAScanIsNotAbsentAfterIt(t *testing.T) {
	r := live(t, forScans)
	s := r.begin(t, ScanIntoEmpty)
	r.Apply(&Change{ID: "d1", Time: 170, Hash: hash1, HasHash: true})
	if err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	r.mustMiss(t, hash1)
}

func TestAScansEntryIsNotValidAfterAChangeDuringTheScan(t *testing.T) {
	r := live(t, forScans)
	s := r.begin(t, ScanIntoEmpty)
	r.Apply(&Change{ID: "d1", Time: 170})
	s.Add(hash1, finding("d1", "old"))
	if err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	r.mustMiss(t, hash1)
}

func TestALossEndsTheCompleteness(t *testing.T) {
	r := live(t, forScans)
	r.complete(t, ScanIntoEmpty, map[apikey.Hash]Finding{hash1: finding("d1", "u1")})
	s := r.begin(t, ScanInPlace)
	r.Lose()
	r.mustMiss(t, hash1)
	r.mustMiss(t, hash2)
	if _, err := r.BeginScan(ScanIntoEmpty, 0); !errors.Is(err, ErrScanLost) {
		t.Fatalf("a scan begins during a loss: %v", err)
	}
	r.Open(200)
	r.mustMiss(t, hash2)
	if err := s.Finish(); !errors.Is(err, ErrScanLost) {
		t.Fatalf("a scan of an earlier epoch ends with %v", err)
	}
	r.complete(t, ScanIntoEmpty, nil)
	r.mustBeAbsent(t, hash1)
}

func TestACollectionThatDoesNotFitIsNotComplete(t *testing.T) {
	r := live(t, forScans)
	s := r.begin(t, ScanIntoEmpty)
	s.IndexIsUnique()
	documents := manyDocuments(20_000)
	for h, f := range documents {
		s.Add(h, f)
	}
	if !s.WillFail() {
		t.Fatal("WillFail is false")
	}
	if err := s.Finish(); !errors.Is(err, ErrScanEvicted) {
		t.Fatalf("got %v", err)
	}
	r.mustMiss(t, hash2)
	if r.answered(documents) == 0 {
		t.Error("what the scan has read is not used")
	}
	// The base is filled on demand now, and audited as far as it is filled.
	r.fill(hash2, finding("d2", "u2"))
	r.mustHit(t, hash2, "u2")
	if r.Stats().Overlay != 0 {
		t.Error("a cache that is filled on demand uses its overlay")
	}
	s = r.begin(t, ScanInPlace)
	for h, f := range documents {
		s.Add(h, f)
	}
	if err := s.Finish(); !errors.Is(err, ErrScanEvicted) || len(s.Suspects()) != 0 {
		t.Fatalf("got %v, %d suspects", err, len(s.Suspects()))
	}
	s = r.begin(t, ScanInPlace)
	s.Add(hash1, finding("d1", "u1"))
	if err := s.Finish(); !errors.Is(err, ErrScanFits) {
		t.Fatalf("got %v", err)
	}
	r.mustMiss(t, apikey.HashOf("nobody"))
}

func manyDocuments(n int) map[apikey.Hash]Finding {
	documents := map[apikey.Hash]Finding{}
	for i := range n {
		user := fmt.Sprint("u", i)
		documents[apikey.HashOf(user)] = finding(user, user)
	}
	return documents
}

// Whatever is stored after the scan, the base keeps what it holds, so that the cache stays complete.
func TestACompleteCacheStaysCompleteWhateverIsStored(t *testing.T) {
	r := live(t, forScans)
	documents := manyDocuments(5000)
	r.complete(t, ScanIntoEmpty, documents)
	more := finding("more", strings.Repeat("x", 1000))
	for i := range 5000 {
		r.fill(apikey.HashOf(fmt.Sprint("more-", i)), more)
		r.fill(hash1, more)
	}
	if r.overlay.evictions.Load() == 0 {
		t.Fatal("nothing was evicted: the test shows nothing")
	}
	if !r.Stats().Complete || r.answered(documents) != len(documents) {
		t.Errorf("complete is %v, %d of %d keys are answered", r.Stats().Complete, r.answered(documents), len(documents))
	}
	r.mustBeAbsent(t, apikey.HashOf("nobody"))
}

// A key that is inserted after the scan is in the overlay alone. When it is evicted it is a miss.
func TestANewKeyThatIsEvictedIsAMissAndNotAbsent(t *testing.T) {
	r := live(t, forScans)
	r.complete(t, ScanIntoEmpty, nil)
	r.Apply(&Change{ID: "d1", Time: 170, Hash: hash1, HasHash: true, Record: finding("d1", "u1").Record})
	r.mustHit(t, hash1, "u1")
	r.emptyOverlay(t)
	r.mustMiss(t, hash1)
	// A later scan in place renews the completeness: the hash is now beside the base.
	r.complete(t, ScanInPlace, map[apikey.Hash]Finding{hash1: finding("d1", "u1")})
	r.mustHit(t, hash1, "u1")
	r.emptyOverlay(t)
	r.mustMiss(t, hash1)
	r.mustBeAbsent(t, hash2)
}

func (r *rig) emptyOverlay(t *testing.T) {
	t.Helper()
	empty, err := newByteStore(r.sizes.overlay, 0)
	if err != nil {
		t.Fatal(err)
	}
	r.overlay = empty
	r.front.end()
}

func TestAScanAsideReplacesTheBase(t *testing.T) {
	r := live(t, forScans)
	documents := map[apikey.Hash]Finding{hash1: finding("d1", "u1"), hash2: finding("d2", "u2")}
	r.complete(t, ScanIntoEmpty, documents)
	r.Apply(&Change{ID: "d1", Time: 170})
	r.mustMiss(t, hash1)
	s := r.begin(t, ScanAside)
	for h, f := range documents {
		s.Add(h, f)
	}
	r.mustMiss(t, hash1)
	// What is stored meanwhile is in the overlay of both.
	other := apikey.HashOf("other")
	r.Apply(&Change{ID: "d3", Time: 171, Hash: other, HasHash: true, Record: finding("d3", "u3").Record})
	r.mustHit(t, other, "u3")
	if err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	r.mustHit(t, hash1, "u1")
	r.mustHit(t, hash2, "u2")
	r.mustHit(t, other, "u3")
	r.mustBeAbsent(t, apikey.HashOf("nobody"))
	if r.aside.Load() != nil {
		t.Fatal("the generation aside is still there")
	}
}

func TestAnUnreadableHashEndsTheCompleteness(t *testing.T) {
	r := live(t, forScans)
	r.complete(t, ScanIntoEmpty, nil)
	s := r.begin(t, ScanInPlace)
	r.Apply(&Change{ID: "d1", Time: 170, Unreadable: true})
	r.mustMiss(t, hash2)
	if err := s.Finish(); !errors.Is(err, ErrScanUnreadable) {
		t.Fatalf("got %v", err)
	}
	r.mustMiss(t, hash2)
}

func TestARecordOverTheLimitIsNeverAbsent(t *testing.T) {
	r := live(t, forScans)
	large := finding("d1", "u1")
	large.Record.Name = strings.Repeat("x", 1<<20)
	r.complete(t, ScanIntoEmpty, map[apikey.Hash]Finding{hash1: large})
	r.mustMiss(t, hash1)
	r.mustBeAbsent(t, hash2)
	if got := r.Stats().CapacityBytes; got > 3<<20 {
		t.Fatalf("%d bytes for a record that is not stored", got)
	}
}

func TestEntriesOfACompleteCacheHaveNoDeadline(t *testing.T) {
	r := live(t, forScans, func(c *Config) { c.MaxAge = time.Minute })
	r.complete(t, ScanIntoEmpty, map[apikey.Hash]Finding{hash1: finding("d1", "u1")})
	r.now = r.now.Add(time.Hour)
	r.Fresh(Freshness{AsOf: r.now})
	r.mustHit(t, hash1, "u1")
	// Also not when the completeness ends: a scan of this epoch has covered them.
	r.Apply(&Change{ID: "d9", Time: 170, Unreadable: true})
	r.mustHit(t, hash1, "u1")
	r.Lose()
	r.Open(200)
	r.fill(hash1, finding("d1", "u1"))
	r.mustHit(t, hash1, "u1")
	r.now = r.now.Add(time.Minute)
	r.Fresh(Freshness{AsOf: r.now})
	r.mustMiss(t, hash1)
}

func TestTheAuditFindsACorruptedEntry(t *testing.T) {
	r := live(t, forScans)
	documents := map[apikey.Hash]Finding{hash1: finding("d1", "u1"), hash2: finding("d2", "u2")}
	r.complete(t, ScanIntoEmpty, documents)
	// Another key's record under hash1, with valid stamps.
	bad, _ := r.encode(r.Begin(), hash1, finding("d1", "intruder"))
	r.current.Load().base.Load().set(&hash1, bad)
	r.mustHit(t, hash1, "intruder")

	s := r.complete(t, ScanInPlace, documents)
	if got := s.Suspects(); len(got) != 1 || got[0] != hash1 {
		t.Fatalf("suspects: %v", got)
	}
	if !r.Audit(r.Begin(), hash1, documents[hash1]) || r.counters.mismatch.Load() != 1 {
		t.Fatal("the mismatch is not counted")
	}
	r.mustHit(t, hash1, "u1")
	if r.Audit(r.Begin(), hash1, documents[hash1]) {
		t.Fatal("it is counted twice")
	}
}

// If the collection has outgrown the cache, a scan aside audits it as far as it gets.
func TestAScanAsideThatFailsAuditsTheGenerationInUse(t *testing.T) {
	r := live(t, forScans)
	r.complete(t, ScanIntoEmpty, map[apikey.Hash]Finding{hash1: finding("d1", "u1")})
	bad, _ := r.encode(r.Begin(), hash1, finding("d1", "intruder"))
	r.current.Load().base.Load().set(&hash1, bad)
	s := r.begin(t, ScanAside)
	s.Add(hash1, finding("d1", "u1"))
	s.base.store.evictions.Add(1)
	if err := s.Finish(); !errors.Is(err, ErrScanEvicted) {
		t.Fatalf("got %v", err)
	}
	for _, h := range s.Suspects() {
		r.Audit(r.Begin(), h, finding("d1", "u1"))
	}
	r.mustHit(t, hash1, "u1")
	if n := r.Stats().Mismatches; n != 1 {
		t.Errorf("%d mismatches, want 1", n)
	}
}

func TestTheAuditFindsAMissedDelete(t *testing.T) {
	r := live(t, forScans)
	r.complete(t, ScanIntoEmpty, map[apikey.Hash]Finding{hash1: finding("d1", "u1"), hash2: finding("d2", "u2")})
	s := r.complete(t, ScanInPlace, map[apikey.Hash]Finding{hash2: finding("d2", "u2")})
	if got := s.Suspects(); len(got) != 1 || got[0] != hash1 {
		t.Fatalf("suspects: %v", got)
	}
	if !r.Audit(r.Begin(), hash1, Finding{}) {
		t.Fatal("the mismatch is not counted")
	}
	if a, ok := r.Get(hash1); ok && a.Found {
		t.Fatal("the deleted key still has a valid entry")
	}
}

// The scan that was to fill the base has failed, and the overlay has an entry from that time.
func TestTheAuditEndsAnEntryOfTheOverlayOfAnOpenBase(t *testing.T) {
	r := live(t, forScans)
	s := r.begin(t, ScanIntoEmpty)
	r.fill(hash1, finding("d1", "deleted"))
	s.Abandon()
	r.mustHit(t, hash1, "deleted")
	if !r.Audit(r.Begin(), hash1, Finding{}) {
		t.Fatal("the mismatch is not counted")
	}
	r.mustMiss(t, hash1)
}

func TestTheAuditDoesNotCountAChange(t *testing.T) {
	r := live(t, forScans)
	r.complete(t, ScanIntoEmpty, map[apikey.Hash]Finding{hash1: finding("d1", "u1")})
	s := r.begin(t, ScanInPlace)
	// The scan has read a change that the stream has not delivered yet.
	s.Add(hash1, finding("d1", "newer"))
	if err := s.Finish(); err != nil || len(s.Suspects()) != 1 {
		t.Fatalf("got %v, suspects %v", err, s.Suspects())
	}
	ticket := r.Begin()
	r.Apply(&Change{ID: "d1", Time: 170})
	if r.Audit(ticket, hash1, finding("d1", "newer")) || r.counters.mismatch.Load() != 0 {
		t.Fatal("a change is counted as a mismatch")
	}
}

func TestStatsReportTheShareOfStampedSlots(t *testing.T) {
	r := live(t, forScans)
	r.complete(t, ScanIntoEmpty, nil)
	for i := range 410 { // a tenth of the rig's 4,096 slots
		h := apikey.HashOf(fmt.Sprint(i))
		r.Apply(&Change{ID: "d", Time: clustertime.Time(200 + i), Hash: h, HasHash: true})
	}
	if got := r.Stats().MovedShare; got < .08 || got > .1 {
		t.Fatalf("got %v", got)
	}
	r.complete(t, ScanInPlace, nil)
	if got := r.Stats().MovedShare; got != 0 {
		t.Fatalf("got %v after a scan", got)
	}
}

// Documents that share a hash, each in one of the ways in which a scan can see it.
func TestAHashThatAScanSeesTwiceIsNotAnswered(t *testing.T) {
	see := func(s *Scan, id string) { s.Add(hash1, finding(id, id)) }
	mark := func(s *Scan, id string) { s.AddMarker(hash1, finding(id, id)) }
	for _, ways := range [][2]func(*Scan, string){{see, see}, {see, mark}, {mark, see}, {mark, mark}} {
		for kind := range ScanAside + 1 {
			r := live(t, forScans)
			r.complete(t, ScanIntoEmpty, nil)
			s := r.begin(t, kind)
			ways[0](s, "d1")
			ways[1](s, "d2")
			if err := s.Finish(); err != nil {
				t.Fatal(err)
			}
			r.mustMiss(t, hash1)
			if s.Duplicates() != 1 || r.Stats().Duplicates != 1 {
				t.Errorf("%d duplicates of the scan, %d in total, want 1", s.Duplicates(), r.Stats().Duplicates)
			}
		}
	}
}

func TestAHashThatMovesDuringAScanIsNoDuplicate(t *testing.T) {
	r := live(t, forScans)
	s := r.begin(t, ScanIntoEmpty)
	s.Add(hash1, finding("d1", "u1"))
	r.Apply(&Change{ID: "d1", Time: 170})
	r.Apply(&Change{ID: "d2", Time: 171, Hash: hash1, HasHash: true})
	s.Add(hash1, finding("d2", "u2"))
	if err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	r.mustMiss(t, hash1)
	if s.Duplicates() != 0 {
		t.Error("a hash that has moved is counted as a duplicate")
	}
}

func TestAScansEntriesAreValidAtItsEndOrWithAUniqueIndex(t *testing.T) {
	r := live(t, forScans)
	s := r.begin(t, ScanIntoEmpty)
	s.Add(hash1, finding("d1", "u1"))
	r.mustMiss(t, hash1)
	s.IndexIsUnique()
	s.Add(hash2, finding("d2", "u2"))
	r.mustHit(t, hash2, "u2")
	if err := s.Finish(); err != nil {
		t.Fatal(err)
	}
	r.mustHit(t, hash1, "u1")
}

func TestAnAmbiguousReadIsCountedOnceAndNotStored(t *testing.T) {
	r := live(t, forScans)
	r.complete(t, ScanIntoEmpty, map[apikey.Hash]Finding{hash1: finding("d1", "u1")})
	both := finding("d2", "u2")
	both.Ambiguous = true
	for range 3 {
		ticket := r.Begin()
		r.Store(ticket, hash1, both)
		r.mustMiss(t, hash1)
		if a, ok := r.Revalidate(ticket, hash1, both); !ok || a.Record.UserID != "u2" {
			t.Fatalf("its own caller gets %+v, %v", a, ok)
		}
	}
	r.complete(t, ScanIntoEmpty, map[apikey.Hash]Finding{hash1: finding("d1", "u1")})
	if r.Audit(r.Begin(), hash1, both) || r.Stats().Mismatches != 0 {
		t.Error("two documents are counted as a mismatch")
	}
	r.mustMiss(t, hash1)
	if n := r.Stats().Duplicates; n != 2 {
		t.Errorf("%d duplicates, want one of the reads and one of the audit", n)
	}
}

// A scan in place that stops halfway has not seen the rest. That proves nothing about those
// entries, and reading each of them again would delay the repair.
func TestAScanThatStopsEarlySuspectsNothingThatItHasNotReached(t *testing.T) {
	const keys = 1000
	r := live(t, forScans)
	documents := manyDocuments(keys)
	r.complete(t, ScanIntoEmpty, documents)
	s := r.begin(t, ScanInPlace)
	s.Add(apikey.HashOf("u0"), documents[apikey.HashOf("u0")])
	r.Apply(&Change{ID: "other", Time: 170, Unreadable: true})
	if !s.WillFail() {
		t.Fatal("WillFail is false: the test shows nothing")
	}
	if err := s.Finish(); !errors.Is(err, ErrScanUnreadable) {
		t.Fatal(err)
	}
	if n := len(s.Suspects()); n != 0 {
		t.Errorf("%d of %d entries are suspects, want none", n, keys)
	}
}
