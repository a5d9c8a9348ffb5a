package keycache

import (
	"encoding/binary"
	"fmt"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
)

// rig is a cache whose clock the test moves.
type rig struct {
	*Cache
	now time.Time
}

func newRig(t testing.TB, change ...func(*Config)) *rig {
	t.Helper()
	r := &rig{now: time.Now()}
	config := Config{SizeMiB: 3, Slots: 1 << 12, RefreshQueue: 2, Now: func() time.Time { return r.now }}
	for _, f := range change {
		f(&config)
	}
	cache, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	r.Cache = cache
	return r
}

// live opens the stream at t=100 and makes the cache fresh.
func live(t testing.TB, change ...func(*Config)) *rig {
	t.Helper()
	r := newRig(t, change...)
	r.Open(100)
	r.Fresh(Freshness{AsOf: r.now, Processed: 100})
	return r
}

var (
	hash1 = apikey.HashOf("key one")
	hash2 = apikey.HashOf("key two")
)

func finding(id, user string) Finding {
	return Finding{Found: true, ID: apikey.DocID(id), Record: &apikey.Record{KeyID: id, UserID: user, Active: true}}
}

// fill stores a finding like a read that began now.
func (r *rig) fill(h apikey.Hash, f Finding) { r.Store(r.Begin(), h, f) }

func (r *rig) mustHit(t *testing.T, h apikey.Hash, user string) Answer {
	t.Helper()
	a, ok := r.Get(h)
	if !ok {
		t.Fatalf("want a hit for %q, got a miss", user)
	}
	if !a.Found || a.Record.UserID != user {
		t.Fatalf("want %q, got %+v", user, a)
	}
	return a
}

func (r *rig) mustMiss(t *testing.T, h apikey.Hash) {
	t.Helper()
	if a, ok := r.Get(h); ok {
		t.Fatalf("want a miss, got %+v", a)
	}
}

func TestNoEntryIsValidBeforeTheFirstOpen(t *testing.T) {
	r := newRig(t)
	r.Fresh(Freshness{AsOf: r.now})
	r.fill(hash1, finding("d1", "u1"))
	r.mustMiss(t, hash1)
	r.Open(100)
	r.mustMiss(t, hash1)
}

func TestNoEntryIsValidBeforeTheFirstFreshness(t *testing.T) {
	r := newRig(t)
	r.Open(100)
	r.fill(hash1, finding("d1", "u1"))
	r.mustMiss(t, hash1)
	r.Fresh(Freshness{AsOf: r.now})
	r.mustHit(t, hash1, "u1")
}

func TestOpenGivesFillsTheFloor(t *testing.T) {
	r := newRig(t)
	r.Open(100)
	if got := r.Begin().Floor(); got != 100 {
		t.Fatalf("floor is %v, want 100", uint64(got))
	}
	r.Lose()
	r.Open(50)
	if got := r.Begin().Floor(); got != 100 {
		t.Fatalf("floor fell to %v", uint64(got))
	}
}

func TestChangeRaisesTheFloorOfLaterFills(t *testing.T) {
	r := live(t)
	r.Apply(&Change{ID: "d1", Time: 170})
	if got := r.Begin().Floor(); got != 170 {
		t.Fatalf("floor is %v, want 170", uint64(got))
	}
}

func TestChangeDuringAFillLeavesNoOldValue(t *testing.T) {
	r := live(t)
	ticket := r.Begin()
	r.Apply(&Change{ID: "d1", Time: 170})
	r.Store(ticket, hash1, finding("d1", "old"))
	r.mustMiss(t, hash1)
	if _, ok := r.Revalidate(ticket, hash1, finding("d1", "old")); ok {
		t.Fatal("a read from before the change is valid after it")
	}
}

func TestChangeInvalidatesCachedEntries(t *testing.T) {
	r := live(t)
	r.fill(hash1, finding("d1", "u1"))
	r.fill(hash2, finding("d2", "u2"))
	r.Apply(&Change{ID: "d1", Time: 170})
	r.mustMiss(t, hash1)
	r.mustHit(t, hash2, "u2")
	r.fill(hash1, finding("d1", "new"))
	r.mustHit(t, hash1, "new")
}

func TestInsertEndsANegative(t *testing.T) {
	r := live(t)
	r.fill(hash1, Finding{})
	if a, ok := r.Get(hash1); !ok || a.Found {
		t.Fatalf("want a valid negative, got %+v, %v", a, ok)
	}
	r.Apply(&Change{ID: "d1", Time: 170, Hash: hash1, HasHash: true})
	r.mustMiss(t, hash1)
}

func TestInsertStoresTheWholeRecordWhenTheHashWasUnused(t *testing.T) {
	r := live(t, forScans)
	f := finding("d1", "u1")
	insert := func(at clustertime.Time) {
		r.Apply(&Change{ID: "d1", Time: at, Hash: hash1, HasHash: true, Record: f.Record})
	}
	insert(169)
	// Another document may have had the hash from the beginning.
	r.mustMiss(t, hash1)
	r.complete(t, ScanIntoEmpty, nil)
	insert(170)
	r.mustHit(t, hash1, "u1")
	r.Apply(&Change{ID: "d1", Time: 171})
	r.mustMiss(t, hash1)
	insert(172)
	r.mustHit(t, hash1, "u1")
}

func TestReplaceStoresTheWholeRecordOverItsOwn(t *testing.T) {
	r := live(t)
	r.fill(hash1, finding("d1", "u1"))
	replace := func(id, user string, at clustertime.Time) {
		f := finding(id, user)
		r.Apply(&Change{ID: f.ID, Time: at, Hash: hash1, HasHash: true, Record: f.Record})
	}
	replace("d1", "u2", 170)
	r.mustHit(t, hash1, "u2")
	replace("d2", "u3", 171)
	r.mustMiss(t, hash1)
	replace("d1", "u4", 172)
	r.mustMiss(t, hash1)
}

func TestAnUpdateOfTheHashInvalidatesBothHashes(t *testing.T) {
	r := live(t)
	r.fill(hash1, finding("d1", "u1"))
	r.fill(hash2, Finding{})
	r.Apply(&Change{ID: "d1", Time: 170, Hash: hash2, HasHash: true, Refresh: true})
	r.mustMiss(t, hash1)
	r.mustMiss(t, hash2)
}

func TestHashTakenOverByAnotherDocument(t *testing.T) {
	r := live(t)
	r.fill(hash1, finding("d1", "u1"))
	// d1 loses the hash in an update that shows only d1, then d2 appears.
	r.Apply(&Change{ID: "d1", Time: 170})
	r.Apply(&Change{ID: "d2", Time: 171, Hash: hash1, HasHash: true})
	r.mustMiss(t, hash1)
}

func TestLossInvalidatesEverythingAtOnce(t *testing.T) {
	r := live(t)
	r.fill(hash1, finding("d1", "u1"))
	r.fill(hash2, Finding{})
	during := r.Begin()
	if !r.Lose() {
		t.Fatal("the first loss is not reported")
	}
	if r.Lose() {
		t.Fatal("a loss during a loss is reported")
	}
	r.mustMiss(t, hash1)
	r.mustMiss(t, hash2)
	lost := r.Begin()
	if lost.Trusted() {
		t.Fatal("a ticket taken during a loss is trusted")
	}
	if _, ok := r.Revalidate(lost, hash1, finding("d1", "u1")); ok {
		t.Fatal("a read is valid during a loss")
	}
	held := r.Stats().Entries
	r.Store(lost, apikey.HashOf("key three"), finding("d3", "u3"))
	if got := r.Stats().Entries; got != held {
		t.Fatal("a read made during a loss is stored")
	}
	r.Open(200)
	r.Store(during, hash1, finding("d1", "before the loss"))
	r.Store(lost, hash2, finding("d2", "during the loss"))
	r.mustMiss(t, hash1)
	r.mustMiss(t, hash2)
	for _, ticket := range []Ticket{during, lost} {
		if _, ok := r.Revalidate(ticket, hash1, finding("d1", "old")); ok {
			t.Fatal("a ticket of an earlier epoch is valid")
		}
	}
}

func TestAnswerReportsItsAge(t *testing.T) {
	r := live(t)
	asOf := r.now
	r.fill(hash1, finding("d1", "u1"))
	r.now = r.now.Add(3 * time.Second)
	a := r.mustHit(t, hash1, "u1")
	if a.Staleness != 3*time.Second || !a.AsOf.Equal(asOf) || a.Revision != 100 {
		t.Fatalf("got %+v", a)
	}
}

func TestStaleIsAMiss(t *testing.T) {
	r := live(t, func(c *Config) { c.MaxStale = 15 * time.Second })
	ticket := r.Begin()
	r.fill(hash1, finding("d1", "u1"))
	r.now = r.now.Add(15 * time.Second)
	r.mustHit(t, hash1, "u1")
	r.now = r.now.Add(time.Nanosecond)
	r.mustMiss(t, hash1)
	if _, ok := r.Revalidate(ticket, hash1, finding("d1", "u1")); ok {
		t.Fatal("a stale cache uses a read")
	}
	r.Fresh(Freshness{AsOf: r.now, Processed: 101})
	r.mustHit(t, hash1, "u1")
}

func TestFreshnessNeverMovesBack(t *testing.T) {
	r := live(t)
	asOf := r.now
	r.Fresh(Freshness{AsOf: asOf.Add(-time.Second), Processed: 50})
	if got := r.Freshness(); !got.AsOf.Equal(asOf) || got.Processed != 100 {
		t.Fatalf("freshness moved back to %+v", got)
	}
}

func TestEntryExpiresAtItsDeadline(t *testing.T) {
	r := live(t, func(c *Config) { c.MaxAge = time.Minute })
	r.fill(hash1, finding("d1", "u1"))
	r.now = r.now.Add(time.Minute)
	r.Fresh(Freshness{AsOf: r.now})
	r.mustMiss(t, hash1)
}

func TestRevalidateAnswersLikeAHit(t *testing.T) {
	r := live(t)
	ticket := r.Begin()
	a, ok := r.Revalidate(ticket, hash1, finding("d1", "u1"))
	if !ok || !a.Found || a.Record.UserID != "u1" {
		t.Fatalf("got %+v, %v", a, ok)
	}
	if a, ok = r.Revalidate(ticket, hash1, Finding{}); !ok || a.Found {
		t.Fatalf("negative: got %+v, %v", a, ok)
	}
	r.Apply(&Change{ID: "d9", Time: 170, Hash: hash1, HasHash: true})
	if _, ok = r.Revalidate(ticket, hash1, Finding{}); ok {
		t.Fatal("a negative is valid after its hash appeared")
	}
}

func TestKeysThatShare64BitsAreNotConfused(t *testing.T) {
	r := live(t)
	twin := hash1
	twin[31] ^= 1
	r.fill(hash1, finding("d1", "u1"))
	r.mustMiss(t, twin)
	r.fill(twin, finding("d2", "u2"))
	r.mustHit(t, twin, "u2")
	r.mustMiss(t, hash1)
}

func TestAHashThatBeginsWithZerosIsStored(t *testing.T) {
	r := live(t)
	zero := apikey.Hash{31: 7}
	r.fill(zero, finding("d1", "u1"))
	r.mustHit(t, zero, "u1")
	r.fill(zero, finding("d1", "u2"))
	r.mustHit(t, zero, "u2")
}

func TestARecordOverTheLimitIsNotStoredAndAffectsNoOther(t *testing.T) {
	r := live(t)
	r.fill(hash2, finding("d2", "u2"))
	large := finding("d1", "u1")
	large.Record.Name = strings.Repeat("x", MaxRecordBytes)
	r.fill(hash1, large)
	r.mustMiss(t, hash1)
	r.mustHit(t, hash2, "u2")
	if r.counters.oversize.Load() != 1 {
		t.Fatal("the oversize record is not counted")
	}
}

func TestAFullCacheEvictsAndStaysCorrect(t *testing.T) {
	r := live(t)
	const keys = 40_000
	for i := range keys {
		user := fmt.Sprintf("u%d", i)
		r.fill(apikey.HashOf(user), finding(user, user))
	}
	hits := 0
	for i := range keys {
		user := fmt.Sprintf("u%d", i)
		if a, ok := r.Get(apikey.HashOf(user)); ok {
			hits++
			if a.Record.UserID != user {
				t.Fatalf("%s got the record of %s", user, a.Record.UserID)
			}
		}
	}
	if hits == 0 || hits == keys {
		t.Fatalf("%d of %d are cached: the test needs a cache that is too small", hits, keys)
	}
	if got := r.Stats().CapacityBytes; got > 3<<20 {
		t.Fatalf("%d bytes are allocated, the limit is 3 MiB", got)
	}
}

func TestRefreshQueueIsBounded(t *testing.T) {
	r := live(t)
	for i := range 3 {
		r.Apply(&Change{ID: apikey.DocID(fmt.Sprint("d", i)), Time: clustertime.Time(170 + i), Refresh: true})
	}
	if got := []apikey.DocID{<-r.Refreshes(), <-r.Refreshes()}; !cmp.Equal(got, []apikey.DocID{"d0", "d1"}) {
		t.Fatalf("got %v", got)
	}
	if r.counters.refreshDropped.Load() != 1 {
		t.Fatal("the dropped refresh is not counted")
	}
}

func TestConfigNamesEveryMistake(t *testing.T) {
	_, err := New(Config{SizeMiB: 1, MaxStale: -1, MaxAge: -1, Slots: 3, RefreshQueue: -1, FrontEntries: 2})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"cache size", "max stale", "max age", "power of two", "refresh queue", "the front"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
}

func TestSlotsOfOneKeyDoNotMove(t *testing.T) {
	r := newRig(t)
	tables := r.current.Load().slots
	byHash, byID := tables.sumOfHash(&hash1), tables.sumOfID("d1")
	for range 3 {
		if tables.sumOfHash(&hash1) != byHash || tables.sumOfID("d1") != byID {
			t.Fatal("a slot moved")
		}
	}
	seen := map[*atomic.Uint64]bool{}
	for i := range 64 {
		var h apikey.Hash
		binary.BigEndian.PutUint64(h[:], uint64(i))
		seen[tables.byHash.at(tables.sumOfHash(&h))] = true
	}
	if len(seen) < 32 {
		t.Fatalf("64 hashes share %d slots", len(seen))
	}
}

var equateNil = cmpopts.EquateEmpty()
