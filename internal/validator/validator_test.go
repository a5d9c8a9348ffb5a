package validator

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongotest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(mongotest.Main(m)) }

// fakeStore holds documents by hash. A read takes its value when it begins and
// then waits for leave, so that a test can change the documents during a read.
type fakeStore struct {
	mutex     sync.Mutex
	documents map[apikey.Hash]keystore.Document
	err       error
	missing   error
	reads     int
	floors    []clustertime.Time
	// batches are the ids of each read by _id.
	batches [][]apikey.DocID
	// linear counts the linearizable reads, linearErr is their error.
	linear    int
	linearErr error
	inspected int
	// onInspect is called while the collection is inspected. Nil: nothing is.
	onInspect func()
	// began gets one value for each read that has begun, if it is not nil; the
	// read then waits for leave.
	began chan struct{}
	leave chan struct{}
}

func (s *fakeStore) put(h apikey.Hash, d keystore.Document) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	d.Hash, d.HasHash = h, true
	s.documents[h] = d
}

func (s *fakeStore) FindByHash(ctx context.Context, h apikey.Hash, after clustertime.Time) (keystore.Document, bool, error) {
	s.mutex.Lock()
	err := s.err
	s.reads++
	s.floors = append(s.floors, after)
	s.mutex.Unlock()
	return s.look(ctx, h, err)
}

func (s *fakeStore) FindLinearizable(ctx context.Context, h apikey.Hash) (keystore.Document, bool, error) {
	s.mutex.Lock()
	err := s.linearErr
	s.linear++
	s.mutex.Unlock()
	return s.look(ctx, h, err)
}

func (s *fakeStore) look(ctx context.Context, h apikey.Hash, err error) (keystore.Document, bool, error) {
	if _, ok := ctx.Deadline(); !ok {
		return keystore.Document{}, false, keystore.ErrNoDeadline
	}
	s.mutex.Lock()
	d, ok := s.documents[h]
	began, leave := s.began, s.leave
	s.mutex.Unlock()
	if err != nil {
		ok = false
	}
	if began != nil {
		began <- struct{}{}
		select {
		case <-leave:
		case <-ctx.Done():
			return keystore.Document{}, false, ctx.Err()
		}
	}
	return d, ok, err
}

func (s *fakeStore) FindByIDs(_ context.Context, ids []apikey.DocID, after clustertime.Time) ([]keystore.Document, error) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.floors = append(s.floors, after)
	s.batches = append(s.batches, ids)
	var found []keystore.Document
	for _, d := range s.documents {
		if slices.Contains(ids, d.ID) {
			found = append(found, d)
		}
	}
	return found, s.err
}

func (s *fakeStore) Inspect(context.Context) error {
	if s.onInspect != nil {
		s.onInspect()
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.inspected++
	return s.missing
}

func (s *fakeStore) block() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.began, s.leave = make(chan struct{}), make(chan struct{})
}

func (s *fakeStore) release() {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	close(s.leave)
	s.began = nil
}

func (s *fakeStore) count() int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.reads
}

func (s *fakeStore) linearCount() int {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.linear
}

// rig is a validator over a live cache and a fake store, on a clock that the
// test sets.
type rig struct {
	*Validator
	cache *keycache.Cache
	store *fakeStore
	clock *fakeClock
}

type fakeClock struct {
	mutex sync.Mutex
	now   time.Time
	// since is when the clock began to run, zero while it stops.
	since time.Time
}

func (c *fakeClock) Now() time.Time {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	if c.since.IsZero() {
		return c.now
	}
	return c.now.Add(time.Since(c.since))
}

// follow lets the clock run with the clock of a synctest bubble.
func (c *fakeClock) follow() {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.since = time.Now()
}

func (c *fakeClock) advance(d time.Duration) {
	c.mutex.Lock()
	defer c.mutex.Unlock()
	c.now = c.now.Add(d)
}

func newRig(t testing.TB, change ...func(*Config)) *rig {
	t.Helper()
	clock := &fakeClock{now: time.Now()}
	cache, err := keycache.New(keycache.Config{SizeMiB: 3, Slots: 1 << 10, Now: clock.Now})
	if err != nil {
		t.Fatal(err)
	}
	store := &fakeStore{documents: map[apikey.Hash]keystore.Document{}}
	config := Config{Cache: cache, Store: store, Now: clock.Now}
	for _, f := range change {
		f(&config)
	}
	v, err := New(config)
	if err != nil {
		t.Fatal(err)
	}
	return &rig{Validator: v, cache: cache, store: store, clock: clock}
}

func live(t testing.TB, change ...func(*Config)) *rig {
	t.Helper()
	r := newRig(t, change...)
	r.cache.Open(100)
	r.cache.Fresh(keycache.Freshness{AsOf: r.clock.Now(), Processed: 100})
	return r
}

const text = "a-key-of-another-maker"

var hash = apikey.HashOf(text)

func document(user string) keystore.Document {
	return keystore.Document{ID: "d1", Record: apikey.Record{KeyID: "d1", UserID: user, Active: true}}
}

func (r *rig) validate() apikey.Verdict {
	return r.Validate(context.Background(), text, &apikey.Request{})
}

func mustBe(t testing.TB, got apikey.Verdict, code apikey.Code, source apikey.Source) {
	t.Helper()
	if got.Code != code || got.Source != source {
		t.Fatalf("got %v from %q, want %v from %q", got.Code, got.Source, code, source)
	}
}

func TestAMissIsReadOnceAndThenCached(t *testing.T) {
	r := live(t)
	r.store.put(hash, document("u1"))
	mustBe(t, r.validate(), apikey.Valid, apikey.SourceFill)
	v := r.validate()
	mustBe(t, v, apikey.Valid, apikey.SourceCache)
	if v.Record.UserID != "u1" || v.AsOf.IsZero() || v.Revision != 100 {
		t.Fatalf("got %+v", v)
	}
	if r.store.count() != 1 || r.store.floors[0] != 100 {
		t.Fatalf("%d reads after %v", r.store.count(), r.store.floors)
	}
}

func TestAnUnknownKeyIsReadOnceAndThenCached(t *testing.T) {
	r := live(t)
	mustBe(t, r.validate(), apikey.NotFound, apikey.SourceFill)
	mustBe(t, r.validate(), apikey.NotFound, apikey.SourceCache)
	if r.store.count() != 1 {
		t.Fatalf("%d reads", r.store.count())
	}
}

func TestAMalformedTextCausesNoRead(t *testing.T) {
	r := live(t)
	for text, want := range map[string]apikey.Code{
		"":                        apikey.Missing,
		"x":                       apikey.Malformed,
		strings.Repeat("x", 1024): apikey.Malformed,
		"has a space in it":       apikey.Malformed,
	} {
		mustBe(t, r.Validate(context.Background(), text, &apikey.Request{}), want, apikey.SourceNone)
	}
	if r.store.count() != 0 {
		t.Fatal("the database was read")
	}
}

// TestAKeyIsHashedAfterItsPrefix: a text without the prefix is not a key of
// this collection, even if the collection contains its hash.
func TestAKeyIsHashedAfterItsPrefix(t *testing.T) {
	r := live(t, func(c *Config) {
		var err error
		if c.Hasher, err = apikey.NewHasher(apikey.SHA256, nil, "sk_live_"); err != nil {
			t.Fatal(err)
		}
	})
	r.store.put(hash, document("u1"))
	mustBe(t, r.validate(), apikey.Malformed, apikey.SourceNone)
	ask := func(text string) apikey.Verdict {
		return r.Validate(context.Background(), text, &apikey.Request{})
	}
	mustBe(t, ask("sk_test_"+text), apikey.Malformed, apikey.SourceNone)
	if r.store.count() != 0 {
		t.Fatal("the database was read")
	}
	mustBe(t, ask("sk_live_"+text), apikey.Valid, apikey.SourceFill)
	mustBe(t, ask("sk_live_"+text), apikey.Valid, apikey.SourceCache)
}

// TestRequireBinding: whether the data come from a read or from the cache, a bound key needs
// a request that names what it is for.
func TestRequireBinding(t *testing.T) {
	for _, required := range []bool{false, true} {
		r := live(t, func(c *Config) { c.RequireBinding = required })
		bound := document("u1")
		bound.Record.OrgID, bound.Record.ProjectID = "acme", "p1"
		r.store.put(hash, bound)
		unnamed := apikey.Forbidden
		if !required {
			unnamed = apikey.Valid
		}
		for _, source := range []apikey.Source{apikey.SourceFill, apikey.SourceCache} {
			request := apikey.Request{}
			mustBe(t, r.Validate(context.Background(), text, &request), unnamed, source)
			if request.RequireOrg || request.RequireProject {
				t.Errorf("the caller's request became %+v", request)
			}
		}
		for _, test := range []struct {
			request apikey.Request
			want    apikey.Code
		}{
			{apikey.Request{OrgID: "acme", ProjectID: "p1"}, apikey.Valid},
			{apikey.Request{OrgID: "acme"}, unnamed},
			{apikey.Request{ProjectID: "p1"}, unnamed},
			{apikey.Request{OrgID: "emca", ProjectID: "p1"}, apikey.Forbidden},
			{apikey.Request{RequireOrg: true}, apikey.Forbidden},
			{apikey.Request{RequireProject: true}, apikey.Forbidden},
		} {
			if got := r.Validate(context.Background(), text, &test.request); got.Code != test.want {
				t.Errorf("RequireBinding %v, %+v: %v, want %v", required, test.request, got.Code, test.want)
			}
		}
	}
}

func TestAnOutageIsUnavailable(t *testing.T) {
	noPrimary := errors.New("no primary")
	for name, r := range map[string]*rig{
		"on a miss": live(t), "when the stream has lost its history": live(t), "when memory is stale": live(t),
	} {
		switch name {
		case "when the stream has lost its history":
			r.cache.Lose()
		case "when memory is stale":
			r.clock.advance(keycache.DefaultMaxStale + 1)
		}
		r.store.err, r.store.linearErr = noPrimary, noPrimary
		v := r.validate()
		mustBe(t, v, apikey.Unavailable, apikey.SourceNone)
		if !v.AsOf.IsZero() || v.Record != nil {
			t.Fatalf("%s: got %+v", name, v)
		}
	}
}

func TestExpiryIsExactWithoutAnEvent(t *testing.T) {
	r := live(t)
	d := document("u1")
	d.Record.ExpiresAt = r.clock.Now().Add(time.Second)
	r.store.put(hash, d)
	mustBe(t, r.validate(), apikey.Valid, apikey.SourceFill)
	r.clock.advance(time.Second - time.Millisecond)
	mustBe(t, r.validate(), apikey.Valid, apikey.SourceCache)
	r.clock.advance(time.Millisecond)
	mustBe(t, r.validate(), apikey.Expired, apikey.SourceCache)
}

func TestCallersOfOneHashShareARead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := live(t)
		r.store.put(hash, document("u1"))
		r.store.block()
		go func() { <-r.store.began }()
		var callers []*pendingRequest
		for range 5 {
			callers = append(callers, r.start(t.Context(), text))
		}
		r.store.release()
		synctest.Wait()
		for _, a := range callers {
			mustBe(t, a.verdict, apikey.Valid, apikey.SourceFill)
		}
		if r.store.count() != 1 {
			t.Fatalf("%d reads for one hash", r.store.count())
		}
		if n := testutil.ToFloat64(r.metrics.joined.WithLabelValues(string(kindFill))); n != 4 {
			t.Errorf("%v callers have joined the flight of another, want 4", n)
		}
		if n := testutil.ToFloat64(r.metrics.revalidations.WithLabelValues(resultValid)); n != 5 {
			t.Errorf("%v revalidations, want one for each of 5 callers", n)
		}
	})
}

func TestALateCallerGetsNothingOlderThanItsArrival(t *testing.T) {
	r := live(t)
	r.store.put(hash, document("old"))
	r.store.block()
	verdicts := make(chan apikey.Verdict)
	go func() { verdicts <- r.validate() }()
	<-r.store.began // It has read "old", and has not returned yet.

	r.store.put(hash, document("new"))
	r.cache.Apply(&keycache.Change{ID: "d1", Time: 170})
	go func() { verdicts <- r.validate() }()
	r.store.release()
	for range 2 {
		v := <-verdicts
		if v.Code != apikey.Valid || v.Record.UserID != "new" {
			t.Fatalf("got %+v of %+v", v, v.Record)
		}
	}
	if got := r.store.floors[len(r.store.floors)-1]; got != 170 {
		t.Fatalf("the second read is after %d, want 170", got)
	}
	if n := testutil.ToFloat64(r.metrics.revalidations.WithLabelValues(resultOutdated)); n < 1 {
		t.Error("the result that was outdated is not counted")
	}
}

func TestACallerThatLeavesDoesNotEndTheFlight(t *testing.T) {
	r := live(t)
	r.store.put(hash, document("u1"))
	r.store.block()
	ctx, leave := context.WithCancel(context.Background())
	first := make(chan apikey.Verdict)
	go func() { first <- r.Validate(ctx, text, &apikey.Request{}) }()
	<-r.store.began
	leave()
	mustBe(t, <-first, apikey.Unavailable, apikey.SourceNone)
	second := make(chan apikey.Verdict)
	go func() { second <- r.validate() }()
	r.store.release()
	if v := <-second; v.Code != apikey.Valid {
		t.Fatalf("got %+v", v)
	}
	if r.store.count() != 1 {
		t.Fatalf("%d reads", r.store.count())
	}
}

func TestReadsBeyondTheLimitAreUnavailable(t *testing.T) {
	r := live(t, func(c *Config) { c.MaxReads = 1 })
	r.store.put(hash, document("u1"))
	r.store.block()
	first := make(chan apikey.Verdict)
	go func() { first <- r.validate() }()
	<-r.store.began
	other := r.Validate(context.Background(), "another-key-text", &apikey.Request{})
	mustBe(t, other, apikey.Unavailable, apikey.SourceNone)
	mustUse(t, r, 1)
	r.store.release()
	mustBe(t, <-first, apikey.Valid, apikey.SourceFill)
	mustUse(t, r, 0)
	if got := testutil.ToFloat64(r.metrics.outages.WithLabelValues("busy")); got != 1 {
		t.Fatalf("busy is counted %v times", got)
	}
}

// mustUse compares the reads in progress, as the metrics have them.
func mustUse(t *testing.T, r *rig, want int64) {
	t.Helper()
	if n := r.reading.Load(); n != want {
		t.Errorf("%d reads are in progress, want %d", n, want)
	}
}

func TestAfterALossReadsAreNotStored(t *testing.T) {
	r := live(t)
	r.store.put(hash, document("u1"))
	r.cache.Lose()
	mustBe(t, r.validate(), apikey.Valid, apikey.SourceDirect)
	mustBe(t, r.validate(), apikey.Valid, apikey.SourceDirect)
	r.cache.Open(200)
	mustBe(t, r.validate(), apikey.Valid, apikey.SourceFill)
}

func TestACollectionThatVanishedIsUnavailable(t *testing.T) {
	r := live(t)
	r.cache.Lose()
	mustBe(t, r.validate(), apikey.NotFound, apikey.SourceDirect)
	r.store.missing = keystore.ErrCollectionMissing
	mustBe(t, r.validate(), apikey.Unavailable, apikey.SourceNone)
}

// A collection that is renamed away and back exists again when it is inspected.
func TestARecreatedCollectionIsReadAgain(t *testing.T) {
	for name, begin := range map[string]func(*testing.T) *rig{
		"history lost": func(t *testing.T) *rig { r := live(t); r.cache.Lose(); return r },
		"stale":        func(t *testing.T) *rig { return stale(t) },
	} {
		t.Run(name, func(t *testing.T) {
			r := begin(t)
			r.store.onInspect = func() { r.store.put(hash, document("u1")) }
			if v := r.validate(); v.Code != apikey.Valid {
				t.Errorf("%v of a key that was never gone", v.Code)
			}
		})
	}
}

func TestRefreshMakesAnUpdatedKeyAHit(t *testing.T) {
	r := live(t)
	r.store.put(hash, document("old"))
	r.validate()
	r.store.put(hash, document("new"))
	r.cache.Apply(&keycache.Change{ID: "d1", Time: 170, Refresh: true})
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- r.RunRefresh(ctx) }()
	deadline := time.Now().Add(10 * time.Second)
	for {
		if a, ok := r.cache.Get(hash); ok && a.Record.UserID == "new" {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("the key was not refreshed")
		}
	}
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	if r.store.count() != 1 {
		t.Fatalf("%d reads by hash, want the first alone", r.store.count())
	}
}

// TestAFloodOfUpdatesCausesFewReads: all waiting documents are read together,
// each once.
func TestAFloodOfUpdatesCausesFewReads(t *testing.T) {
	r := live(t)
	for i := range 250 {
		r.cache.Apply(&keycache.Change{ID: apikey.DocID(fmt.Sprintf("d%03d", i%60)), Time: 170, Refresh: true})
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- r.RunRefresh(ctx) }()
	batches := func() [][]apikey.DocID {
		r.store.mutex.Lock()
		defer r.store.mutex.Unlock()
		return slices.Clone(r.store.batches)
	}
	mongotest.Eventually(t, 10*time.Second, func() bool { return len(r.cache.Refreshes()) == 0 && len(batches()) == 3 }, "250 updates are not three reads")
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
	read := map[apikey.DocID]bool{}
	for _, batch := range batches() {
		if len(batch) > 100 || len(slices.Compact(slices.Clone(batch))) != len(batch) {
			t.Errorf("%d ids, or one twice: %v", len(batch), batch)
		}
		for _, id := range batch {
			read[id] = true
		}
	}
	if len(read) != 60 {
		t.Errorf("%d of 60 documents read", len(read))
	}
}

// TestAFloodOfUpdatesLeavesTheDatabaseTime: there is a pause as long as the
// read while more updates are waiting, and none after the last one.
func TestAFloodOfUpdatesLeavesTheDatabaseTime(t *testing.T) {
	pauses, over := make(chan time.Duration), make(chan time.Time)
	now := time.Now()
	r := live(t, func(c *Config) {
		// Each reading of the clock, before and after a read, is 30 ms after
		// the last one.
		c.Now = func() time.Time {
			now = now.Add(30 * time.Millisecond)
			return now
		}
		c.After = func(d time.Duration) <-chan time.Time {
			pauses <- d
			return over
		}
	})
	for i := range 150 {
		r.cache.Apply(&keycache.Change{ID: apikey.DocID(fmt.Sprint("d", i)), Time: 170, Refresh: true})
	}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error)
	go func() { done <- r.RunRefresh(ctx) }()
	select {
	case got := <-pauses:
		if got != 30*time.Millisecond {
			t.Errorf("a pause of %v after a read of 30 ms", got)
		}
		over <- time.Time{}
	case <-time.After(10 * time.Second):
		t.Error("there is no pause")
	}
	// A second pause would block here, because nothing would end it.
	mongotest.Eventually(t, 10*time.Second, func() bool { return len(r.cache.Refreshes()) == 0 }, "the rest is not read")
	stop()
	if err := <-done; err != nil {
		t.Fatal(err)
	}
}

func TestVerdictsAreCountedByCodeAndSource(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	r := live(t, func(c *Config) { c.Registerer = registry })
	r.store.put(hash, document("u1"))
	r.validate()
	r.validate()
	r.Refuse(apikey.Malformed)
	if n := testutil.ToFloat64(r.metrics.reads.WithLabelValues(string(kindFill), resultFound)); n != 1 {
		t.Errorf("%v fills that have found the key, want 1", n)
	}
	want := `
# HELP keytail_limit_maximum The maximum of each limit (keytail_limit_used).
# TYPE keytail_limit_maximum gauge
keytail_limit_maximum{limit="reads"} 92
keytail_limit_maximum{limit="unreached_reads"} 11
`
	if err := testutil.GatherAndCompare(registry, strings.NewReader(want), "keytail_limit_maximum"); err != nil {
		t.Error(err)
	}
	for source, n := range map[apikey.Source]float64{apikey.SourceFill: 1, apikey.SourceCache: 1, apikey.SourceDirect: 0} {
		if got := r.metrics.verdicts[apikey.Valid][source].Value(); got != n {
			t.Errorf("VALID from %q is counted %v times, want %v", source, got, n)
		}
	}
	if got := r.metrics.verdicts[apikey.Malformed][apikey.SourceNone].Value(); got != 1 {
		t.Errorf("MALFORMED is counted %v times", got)
	}
}

func TestConfigNamesEveryMistake(t *testing.T) {
	_, err := New(Config{Prefix: "not a prefix", ReadTimeout: -1, MaxReads: -1})
	if err == nil {
		t.Fatal("no error")
	}
	for _, want := range []string{"cache and a store", "a key prefix", "read timeout", "concurrent reads"} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("%q is not in %q", want, err)
		}
	}
}
