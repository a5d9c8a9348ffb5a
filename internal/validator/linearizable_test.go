package validator

import (
	"context"
	"errors"
	"fmt"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
)

// stale is a rig whose stream is not fresh.
func stale(t testing.TB, change ...func(*Config)) *rig {
	t.Helper()
	r := live(t, change...)
	r.clock.advance(keycache.DefaultMaxStale + 1)
	return r
}

// bubble runs a test with a stale rig on the clock of a synctest bubble.
func bubble(t *testing.T, f func(t *testing.T, r *rig), change ...func(*Config)) {
	t.Helper()
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		r := stale(t, change...)
		r.clock.follow()
		f(t, r)
	})
}

// pendingRequest is a request in progress.
type pendingRequest struct {
	verdict apikey.Verdict
	back    bool
	took    time.Duration
}

func (r *rig) start(ctx context.Context, text string) *pendingRequest {
	a := &pendingRequest{}
	begin := time.Now()
	go func() {
		a.verdict = r.Validate(ctx, text, &apikey.Request{})
		a.took, a.back = time.Since(begin), true
	}()
	synctest.Wait()
	return a
}

func (r *rig) outages(reason string) float64 {
	return testutil.ToFloat64(r.metrics.outages.WithLabelValues(reason))
}

func TestAStaleCacheCausesALinearizableRead(t *testing.T) {
	r := live(t)
	r.store.put(hash, document("old"))
	mustBe(t, r.validate(), apikey.Valid, apikey.SourceFill)
	r.clock.advance(keycache.DefaultMaxStale)
	mustBe(t, r.validate(), apikey.Valid, apikey.SourceCache)
	r.clock.advance(1)
	r.store.put(hash, document("new"))
	v := r.validate()
	mustBe(t, v, apikey.Valid, apikey.SourceLinearizable)
	if v.Record.UserID != "new" || v.Staleness != 0 || !v.AsOf.Equal(r.clock.Now()) || v.Revision != 100 {
		t.Fatalf("got %+v of %+v", v, v.Record)
	}
	// The result is never stored: the next request reads again, and when the
	// stream is fresh again, the cache still contains what was stored before.
	mustBe(t, r.validate(), apikey.Valid, apikey.SourceLinearizable)
	if r.store.linearCount() != 2 || r.store.count() != 1 {
		t.Fatalf("%d linearizable reads, %d fills", r.store.linearCount(), r.store.count())
	}
	r.cache.Fresh(keycache.Freshness{AsOf: r.clock.Now()})
	if v = r.validate(); v.Source != apikey.SourceCache || v.Record.UserID != "old" {
		t.Fatalf("got %+v of %+v", v, v.Record)
	}
}

func TestALinearizableReadIsNotStored(t *testing.T) {
	r := stale(t)
	mustBe(t, r.validate(), apikey.NotFound, apikey.SourceLinearizable)
	r.cache.Fresh(keycache.Freshness{AsOf: r.clock.Now(), Processed: 100})
	mustBe(t, r.validate(), apikey.NotFound, apikey.SourceFill)
	if r.store.count() != 1 {
		t.Fatal("the negative of a linearizable read was kept")
	}
}

func TestTheDatabaseIsReadBeforeTheFirstFreshness(t *testing.T) {
	r := newRig(t)
	r.store.put(hash, document("u1"))
	v := r.validate()
	mustBe(t, v, apikey.Valid, apikey.SourceLinearizable)
	if v.Revision != 0 {
		t.Fatalf("revision %d of a stream that has not begun", v.Revision)
	}
}

// If the data becomes stale during a read by the rule for fills, the key is
// read again.
func TestFillThatTurnsStaleIsReadLinearizably(t *testing.T) {
	for name, lose := range map[string]bool{"fill": false, "alone": true} {
		r := live(t)
		r.store.put(hash, document("u1"))
		if lose {
			r.cache.Lose()
		}
		r.store.block()
		verdict := make(chan apikey.Verdict)
		go func() { verdict <- r.validate() }()
		<-r.store.began
		r.clock.advance(keycache.DefaultMaxStale + 1)
		r.store.release()
		if v := <-verdict; v.Code != apikey.Valid || v.Source != apikey.SourceLinearizable || r.store.linearCount() != 1 {
			t.Fatalf("%s: got %+v", name, v)
		}
	}
}

// The age counts from before the read, because the read proves nothing about a
// later time.
func TestAgeOfALinearizableReadIsZeroAtItsStart(t *testing.T) {
	r := stale(t)
	r.store.put(hash, document("u1"))
	r.store.block()
	verdict := make(chan apikey.Verdict)
	start := r.clock.Now()
	go func() { verdict <- r.validate() }()
	<-r.store.began
	r.clock.advance(3 * time.Second)
	r.store.release()
	if v := <-verdict; v.Code != apikey.Valid || !v.AsOf.Equal(start) || v.Staleness != 3*time.Second {
		t.Fatalf("got %+v", v)
	}
	// An answer that is older than max_stale by then is not returned either.
	r.store.block()
	go func() { verdict <- r.validate() }()
	<-r.store.began
	r.clock.advance(keycache.DefaultMaxStale + 1)
	r.store.release()
	mustBe(t, <-verdict, apikey.Unavailable, apikey.SourceNone)
	if r.outages("stale") != 1 {
		t.Fatal("not counted as stale")
	}
}

func TestALinearizableReadIsSharedByEarlierCallers(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.store.put(hash, document("old"))
		r.store.block()
		begin := r.clock.Now()
		go func() { <-r.store.began }()
		first := r.start(t.Context(), text)
		r.store.put(hash, document("new")) // acknowledged now
		time.Sleep(500 * time.Millisecond)
		late := []*pendingRequest{r.start(t.Context(), text), r.start(t.Context(), text)}
		if r.store.linearCount() != 1 {
			t.Fatalf("%d concurrent reads", r.store.linearCount())
		}
		time.Sleep(500 * time.Millisecond)
		r.store.release()
		synctest.Wait()
		if !first.back || first.verdict.Record.UserID != "old" || !first.verdict.AsOf.Equal(begin) || first.verdict.Staleness != time.Second {
			t.Fatalf("first: %+v", first.verdict)
		}
		for _, a := range late {
			if !a.back || a.verdict.Record.UserID != "new" || a.verdict.AsOf.Sub(begin) != time.Second || a.verdict.Staleness != 0 {
				t.Fatalf("late: %+v", a.verdict)
			}
		}
		if r.store.linearCount() != 2 {
			t.Fatalf("%d reads for three callers", r.store.linearCount())
		}
	})
}

func TestACallerThatLeavesDoesNotEndALinearizableRead(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.store.put(hash, document("u1"))
		r.store.block()
		go func() { <-r.store.began }()
		ctx, leave := context.WithCancel(t.Context())
		first := r.start(ctx, text)
		leave()
		synctest.Wait()
		if !first.back || first.verdict.Code != apikey.Unavailable || r.outages("caller_left") != 1 {
			t.Fatalf("first: %+v", first)
		}
		second := r.start(t.Context(), text)
		r.store.release()
		synctest.Wait()
		if second.verdict.Code != apikey.Valid || r.Down() {
			t.Fatalf("second: %+v, down: %v", second, r.Down())
		}
	})
}

// A read without callers ends at its deadline: the bubble would not end while a
// goroutine is left.
func TestALinearizableReadEndsAtItsDeadline(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.store.block()
		go func() { <-r.store.began }()
		ctx, leave := context.WithCancel(t.Context())
		r.start(ctx, text)
		leave()
		time.Sleep(DefaultReadTimeout)
		synctest.Wait()
		if !r.Down() || len(r.linearizable.flights) != 0 {
			t.Fatalf("down: %v, %d flights", r.Down(), len(r.linearizable.flights))
		}
	})
}

func TestAfterATimeoutOneIsLetThroughUntilOneSucceeds(t *testing.T) {
	bubble(t, func(t *testing.T, r *rig) {
		r.store.put(hash, document("u1"))
		r.store.block()
		go func() {
			for range r.store.began {
			}
		}()
		began := r.store.began
		first, other := r.start(t.Context(), text), r.start(t.Context(), "another-key-text")
		if r.Down() {
			t.Fatal("down before anything has failed")
		}
		time.Sleep(DefaultReadTimeout)
		synctest.Wait()
		for _, a := range []*pendingRequest{first, other} {
			if a.verdict.Code != apikey.Unavailable || a.took != DefaultReadTimeout {
				t.Fatalf("got %+v", a)
			}
		}
		if !r.Down() || r.outages("timeout") != 2 {
			t.Fatal("not down")
		}
		probe := r.start(t.Context(), text)
		for _, text := range []string{text, "another-key-text"} {
			if a := r.start(t.Context(), text); !a.back || a.verdict.Code != apikey.Unavailable {
				t.Fatalf("%s waits while one is let through: %+v", text, a)
			}
		}
		if probe.back || r.store.linearCount() != 3 || r.outages("breaker") != 2 {
			t.Fatalf("%d reads, %v refused", r.store.linearCount(), r.outages("breaker"))
		}
		r.store.release()
		close(began)
		synctest.Wait()
		if probe.verdict.Code != apikey.Valid || r.Down() {
			t.Fatalf("probe: %+v, down: %v", probe, r.Down())
		}
		if a := r.start(t.Context(), "another-key-text"); a.verdict.Code != apikey.NotFound {
			t.Fatalf("afterwards: %+v", a)
		}
	})
}

func TestWhichErrorsOpenTheBreaker(t *testing.T) {
	for _, c := range []struct {
		err  error
		down bool
	}{
		{context.DeadlineExceeded, true},
		{errors.New("connection reset"), true},
		{keystore.ErrUnreachable, true},
		{fmt.Errorf("reading: %w", keystore.ErrUnauthorized), true},
		// With these errors, the database has answered.
		{fmt.Errorf("reading: %w", keystore.ErrCollation), false},
		{fmt.Errorf("reading: %w", keystore.ErrCollectionMissing), false},
		{keystore.ErrIsView, false},
		{keystore.ErrIsTimeseries, false},
	} {
		r := stale(t)
		r.store.linearErr = c.err
		mustBe(t, r.validate(), apikey.Unavailable, apikey.SourceNone)
		if r.Down() != c.down {
			t.Errorf("%v: down is %v", c.err, r.Down())
		}
	}
}

func TestDownNeedsStaleness(t *testing.T) {
	r := stale(t)
	r.store.linearErr = errors.New("no primary")
	r.validate()
	if !r.Down() {
		t.Fatal("stale, and the breaker is open: not down")
	}
	r.clock.advance(time.Second)
	r.cache.Fresh(keycache.Freshness{AsOf: r.clock.Now()})
	if r.Down() {
		t.Fatal("down with a fresh memory")
	}
	// The next outage begins with a closed breaker.
	r.clock.advance(keycache.DefaultMaxStale + 1)
	if r.Down() {
		t.Fatal("down before anything has failed in this outage")
	}
}

func TestLinearizableReadsCountTowardsTheLimit(t *testing.T) {
	r := live(t, func(c *Config) { c.MaxReads = 2 })
	r.store.put(hash, document("u1"))
	r.store.block()
	verdicts := make(chan apikey.Verdict)
	go func() { verdicts <- r.validate() }() // a fill
	<-r.store.began
	r.clock.advance(keycache.DefaultMaxStale + 1)
	go func() { verdicts <- r.Validate(context.Background(), "second-key-text", &apikey.Request{}) }()
	<-r.store.began
	mustBe(t, r.Validate(context.Background(), "third-key-text", &apikey.Request{}), apikey.Unavailable, apikey.SourceNone)
	if r.outages("busy") != 1 || r.Down() {
		t.Fatalf("busy is counted %v times, down: %v", r.outages("busy"), r.Down())
	}
	r.store.release()
	for range 2 {
		if v := <-verdicts; v.Code == apikey.Unavailable {
			t.Fatalf("got %+v", v)
		}
	}
}

// A read that is let through while the breaker is open, and then gets no place,
// was not made: the next one is let through.
func TestAReadBeyondTheLimitLeavesTheBreakerOpen(t *testing.T) {
	r := stale(t, func(c *Config) { c.MaxReads = 1 })
	r.store.linearErr = errors.New("no primary")
	r.validate()
	if !r.reads.TryAcquire(1) {
		t.Fatal("no space")
	}
	mustBe(t, r.validate(), apikey.Unavailable, apikey.SourceNone)
	if !r.Down() || r.outages("busy") != 1 {
		t.Fatal("not down, or not busy")
	}
	r.reads.Release(1)
	r.store.linearErr = nil
	mustBe(t, r.validate(), apikey.NotFound, apikey.SourceLinearizable)
}

// A stream that is not fresh reports no drop, in any epoch.
func TestACollectionThatVanishedWhileStaleIsUnavailable(t *testing.T) {
	for name, lose := range map[string]bool{"history kept": false, "history lost": true} {
		r := stale(t)
		if lose {
			r.cache.Lose()
		}
		mustBe(t, r.validate(), apikey.NotFound, apikey.SourceLinearizable)
		r.store.missing = keystore.ErrCollectionMissing
		mustBe(t, r.validate(), apikey.Unavailable, apikey.SourceNone)
		if r.Down() || r.outages("no_collection") != 1 {
			t.Errorf("%s: down: %v", name, r.Down())
		}
		// If a document is found, the collection is not inspected.
		r.store.put(hash, document("u1"))
		before := r.store.inspected
		mustBe(t, r.validate(), apikey.Valid, apikey.SourceLinearizable)
		if r.store.inspected != before {
			t.Errorf("%s: an existing key was read twice", name)
		}
	}
}
