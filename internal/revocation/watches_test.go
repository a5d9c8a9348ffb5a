package revocation

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var (
	errRevoked = errors.New("revoked")
	errOutage  = errors.New("outage")
	errUnknown = errors.New("unknown")
)

// key is the state of a key, which rechecks read.
type key struct {
	mutex     sync.Mutex
	expiresAt time.Time
	// revoked and err are what rechecks return.
	revoked, err error
	rechecks     int
	// revision is what the last recheck required.
	revision uint64
	// takes is how long a recheck takes.
	takes time.Duration
}

func (k *key) recheck(ctx context.Context, minRevision uint64) (expiresAt time.Time, revoked, err error) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.rechecks++
	k.revision = minRevision
	if takes := k.takes; takes > 0 {
		expiresAt, revoked, err = k.expiresAt, k.revoked, k.err
		k.mutex.Unlock()
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			err = ctx.Err()
		}
		k.mutex.Lock()
		return expiresAt, revoked, err
	}
	return k.expiresAt, k.revoked, k.err
}

// revoke makes rechecks find the key revoked.
func (k *key) revoke() {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.revoked, k.err = errRevoked, nil
}

// fail makes rechecks fail; nil lets them succeed again.
func (k *key) fail(err error) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.err = err
}

func (k *key) renew(expiresAt time.Time) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.expiresAt = expiresAt
}

func (k *key) count() int {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return k.rechecks
}

func (k *key) entry(s *Watches, change ...func(*Entry)) Entry {
	e := Entry{KeyID: "k1", Mark: s.Mark(), ExpiresAt: k.expiresAt, Recheck: k.recheck}
	for _, f := range change {
		f(&e)
	}
	return e
}

func endOnOutage(e *Entry) { e.OutageError = errOutage }

// withRun runs a test in a synctest bubble, with Watches whose Run is running.
func withRun(t *testing.T, config Config, test func(t *testing.T, s *Watches)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := New(config)
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.Run(ctx) }()
		synctest.Wait()
		test(t, s)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := s.Watching(); n != 0 || len(s.byKey) != 0 {
			t.Errorf("%d watches and %d keys are left", n, len(s.byKey))
		}
	})
}

// mustBeOpen checks that a watch has not ended, after everything that is due now.
func mustBeOpen(t *testing.T, w *Watch) {
	t.Helper()
	synctest.Wait()
	if err := w.Err(); err != nil {
		t.Fatalf("the watch has ended: %v", err)
	}
}

func mustHaveEnded(t *testing.T, w *Watch, want error) {
	t.Helper()
	synctest.Wait()
	select {
	case <-w.Done():
		if !errors.Is(w.Err(), want) {
			t.Fatalf("the watch has ended with %v, want %v", w.Err(), want)
		}
	default:
		t.Fatalf("the watch is still open, want end with %v", want)
	}
}

func TestRevokedKeyEndsOnlyItsOwnWatches(t *testing.T) {
	withRun(t, Config{}, func(t *testing.T, s *Watches) {
		k1, k2 := &key{}, &key{}
		var causes []error
		a := s.Add(k1.entry(s, func(e *Entry) { e.OnEnd = func(cause error) { causes = append(causes, cause) } }))
		b := s.Add(k1.entry(s))
		other := s.Add(k2.entry(s, func(e *Entry) { e.KeyID = "k2" }))
		k1.revoke()
		k2.revoke()
		mustBeOpen(t, a)
		s.Changed("k1", 0)
		mustHaveEnded(t, a, errRevoked)
		mustHaveEnded(t, b, errRevoked)
		mustBeOpen(t, other)
		if len(causes) != 1 || k1.count() != 2 || k2.count() != 0 {
			t.Errorf("OnEnd called with %v, %d and %d rechecks", causes, k1.count(), k2.count())
		}
		s.Changed("k1", 0)
		a.Stop()
		other.Stop()
		if len(causes) != 1 {
			t.Errorf("OnEnd was called twice")
		}
	})
}

func TestChangeOfAValidKeyKeepsTheWatch(t *testing.T) {
	withRun(t, Config{}, func(t *testing.T, s *Watches) {
		k := &key{}
		w := s.Add(k.entry(s))
		for range 3 {
			s.Changed("k1", 0)
			mustBeOpen(t, w)
		}
		if k.count() != 3 {
			t.Errorf("%d rechecks", k.count())
		}
		w.Stop()
		w.Stop()
		s.Changed("k1", 0)
		mustBeOpen(t, w)
		if k.count() != 3 {
			t.Errorf("recheck after Stop")
		}
	})
}

// The key is revoked after its verdict, while there is no watch.
func TestChangeBetweenVerdictAndAddIsNoticed(t *testing.T) {
	withRun(t, Config{}, func(t *testing.T, s *Watches) {
		k := &key{}
		e := k.entry(s)
		k.revoke()
		s.Changed("k1", 0)
		w := s.Add(e)
		mustHaveEnded(t, w, errRevoked)
		w.Stop()
	})
}

func TestLossBetweenVerdictAndAddIsNoticed(t *testing.T) {
	withRun(t, Config{}, func(t *testing.T, s *Watches) {
		k := &key{}
		e := k.entry(s)
		k.revoke()
		s.ChangedAll()
		mustHaveEnded(t, s.Add(e), errRevoked)
	})
}

// The change was reported before the mark, but the instance that gave the verdict had
// not seen it.
func TestVerdictOlderThanTheNewestChangeIsRechecked(t *testing.T) {
	withRun(t, Config{}, func(t *testing.T, s *Watches) {
		s.Changed("k1", 7)
		k := &key{revoked: errRevoked}
		seen := s.Add(k.entry(s, func(e *Entry) { e.Revision = 7 }))
		mustBeOpen(t, seen)
		seen.Stop()
		mustHaveEnded(t, s.Add(k.entry(s, func(e *Entry) { e.Revision = 6 })), errRevoked)
		if k.revision != 7 {
			t.Errorf("recheck for revision %d", k.revision)
		}
		s.Changed("k1", 5)
		mustHaveEnded(t, s.Add(k.entry(s)), errRevoked)
		if k.revision != 7 {
			t.Errorf("the revision went back to %d", k.revision)
		}
	})
}

func TestRecheckRequiresTheRevisionOfTheChange(t *testing.T) {
	withRun(t, Config{}, func(t *testing.T, s *Watches) {
		k := &key{}
		w := s.Add(k.entry(s))
		s.Changed("k1", 9)
		mustBeOpen(t, w)
		if k.revision != 9 {
			t.Errorf("recheck for revision %d", k.revision)
		}
		w.Stop()
	})
}

func TestLossRechecksAllWatches(t *testing.T) {
	withRun(t, Config{Workers: 2}, func(t *testing.T, s *Watches) {
		var most, now atomic.Int64
		var watches []*Watch
		k := &key{revoked: errRevoked}
		urgent := s.Add(k.entry(s))
		for i := range 200 {
			watches = append(watches, s.Add(Entry{KeyID: fmt.Sprint(i % 7), Mark: s.Mark(), Recheck: func(context.Context, uint64) (expiresAt time.Time, revoked, err error) {
				for n := now.Add(1); n > most.Load(); {
					most.Store(n)
				}
				time.Sleep(time.Second)
				now.Add(-1)
				if i == 13 {
					return time.Time{}, errRevoked, nil
				}
				return time.Time{}, nil, nil
			}}))
		}
		s.ChangedAll()
		s.Changed("k1", 0)
		time.Sleep(1500 * time.Millisecond)
		mustHaveEnded(t, urgent, errRevoked)
		time.Sleep(200 * time.Second)
		for i, w := range watches {
			if i == 13 {
				mustHaveEnded(t, w, errRevoked)
			} else {
				mustBeOpen(t, w)
			}
			w.Stop()
		}
		if most.Load() != 2 {
			t.Errorf("%d rechecks at the same time", most.Load())
		}
	})
}

func TestChangeDuringARecheckCausesAnotherOne(t *testing.T) {
	withRun(t, Config{}, func(t *testing.T, s *Watches) {
		k := &key{takes: time.Second}
		w := s.Add(k.entry(s))
		s.Changed("k1", 0)
		synctest.Wait() // the recheck has read the key, and not returned yet
		k.revoke()
		s.Changed("k1", 0)
		time.Sleep(1500 * time.Millisecond)
		mustBeOpen(t, w)
		time.Sleep(time.Second)
		mustHaveEnded(t, w, errRevoked)
	})
}

func TestFailedRecheckIsRepeated(t *testing.T) {
	withRun(t, Config{}, func(t *testing.T, s *Watches) {
		k := &key{err: errUnknown}
		w := s.Add(k.entry(s, endOnOutage))
		s.Changed("k1", 0)
		time.Sleep(time.Minute)
		mustBeOpen(t, w)
		if n := k.count(); n < 10 || n > 60 {
			t.Errorf("%d rechecks in a minute", n)
		}
		k.revoke()
		time.Sleep(2 * longestPause)
		mustHaveEnded(t, w, errRevoked)
	})
}

func TestChangeDuringAFailingRecheckIsRecheckedImmediately(t *testing.T) {
	withRun(t, Config{}, func(t *testing.T, s *Watches) {
		k := &key{takes: time.Second, err: errUnknown}
		w := s.Add(k.entry(s))
		s.Changed("k1", 0)
		time.Sleep(time.Minute)
		for before := k.count(); k.count() == before; {
			time.Sleep(100 * time.Millisecond)
		}
		k.mutex.Lock()
		k.takes, k.revoked, k.err = 0, errRevoked, nil
		k.mutex.Unlock()
		s.Changed("k1", 0)
		mustBeOpen(t, w)
		time.Sleep(time.Second)
		mustHaveEnded(t, w, errRevoked)
	})
}

func TestHangingRecheckTimesOut(t *testing.T) {
	withRun(t, Config{Workers: 1}, func(t *testing.T, s *Watches) {
		k := &key{takes: time.Hour}
		w := s.Add(k.entry(s))
		s.Changed("k1", 0)
		synctest.Wait()
		k.mutex.Lock()
		k.takes, k.revoked, k.err = 0, errRevoked, nil
		k.mutex.Unlock()
		time.Sleep(DefaultRecheckTimeout + longestPause)
		mustHaveEnded(t, w, errRevoked)
	})
}

func TestExpiryIsExact(t *testing.T) {
	for _, in := range []time.Duration{0, time.Nanosecond, time.Second, 90 * time.Second, 3*time.Hour + 7} {
		withRun(t, Config{}, func(t *testing.T, s *Watches) {
			k := &key{expiresAt: time.Now().Add(in)}
			w := s.Add(k.entry(s))
			if in > 0 {
				time.Sleep(in - 1)
				mustBeOpen(t, w)
				time.Sleep(time.Nanosecond)
			}
			mustHaveEnded(t, w, ErrExpired)
			if k.count() != 0 {
				t.Error("there was a recheck")
			}
		})
	}
}

// Validators that do not learn of changes have no Run.
func TestExpiryNeedsNoRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{})
		k := &key{expiresAt: time.Now().Add(time.Hour)}
		w := s.Add(k.entry(s, func(e *Entry) { e.ExpiredError = errRevoked }))
		s.Changed("k1", 0) // no Run, no recheck
		time.Sleep(time.Hour)
		mustHaveEnded(t, w, errRevoked)
	})
}

func TestRenewedKeyExpiresLater(t *testing.T) {
	withRun(t, Config{}, func(t *testing.T, s *Watches) {
		k := &key{expiresAt: time.Now().Add(time.Hour)}
		w := s.Add(k.entry(s))
		for _, now := range []time.Duration{2 * time.Hour, time.Minute} {
			k.renew(time.Now().Add(now))
			s.Changed("k1", 0)
			synctest.Wait()
		}
		time.Sleep(59 * time.Second)
		k.renew(time.Time{})
		s.Changed("k1", 0)
		mustBeOpen(t, w)
		time.Sleep(10000 * time.Hour)
		mustBeOpen(t, w)
		k.renew(time.Now().Add(time.Hour))
		s.Changed("k1", 0)
		synctest.Wait()
		time.Sleep(time.Hour)
		mustHaveEnded(t, w, ErrExpired)
	})
}

// The key is known to have changed at the instant of its old expiry.
func TestPendingRecheckDecidesAtExpiry(t *testing.T) {
	for name, c := range map[string]struct {
		by           time.Duration
		revoked, err error
		want         error
	}{
		"renewed":        {by: time.Hour},
		"revoked":        {revoked: errRevoked, want: errRevoked},
		"recheck fails":  {err: errUnknown, want: ErrExpired},
		"another change": {want: ErrExpired},
	} {
		t.Run(name, func(t *testing.T) {
			withRun(t, Config{}, func(t *testing.T, s *Watches) {
				k := &key{expiresAt: time.Now().Add(time.Second), takes: 2 * time.Second, revoked: c.revoked, err: c.err}
				w := s.Add(k.entry(s))
				k.renew(k.expiresAt.Add(c.by))
				s.Changed("k1", 0)
				time.Sleep(1500 * time.Millisecond)
				mustBeOpen(t, w)
				k.mutex.Lock()
				k.takes = 0
				k.mutex.Unlock()
				time.Sleep(time.Second)
				if c.want != nil {
					mustHaveEnded(t, w, c.want)
					return
				}
				mustBeOpen(t, w)
				time.Sleep(time.Hour)
				mustHaveEnded(t, w, ErrExpired)
			})
		})
	}
}

func TestOutageEndsOnlyWatchesWithAnOutageError(t *testing.T) {
	withRun(t, Config{}, func(t *testing.T, s *Watches) {
		k := &key{}
		cancel, keep := s.Add(k.entry(s, endOnOutage)), s.Add(k.entry(s))
		s.SetStale(true)
		// No changes arrive, but rechecks succeed.
		time.Sleep(10*DefaultStaleInterval + DefaultStaleInterval/2)
		mustBeOpen(t, cancel)
		if n := k.count(); n != 11 {
			t.Errorf("%d rechecks", n)
		}
		s.SetStale(true)
		k.fail(errUnknown)
		time.Sleep(DefaultStaleInterval)
		mustHaveEnded(t, cancel, errOutage)
		s.Changed("k1", 0)
		mustBeOpen(t, keep)
		late := s.Add(k.entry(s, endOnOutage))
		mustHaveEnded(t, late, errOutage)

		k.fail(nil)
		s.SetStale(false)
		time.Sleep(time.Hour)
		mustBeOpen(t, keep)
		before := k.count()
		if w := s.Add(k.entry(s, endOnOutage)); w.Err() == nil {
			mustBeOpen(t, w)
			w.Stop()
		}
		if k.count() != before {
			t.Error("recheck without a change")
		}
		k.revoke()
		s.Changed("k1", 0)
		mustHaveEnded(t, keep, errRevoked)
	})
}

func TestRevocationIsNoticedWhileStale(t *testing.T) {
	withRun(t, Config{}, func(t *testing.T, s *Watches) {
		k := &key{}
		w := s.Add(k.entry(s, endOnOutage))
		s.SetStale(true)
		mustBeOpen(t, w)
		k.revoke()
		time.Sleep(DefaultStaleInterval)
		mustHaveEnded(t, w, errRevoked)
	})
}

// A recheck ends a watch in an outage only if it began and ended while stale.
func TestRecheckFromBeforeOrAfterTheOutageEndsNothing(t *testing.T) {
	withRun(t, Config{}, func(t *testing.T, s *Watches) {
		k := &key{err: errUnknown, takes: time.Second}
		w := s.Add(k.entry(s, endOnOutage))
		s.Changed("k1", 0)
		synctest.Wait()
		s.SetStale(true)
		k.fail(nil)
		time.Sleep(1500 * time.Millisecond)
		mustBeOpen(t, w)
		s.SetStale(false)

		time.Sleep(time.Minute)
		k.fail(errUnknown)
		s.SetStale(true)
		synctest.Wait()
		s.SetStale(false)
		time.Sleep(1500 * time.Millisecond)
		k.fail(nil)
		time.Sleep(time.Minute)
		mustBeOpen(t, w)
		w.Stop()
	})
}

func TestAgainRechecksOnlyAfterAChange(t *testing.T) {
	withRun(t, Config{}, func(t *testing.T, s *Watches) {
		k := &key{}
		w := s.Add(k.entry(s))
		w.Again()
		mustBeOpen(t, w)
		if k.count() != 0 {
			t.Error("recheck although nothing has changed")
		}
		s.Changed("another", 0)
		k.revoke() // Recheck requires more now
		w.Again()
		mustHaveEnded(t, w, errRevoked)
	})
}

func TestWithoutRecheckOnlyTheExpiryEndsAWatch(t *testing.T) {
	withRun(t, Config{}, func(t *testing.T, s *Watches) {
		w := s.Add(Entry{KeyID: "k1", Mark: s.Mark(), ExpiresAt: time.Now().Add(time.Hour), OutageError: errOutage})
		s.Changed("k1", 0)
		s.ChangedAll()
		s.SetStale(true)
		time.Sleep(time.Hour - 1)
		mustBeOpen(t, w)
		time.Sleep(time.Nanosecond)
		mustHaveEnded(t, w, ErrExpired)
	})
}

func TestChangeWithoutWatchesAllocatesNothing(t *testing.T) {
	s := New(Config{})
	if n := testing.AllocsPerRun(100, func() { s.Changed("k1", 3); s.ChangedAll() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if s.CountChange(4) {
		t.Error("CountChange requires RecheckKey although there are no watches")
	}
}

func TestQueuedRechecksAreMadeByTheNextRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{})
		k := &key{revoked: errRevoked}
		w := s.Add(k.entry(s))
		s.Changed("k1", 0)
		mustBeOpen(t, w)
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
		mustBeOpen(t, w)
		ctx, stop = context.WithCancel(t.Context())
		defer stop()
		go func() { _ = s.Run(ctx) }()
		mustHaveEnded(t, w, errRevoked)
	})
}

func BenchmarkChangedWithoutWatches(b *testing.B) {
	s := New(Config{})
	for b.Loop() {
		s.Changed("k1", 0)
	}
}

func BenchmarkAddAndStop(b *testing.B) {
	s := New(Config{})
	e := Entry{KeyID: "k1", Recheck: func(context.Context, uint64) (expiresAt time.Time, revoked, err error) { return time.Time{}, nil, nil }}
	b.ReportAllocs()
	for b.Loop() {
		s.Add(e).Stop()
	}
}
