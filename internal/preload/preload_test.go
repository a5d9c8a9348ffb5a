package preload

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/timing"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patience = 20 * time.Second
	// refreshQueue is how many refreshes may wait.
	refreshQueue = 1000
)

// fakeStore is a collection in memory.
type fakeStore struct {
	// counting is held by Count, before mutex.
	counting  sync.Mutex
	mutex     sync.Mutex
	documents map[apikey.Hash]keystore.Document
	// moved, when set, is called by the first scan, which then sees nothing.
	moved func()
	// dies is how many scans fail halfway.
	dies int
	// takes is how long a scan takes.
	takes time.Duration
	scans int
	reads int
	// after is the oldest snapshot that the last scan may read.
	after clustertime.Time
}

func (s *fakeStore) put(name string, record apikey.Record) keystore.Document {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	record.KeyID, record.Active = name, true
	d := keystore.Document{ID: apikey.DocID(name), Hash: apikey.HashOf(name), HasHash: true, Record: record}
	s.documents[d.Hash] = d
	return d
}

func (s *fakeStore) fill(prefix string, n, bytes int) {
	for i := range n {
		s.put(fmt.Sprint(prefix, i), apikey.Record{UserID: "u", Name: strings.Repeat("x", bytes)})
	}
}

func (s *fakeStore) Count(context.Context) (int64, error) {
	s.counting.Lock()
	defer s.counting.Unlock()
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return int64(len(s.documents)), nil
}

func (s *fakeStore) Scan(ctx context.Context, after clustertime.Time, see func(*keystore.Document) error) error {
	s.mutex.Lock()
	s.scans++
	s.after = after
	all := make([]keystore.Document, 0, len(s.documents))
	for _, d := range s.documents {
		all = append(all, d)
	}
	if s.moved != nil {
		s.moved()
		all, s.moved = nil, nil
	}
	dies := s.dies > 0
	if dies {
		s.dies--
	}
	takes := s.takes
	s.mutex.Unlock()
	timing.Sleep(ctx, takes)
	for i, d := range all {
		if dies && i == len(all)/2 {
			return errors.New("the cursor died")
		}
		if err := see(&d); err != nil {
			return err
		}
	}
	return nil
}

func (s *fakeStore) FindByHash(_ context.Context, h apikey.Hash, _ clustertime.Time) (keystore.Document, bool, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.reads++
	d, ok := s.documents[h]
	return d, ok, nil
}

// rig runs a Loader over a live cache. The test's goroutine acts as the tail,
// except for the freshness, which moves without it.
type rig struct {
	*Loader
	t     *testing.T
	cache *keycache.Cache
	store *fakeStore
	// tail serializes what a tail would do.
	tail sync.Mutex
	at   clustertime.Time
	// held stops the freshness. Otherwise it moves with every beat.
	held bool
	beat time.Duration
}

func newRig(t *testing.T, sizeMiB int, change ...func(*Config)) *rig {
	t.Helper()
	cache, err := keycache.New(keycache.Config{SizeMiB: sizeMiB, Slots: 1 << 16, Complete: true, RefreshQueue: refreshQueue})
	if err != nil {
		t.Fatal(err)
	}
	r := &rig{t: t, cache: cache, store: &fakeStore{documents: map[apikey.Hash]keystore.Document{}}, at: 100, beat: 5 * time.Millisecond}
	config := Config{
		Cache: cache, Store: r.store, RetryPause: time.Millisecond, RebuildPause: time.Millisecond,
		UniqueIndex: func(context.Context) bool { return true },
	}
	for _, f := range change {
		f(&config)
	}
	if r.Loader, err = New(config); err != nil {
		t.Fatal(err)
	}
	if got := testutil.CollectAndCount(r.metrics.scans); got != 5 {
		t.Errorf("%d ends of a scan are there from the start, want all 5", got)
	}
	return r
}

// hold makes the cache fresh once, and no more.
func (r *rig) hold() {
	r.held = true
	r.cache.Fresh(keycache.Freshness{AsOf: time.Now()})
}

// run opens the stream, and starts the Loader and a freshness that moves.
func (r *rig) run() {
	r.cache.Open(r.at)
	ctx, stop := context.WithCancel(context.Background())
	var group sync.WaitGroup
	group.Go(func() {
		if err := r.Run(ctx); err != nil {
			r.t.Errorf("Run: %v", err)
		}
	})
	group.Go(func() {
		ticker := time.NewTicker(r.beat)
		defer ticker.Stop()
		for ctx.Err() == nil {
			r.tail.Lock()
			if !r.held {
				r.cache.Fresh(keycache.Freshness{AsOf: time.Now()})
			}
			r.tail.Unlock()
			<-ticker.C
		}
	})
	r.t.Cleanup(func() { stop(); group.Wait() })
}

// change applies a change to the database and then, like a tail, to the cache.
func (r *rig) change(name string, record apikey.Record) {
	d := r.store.put(name, record)
	r.tail.Lock()
	defer r.tail.Unlock()
	r.at++
	r.cache.Apply(&keycache.Change{ID: d.ID, Time: r.at, Hash: d.Hash, HasHash: true, Record: &d.Record})
}

// remove deletes a document from the database and then, like a tail, from the cache.
func (r *rig) remove(name string) {
	h := apikey.HashOf(name)
	r.store.mutex.Lock()
	id := r.store.documents[h].ID
	delete(r.store.documents, h)
	r.store.mutex.Unlock()
	r.tail.Lock()
	defer r.tail.Unlock()
	r.at++
	r.cache.Apply(&keycache.Change{ID: id, Time: r.at})
}

// withoutScan applies many changes before the next scan begins: a scan first counts the documents.
// One that ran meanwhile would leave the keys that change after it to the overlay, and those that
// share a slot with them to reads.
func (r *rig) withoutScan(changes func()) {
	r.store.counting.Lock()
	defer r.store.counting.Unlock()
	changes()
}

func (r *rig) eventually(what string, cond func() bool) {
	r.t.Helper()
	r.within(patience, what, cond)
}

func (r *rig) within(limit time.Duration, what string, cond func() bool) {
	r.t.Helper()
	deadline := time.After(limit)
	ticker := time.NewTicker(limit / 10_000)
	defer ticker.Stop()
	for !cond() {
		select {
		case <-deadline:
			r.t.Fatalf("not in time: %s; %+v", what, r.cache.Stats())
		case <-ticker.C:
		}
	}
}

func (r *rig) becomesComplete() {
	r.t.Helper()
	r.eventually("complete", func() bool { return r.cache.Stats().Complete && !r.Loading() })
}

// mustBeRight looks up every key: each hit must be what the store contains.
func (r *rig) mustBeRight() (held int) {
	r.t.Helper()
	r.store.mutex.Lock()
	defer r.store.mutex.Unlock()
	for h, d := range r.store.documents {
		a, ok := r.cache.Get(h)
		if !ok {
			continue
		}
		held++
		if !a.Found || a.Record.KeyID != d.Record.KeyID || a.Record.UserID != d.Record.UserID {
			r.t.Fatalf("%s is answered with %+v", d.Record.KeyID, a)
		}
	}
	return held
}

func (r *rig) absent(name string) bool {
	a, ok := r.cache.Get(apikey.HashOf(name))
	return ok && !a.Found
}

func TestUnknownKeysCostNoRead(t *testing.T) {
	r := newRig(t, 4)
	r.store.fill("key-", 1000, 0)
	if r.Loading() {
		t.Fatal("loading before the stream is open")
	}
	r.run()
	r.becomesComplete()
	if held := r.mustBeRight(); held != 1000 {
		t.Fatalf("%d of 1000 keys are cached", held)
	}
	before := r.cache.Stats()
	for i := range 10_000 {
		if !r.absent(fmt.Sprint("unknown-", i)) {
			t.Fatal("an unknown key is not known to be absent")
		}
	}
	if after := r.cache.Stats(); after.Entries != before.Entries || after.Negatives != 0 || after.CapacityBytes != before.CapacityBytes {
		t.Fatalf("unknown keys took memory: %+v, before %+v", after, before)
	}
	r.change("unknown-7", apikey.Record{UserID: "u"})
	if a, ok := r.cache.Get(apikey.HashOf("unknown-7")); !ok || !a.Found {
		t.Fatal("a new key is still absent")
	}
}

func TestACacheATenthTooSmallReadsOnDemandAndStaysCorrect(t *testing.T) {
	r := newRig(t, 8)
	// A base has 6 MiB; these keys take about 6.3 MiB.
	r.store.fill("key-", 7000, 800)
	r.run()
	r.eventually("a scan that does not fit", func() bool { return r.onDemandNow() })
	if r.cache.Stats().Complete {
		t.Fatal("the cache is reported as complete")
	}
	if held := r.mustBeRight(); held == 0 || held == 7000 {
		t.Fatalf("%d keys are cached: the test needs a cache that is too small", held)
	}
	if r.absent("nobody") {
		t.Fatal("a cache that is filled on demand reports an unknown key without a read")
	}
}

func TestACacheThatIsTooSmallKeepsTheKeysInUse(t *testing.T) {
	r := newRig(t, 8)
	const keys, used, betweenUses = 7000, 100, 300
	r.store.fill("key-", keys, 800)
	r.run()
	r.eventually("a scan that does not fit", r.onDemandNow)
	misses := 0
	for i := used; i < keys; i++ {
		r.request(fmt.Sprint("key-", i))
		if i%betweenUses != 0 {
			continue
		}
		for j := range used {
			// The first times, they are not in use yet.
			if hit := r.request(fmt.Sprint("key-", j)); !hit && i > 3*betweenUses {
				misses++
			}
		}
	}
	// If the oldest entries made room for the others, each would be a miss at every tenth use.
	if misses > used/10 {
		t.Errorf("keys in use were read %d times", misses)
	}
}

// request is what a request does: it reads a key that is not cached.
func (r *rig) request(name string) (hit bool) {
	h := apikey.HashOf(name)
	if _, hit = r.cache.Get(h); hit {
		return true
	}
	ticket := r.cache.Begin()
	r.store.mutex.Lock()
	document := r.store.documents[h]
	r.store.mutex.Unlock()
	r.cache.Store(ticket, h, keycache.Found(document.ID, &document.Record))
	return false
}

// onDemandNow checks from outside that a scan did not fit.
func (r *rig) onDemandNow() bool {
	return !r.Loading() && counter(r.metrics.scans.WithLabelValues("does_not_fit")) >= 1
}

func TestAHotKeyOverwritten100000TimesLeavesTheCacheComplete(t *testing.T) {
	r := newRig(t, 4)
	r.store.fill("key-", 500, 100)
	r.run()
	r.becomesComplete()
	for i := range 100_000 {
		r.change("key-7", apikey.Record{UserID: fmt.Sprint("user-", i), Name: strings.Repeat("x", 100)})
		if i%1000 == 0 && !r.cache.Stats().Complete {
			t.Fatal("the cache is not complete any more")
		}
	}
	if a, ok := r.cache.Get(apikey.HashOf("key-7")); !ok || a.Record.UserID != "user-99999" {
		t.Fatalf("got %+v, %v", a.Record, ok)
	}
	if held := r.mustBeRight(); held != 500 {
		t.Fatalf("%d of 500 keys are cached", held)
	}
	if n := r.scanned(); n != 1 {
		t.Errorf("%d scans, want the first one", n)
	}
}

// When more keys have changed than the overlay can hold, a second base is filled beside the one in
// use.
func TestManyChangedKeysAreFollowedByARebuild(t *testing.T) {
	r := newRig(t, 16)
	r.store.fill("key-", 5000, 100)
	r.run()
	r.becomesComplete()
	r.withoutScan(func() {
		for i := range 5000 {
			r.change(fmt.Sprint("key-", i), apikey.Record{UserID: "changed", Name: strings.Repeat("x", 300)})
		}
	})
	r.eventually("a rebuild", func() bool { return counter(r.metrics.requests.WithLabelValues("rebuild")) > 0 && !r.isRebuildDue() })
	r.becomesComplete()
	if held := r.mustBeRight(); held != 5000 {
		t.Fatalf("%d of 5000 keys are cached", held)
	}
}

func (r *rig) isRebuildDue() bool {
	_, worth := r.cache.Rebuild()
	return worth
}

func TestACollectionThatOutgrowsTheCacheStaysCorrect(t *testing.T) {
	r := newRig(t, 8)
	r.store.fill("key-", 4000, 800)
	r.run()
	r.becomesComplete()
	r.withoutScan(func() {
		for i := range 4000 {
			r.change(fmt.Sprint("more-", i), apikey.Record{UserID: "u", Name: strings.Repeat("x", 800)})
		}
	})
	r.eventually("a scan that does not fit", r.onDemandNow)
	// What the base holds, it keeps, and no new key is unknown.
	if held := r.mustBeRight(); held < 4000 || held == 8000 {
		t.Fatalf("%d of 8000 keys are cached", held)
	}
	if !r.cache.Stats().Complete {
		t.Fatal("the cache is not complete any more")
	}
}

func TestACollectionThatFitsAgainBecomesComplete(t *testing.T) {
	r := newRig(t, 8, func(c *Config) { c.AuditInterval = 50 * time.Millisecond })
	r.store.fill("key-", 7000, 800)
	r.run()
	r.eventually("a scan that does not fit", r.onDemandNow)
	r.withoutScan(func() {
		for i := range 4000 {
			r.remove(fmt.Sprint("key-", i))
		}
	})
	r.becomesComplete()
	if held := r.mustBeRight(); held != 3000 || !r.absent("key-1") {
		t.Fatalf("%d of 3000 keys are cached", held)
	}
}

func TestARecordOf1MBIsNeverAnUnknownKey(t *testing.T) {
	r := newRig(t, 4)
	r.store.fill("key-", 100, 0)
	r.store.put("large", apikey.Record{UserID: "u", Name: strings.Repeat("x", 1<<20)})
	r.run()
	r.becomesComplete()
	if _, ok := r.cache.Get(apikey.HashOf("large")); ok {
		t.Fatal("the large record is answered from the cache")
	}
	if !r.absent("nobody") || r.mustBeRight() != 100 {
		t.Fatal("the others suffer from it")
	}
}

func TestAScanStartsOverWhenItsCursorFails(t *testing.T) {
	r := newRig(t, 4)
	r.store.fill("key-", 100, 0)
	r.store.dies = 2
	r.run()
	r.becomesComplete()
	if r.store.scans != 3 {
		t.Fatalf("%d scans", r.store.scans)
	}
}

func TestALossIsFollowedByAScan(t *testing.T) {
	r := newRig(t, 4)
	r.store.fill("key-", 100, 0)
	r.run()
	r.becomesComplete()
	r.tail.Lock()
	r.cache.Lose()
	r.store.put("meanwhile", apikey.Record{UserID: "u"})
	r.cache.Open(500)
	r.tail.Unlock()
	r.becomesComplete()
	if a, ok := r.cache.Get(apikey.HashOf("meanwhile")); !ok || !a.Found {
		t.Fatal("a key that was inserted during the loss is not cached")
	}
}

func TestACorruptedEntryIsFoundByTheAudit(t *testing.T) {
	r := newRig(t, 4, func(c *Config) { c.AuditInterval = 50 * time.Millisecond })
	r.store.fill("key-", 100, 0)
	r.run()
	r.becomesComplete()
	h := apikey.HashOf("key-7")
	// A change ends the entry in the base, and something wrong is read.
	r.tail.Lock()
	r.at++
	r.cache.Apply(&keycache.Change{ID: "key-7", Time: r.at})
	r.tail.Unlock()
	r.cache.Store(r.cache.Begin(), h, keycache.Finding{Found: true, ID: "key-7", Record: &apikey.Record{KeyID: "key-7", UserID: "intruder", Active: true}})
	r.eventually("the mismatch is counted", func() bool { return r.cache.Stats().Mismatches == 1 })
	if a, ok := r.cache.Get(h); !ok || a.Record.UserID != "u" {
		t.Fatalf("it was not replaced: %+v", a.Record)
	}
}

// A cursor is not one snapshot: while it runs, a hash may move, in one
// transaction, from a document that the cursor has not reached to one that it
// has passed. The cache must not become complete before the stream has
// delivered that change.
func TestAHashThatMovesBehindTheCursorIsNotUnknown(t *testing.T) {
	r := newRig(t, 4)
	from, to := r.store.put("from", apikey.Record{UserID: "u"}), keystore.Document{}
	r.store.moved = func() {
		// The cursor has passed the place of "to", and has not yet seen "from".
		to = keystore.Document{ID: "to", Hash: from.Hash, HasHash: true, Record: apikey.Record{KeyID: "to", UserID: "u", Active: true}}
	}
	r.hold()
	r.run()
	r.eventually("the scan has read", func() bool { r.store.mutex.Lock(); defer r.store.mutex.Unlock(); return r.store.scans == 1 })
	// As long as the stream is stopped, the cache must not become complete.
	for until := time.Now().Add(200 * time.Millisecond); time.Now().Before(until); {
		if r.absent("from") {
			t.Fatal("a hash that was never absent is known to be absent")
		}
	}
	r.tail.Lock()
	r.at++
	r.cache.Apply(&keycache.Change{ID: to.ID, Time: r.at, Hash: to.Hash, HasHash: true, Record: &to.Record})
	r.held = false
	r.tail.Unlock()
	r.becomesComplete()
	// The scan has not seen the document, so only the event shows who has the
	// hash.
	if a, ok := r.cache.Get(from.Hash); ok && (!a.Found || a.Record.KeyID != "to") {
		t.Fatalf("got %+v", a)
	}
}

func TestManyNewKeysAreScannedForSoon(t *testing.T) {
	r := newRig(t, 64)
	r.run()
	r.becomesComplete()
	for i := range 1 << 16 / 10 { // a tenth of the slots
		r.change(fmt.Sprint("new-", i), apikey.Record{UserID: "u"})
	}
	r.eventually("the completeness moves forward", func() bool { return r.cache.Stats().MovedShare < DefaultMovedShare })
}

func TestOffNeverScans(t *testing.T) {
	r := newRig(t, 4, func(c *Config) { c.Mode = Off })
	r.run()
	if r.Loading() || r.store.scans != 0 {
		t.Fatal("off is on")
	}
}

func TestAutoDoesNotTryWhatCannotFit(t *testing.T) {
	r := newRig(t, 4, func(c *Config) { c.CacheBytes = 600 })
	r.store.fill("key-", 10, 0)
	r.run()
	r.eventually("the attempt ends", func() bool { return counter(r.metrics.scans.WithLabelValues("does_not_fit")) == 1 && !r.Loading() })
	if r.store.scans != 0 {
		t.Fatal("it was scanned all the same")
	}
}

func TestConfigNamesEveryMistake(t *testing.T) {
	_, err := New(Config{Mode: "sometimes", RetryPause: -1})
	for _, want := range []string{"cache and a store", "sometimes", "pauses"} {
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %v", want, err)
		}
	}
}

func counter(c prometheus.Counter) float64 { return testutil.ToFloat64(c) }

func TestLastScanReportsItsDuration(t *testing.T) {
	r := newRig(t, 8)
	r.store.fill("k", 1000, 0)
	r.store.dies = 1
	if r.LastScan() != 0 {
		t.Error("known before there was one")
	}
	before := time.Now()
	r.run()
	r.becomesComplete()
	if took := r.LastScan(); took <= 0 || took > time.Since(before) {
		t.Errorf("it took %v", took)
	}
}

// Suspects that changes have explained need no read, and no wait for the
// stream.
func TestAnAuditReadsOnlyValidEntries(t *testing.T) {
	const keys = 100
	paced(t, func(r *rig) {
		var suspects []apikey.Hash
		insert := func(name string) keystore.Document {
			d := r.store.put(name, apikey.Record{})
			r.apply(&keycache.Change{ID: d.ID, Hash: d.Hash, HasHash: true, Record: &d.Record})
			suspects = append(suspects, d.Hash)
			return d
		}
		for i := range keys - 1 {
			r.apply(&keycache.Change{ID: insert(fmt.Sprint("flood-", i)).ID})
		}
		// Its slots may be those of another key. Then the event of its insert stores no entry.
		for i := 0; !r.cache.NeedsAudit(suspects[len(suspects)-1]); i++ {
			insert(fmt.Sprint("valid-", i))
		}
		before := r.store.reads
		r.audit(r.t.Context(), suspects)
		if n := r.store.reads - before; n != 1 {
			r.t.Errorf("%d of %d suspects are read, one has a valid entry", n, keys)
		}
	})
}

// apply applies a change at the next cluster time.
func (r *rig) apply(change *keycache.Change) {
	r.tail.Lock()
	defer r.tail.Unlock()
	r.at++
	change.Time = r.at
	r.cache.Apply(change)
}

// heartbeatAt is a server whose time is later than what the stream has shown.
type heartbeatAt clustertime.Time

func (p heartbeatAt) Beat(context.Context) (clustertime.Time, error) { return clustertime.Time(p), nil }

// What the scan reads must not be older than the index that it depends on.
func TestAScanReadsNothingFromBeforeTheIndexCheck(t *testing.T) {
	paced(t, func(r *rig) {
		if r.store.after != 7000 {
			r.t.Errorf("the scan reads after %v, and the index was seen at 7000", r.store.after)
		}
	}, func(c *Config) { c.Heartbeater = heartbeatAt(7000) })
}

// observer notes what it is told, in words.
type observer struct {
	mutex sync.Mutex
	words []string
	saw   int
}

func (o *observer) Begin() {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.words, o.saw = append(o.words, "begin"), 0
}

func (o *observer) See(id apikey.DocID, record *apikey.Record) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	if string(id) != record.KeyID {
		o.words = append(o.words, "another record")
	}
	o.saw++
}

func (o *observer) End(complete bool) {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	o.words = append(o.words, fmt.Sprint("end of ", o.saw, " ", complete))
}

func (o *observer) all() string {
	o.mutex.Lock()
	defer o.mutex.Unlock()
	return strings.Join(o.words, ", ")
}

// TestAnObserverSeesEachScan, and whether it has read every document.
func TestAnObserverSeesEachScan(t *testing.T) {
	o := &observer{}
	r := newRig(t, 4, func(c *Config) { c.Observer = o })
	r.store.fill("key-", 10, 0)
	unfindable := keystore.Document{ID: "no-hash", Record: apikey.Record{KeyID: "no-hash", Defect: "it has no hash"}}
	r.store.documents[apikey.Hash{}] = unfindable
	r.store.dies = 1
	r.run()
	r.eventually("the observer sees both scans", func() bool { return strings.Count(o.all(), "end") == 2 })
	if got := o.all(); !strings.HasSuffix(got, "false, begin, end of 10 true") {
		t.Errorf("got %s", got)
	}
}

// TestAnObserverLearnsOfAScanThatIsNotMade.
func TestAnObserverLearnsOfAScanThatIsNotMade(t *testing.T) {
	o := &observer{}
	r := newRig(t, 4, func(c *Config) { c.Observer, c.CacheBytes = o, 600 })
	r.store.fill("key-", 10, 0)
	r.run()
	r.eventually("the attempt ends", func() bool { return !r.Loading() })
	if got := o.all(); got != "begin, end of 0 false" {
		t.Errorf("got %s", got)
	}
}
