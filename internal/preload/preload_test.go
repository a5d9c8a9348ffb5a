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
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = 20 * time.Second

// fakeStore is a collection in memory.
type fakeStore struct {
	mutex     sync.Mutex
	documents map[apikey.Hash]keystore.Document
	// moved, when set, is called by the first scan, which then sees nothing.
	moved func()
	// dies is how many scans fail halfway.
	dies  int
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
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return int64(len(s.documents)), nil
}

func (s *fakeStore) Scan(_ context.Context, after clustertime.Time, see func(keystore.Document) error) error {
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
	s.mutex.Unlock()
	for i, d := range all {
		if dies && i == len(all)/2 {
			return errors.New("the cursor died")
		}
		if err := see(d); err != nil {
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
	cache, err := keycache.New(keycache.Config{SizeMiB: sizeMiB, Slots: 1 << 16, Complete: true})
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

func (r *rig) eventually(what string, cond func() bool) {
	r.t.Helper()
	deadline := time.After(patience)
	ticker := time.NewTicker(2 * time.Millisecond)
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
	// A generation has 3 MiB; these keys take about 3.3 MiB.
	r.store.fill("key-", 3500, 800)
	r.run()
	r.eventually("two scans that do not fit", func() bool { return r.onDemandNow() })
	if r.cache.Stats().Complete {
		t.Fatal("the cache is reported as complete")
	}
	if held := r.mustBeRight(); held == 0 || held == 3500 {
		t.Fatalf("%d keys are cached: the test needs a cache that is too small", held)
	}
	if r.absent("nobody") {
		t.Fatal("a cache that is filled on demand reports an unknown key without a read")
	}
}

// onDemandNow checks from outside that two scans did not fit.
func (r *rig) onDemandNow() bool {
	return !r.Loading() && counter(r.metrics.scans.WithLabelValues("does_not_fit")) >= 2
}

func TestAHotKeyOverwritten100000TimesIsRebuiltInASecondGeneration(t *testing.T) {
	// The pause is longer than the storm: a rebuild during the storm may fail
	// once.
	r := newRig(t, 4, func(c *Config) { c.RebuildPause = 3 * time.Second })
	r.store.fill("key-", 500, 100)
	r.run()
	r.becomesComplete()
	for i := range 100_000 {
		r.change("key-7", apikey.Record{UserID: fmt.Sprint("user-", i), Name: strings.Repeat("x", 100)})
	}
	r.eventually("complete again", func() bool { return r.cache.Stats().Complete && r.mustBeRight() == 500 })
	if a, ok := r.cache.Get(apikey.HashOf("key-7")); !ok || a.Record.UserID != "user-99999" {
		t.Fatalf("got %+v, %v", a.Record, ok)
	}
	if counter(r.metrics.scans.WithLabelValues("complete")) < 2 {
		t.Fatal("it was not rebuilt: the test shows nothing")
	}
}

func TestACollectionThatDoublesStaysCorrect(t *testing.T) {
	r := newRig(t, 8)
	r.store.fill("key-", 2000, 800)
	r.run()
	r.becomesComplete()
	for i := range 2000 {
		r.change(fmt.Sprint("more-", i), apikey.Record{UserID: "u", Name: strings.Repeat("x", 800)})
	}
	r.eventually("two scans that do not fit", r.onDemandNow)
	r.mustBeRight()
	if r.absent("nobody") {
		t.Fatal("a cache that is filled on demand reports an unknown key without a read")
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
	r := newRig(t, 4, func(c *Config) { c.CacheBytes = 1000 })
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
		for i := range keys {
			name := fmt.Sprint("flood-", i)
			d := r.store.put(name, apikey.Record{})
			r.tail.Lock()
			r.at++
			r.cache.Apply(&keycache.Change{ID: d.ID, Time: r.at, Hash: d.Hash, HasHash: true, Record: &d.Record})
			if i > 0 {
				r.cache.Apply(&keycache.Change{ID: d.ID, Time: r.at})
			}
			r.tail.Unlock()
			suspects = append(suspects, d.Hash)
		}
		before := r.store.reads
		r.audit(r.t.Context(), suspects)
		if n := r.store.reads - before; n != 1 {
			r.t.Errorf("%d of %d suspects are read, one has a valid entry", n, keys)
		}
	})
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
	r := newRig(t, 4, func(c *Config) { c.Observer, c.CacheBytes = o, 1000 })
	r.store.fill("key-", 10, 0)
	r.run()
	r.eventually("the attempt ends", func() bool { return !r.Loading() })
	if got := o.all(); got != "begin, end of 0 false" {
		t.Errorf("got %s", got)
	}
}
