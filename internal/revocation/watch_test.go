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

var errRevoked = errors.New("revoked")

// key is what a recheck asks about.
type key struct {
	mutex   sync.Mutex
	expires time.Time
	err     error
	asked   int
	// revision is that of the last question.
	revision uint64
	// takes is how long an answer takes.
	takes time.Duration
}

func (k *key) recheck(ctx context.Context, revision uint64) (time.Time, error) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.asked++
	k.revision = revision
	if takes := k.takes; takes > 0 {
		expires, err := k.expires, k.err
		k.mutex.Unlock()
		select {
		case <-time.After(takes):
		case <-ctx.Done():
			err = fmt.Errorf("%w: %w", ErrUnknown, ctx.Err())
		}
		k.mutex.Lock()
		return expires, err
	}
	return k.expires, k.err
}

func (k *key) becomes(err error) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.err = err
}

func (k *key) renewed(expires time.Time) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.expires = expires
}

func (k *key) count() int {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return k.asked
}

func (k *key) entry(s *Watches, change ...func(*Entry)) Entry {
	e := Entry{KeyID: "k1", Mark: s.Begin(), Expires: k.expires, Recheck: k.recheck}
	for _, f := range change {
		f(&e)
	}
	return e
}

func cutOnOutage(e *Entry) { e.CancelOnOutage = true }

// onSet runs a test with a set that runs, in a bubble.
func onSet(t *testing.T, config Config, test func(t *testing.T, s *Watches)) {
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
			t.Errorf("%d watches are left, %d keys", n, len(s.byKey))
		}
	})
}

// goesOn looks when all that is to happen now has happened.
func goesOn(t *testing.T, w *Watch) {
	t.Helper()
	synctest.Wait()
	if err := w.Err(); err != nil {
		t.Fatalf("it has ended: %v", err)
	}
}

func ended(t *testing.T, w *Watch, want error) {
	t.Helper()
	synctest.Wait()
	select {
	case <-w.Done():
		if !errors.Is(w.Err(), want) {
			t.Fatalf("it has ended with %v, not %v", w.Err(), want)
		}
	default:
		t.Fatalf("it goes on, and should have ended with %v", want)
	}
}

func TestARevokedKeyEndsItsWatchesAndNoOthers(t *testing.T) {
	onSet(t, Config{}, func(t *testing.T, s *Watches) {
		k1, k2 := &key{}, &key{}
		var causes []error
		a := s.Add(k1.entry(s, func(e *Entry) { e.OnEnd = func(cause error) { causes = append(causes, cause) } }))
		b := s.Add(k1.entry(s))
		other := s.Add(k2.entry(s, func(e *Entry) { e.KeyID = "k2" }))
		k1.becomes(errRevoked)
		k2.becomes(errRevoked)
		goesOn(t, a)
		s.Changed("k1", 0)
		ended(t, a, errRevoked)
		ended(t, b, errRevoked)
		goesOn(t, other)
		if len(causes) != 1 || k1.count() != 2 || k2.count() != 0 {
			t.Errorf("told %v, asked %d and %d times", causes, k1.count(), k2.count())
		}
		s.Changed("k1", 0)
		a.Stop()
		other.Stop()
		if len(causes) != 1 {
			t.Errorf("told twice")
		}
	})
}

func TestAChangeThatLeavesTheKeyValidEndsNothing(t *testing.T) {
	onSet(t, Config{}, func(t *testing.T, s *Watches) {
		k := &key{}
		w := s.Add(k.entry(s))
		for range 3 {
			s.Changed("k1", 0)
			goesOn(t, w)
		}
		if k.count() != 3 {
			t.Errorf("asked %d times", k.count())
		}
		w.Stop()
		w.Stop()
		s.Changed("k1", 0)
		goesOn(t, w)
		if k.count() != 3 {
			t.Errorf("asked after Stop")
		}
	})
}

// TestAChangeBetweenTheVerdictAndAddIsSeen: the key is revoked after its verdict,
// while nobody watches.
func TestAChangeBetweenTheVerdictAndAddIsSeen(t *testing.T) {
	onSet(t, Config{}, func(t *testing.T, s *Watches) {
		k := &key{}
		e := k.entry(s)
		k.becomes(errRevoked)
		s.Changed("k1", 0)
		w := s.Add(e)
		ended(t, w, errRevoked)
		w.Stop()
	})
}

func TestALossBetweenTheVerdictAndAddIsSeen(t *testing.T) {
	onSet(t, Config{}, func(t *testing.T, s *Watches) {
		k := &key{}
		e := k.entry(s)
		k.becomes(errRevoked)
		s.ChangedAll()
		ended(t, s.Add(e), errRevoked)
	})
}

// TestAVerdictThatIsOlderThanAChangeIsAskedAgain: the change was heard of before
// the mark, but whoever gave the verdict had not seen it.
func TestAVerdictThatIsOlderThanAChangeIsAskedAgain(t *testing.T) {
	onSet(t, Config{}, func(t *testing.T, s *Watches) {
		s.Changed("k1", 7)
		k := &key{err: errRevoked}
		seen := s.Add(k.entry(s, func(e *Entry) { e.Revision = 7 }))
		goesOn(t, seen)
		seen.Stop()
		ended(t, s.Add(k.entry(s, func(e *Entry) { e.Revision = 6 })), errRevoked)
		if k.revision != 7 {
			t.Errorf("asked for revision %d", k.revision)
		}
		s.Changed("k1", 5)
		ended(t, s.Add(k.entry(s)), errRevoked)
		if k.revision != 7 {
			t.Errorf("a revision went back to %d", k.revision)
		}
	})
}

func TestARecheckAsksForTheRevisionOfTheChange(t *testing.T) {
	onSet(t, Config{}, func(t *testing.T, s *Watches) {
		k := &key{}
		w := s.Add(k.entry(s))
		s.Changed("k1", 9)
		goesOn(t, w)
		if k.revision != 9 {
			t.Errorf("asked for revision %d", k.revision)
		}
		w.Stop()
	})
}

func TestALossAsksAboutAll(t *testing.T) {
	onSet(t, Config{Workers: 2}, func(t *testing.T, s *Watches) {
		var most, now atomic.Int64
		var watches []*Watch
		k := &key{err: errRevoked}
		urgent := s.Add(k.entry(s))
		for i := range 200 {
			watches = append(watches, s.Add(Entry{KeyID: fmt.Sprint(i % 7), Mark: s.Begin(), Recheck: func(context.Context, uint64) (time.Time, error) {
				for n := now.Add(1); n > most.Load(); {
					most.Store(n)
				}
				time.Sleep(time.Second)
				now.Add(-1)
				if i == 13 {
					return time.Time{}, errRevoked
				}
				return time.Time{}, nil
			}}))
		}
		s.ChangedAll()
		s.Changed("k1", 0)
		time.Sleep(1500 * time.Millisecond)
		ended(t, urgent, errRevoked)
		time.Sleep(200 * time.Second)
		for i, w := range watches {
			if i == 13 {
				ended(t, w, errRevoked)
			} else {
				goesOn(t, w)
			}
			w.Stop()
		}
		if most.Load() != 2 {
			t.Errorf("%d at once", most.Load())
		}
	})
}

func TestAChangeDuringARecheckIsAskedAgain(t *testing.T) {
	onSet(t, Config{}, func(t *testing.T, s *Watches) {
		k := &key{takes: time.Second}
		w := s.Add(k.entry(s))
		s.Changed("k1", 0)
		synctest.Wait() // it has been answered, and the answer is on its way
		k.becomes(errRevoked)
		s.Changed("k1", 0)
		time.Sleep(1500 * time.Millisecond)
		goesOn(t, w)
		time.Sleep(time.Second)
		ended(t, w, errRevoked)
	})
}

func TestARecheckThatDoesNotKnowIsMadeAgain(t *testing.T) {
	onSet(t, Config{}, func(t *testing.T, s *Watches) {
		k := &key{err: fmt.Errorf("%w: away", ErrUnknown)}
		w := s.Add(k.entry(s, cutOnOutage))
		s.Changed("k1", 0)
		time.Sleep(time.Minute)
		goesOn(t, w)
		if n := k.count(); n < 10 || n > 60 {
			t.Errorf("asked %d times in a minute", n)
		}
		k.becomes(errRevoked)
		time.Sleep(2 * longestPause)
		ended(t, w, errRevoked)
	})
}

func TestAChangeDuringARecheckThatDoesNotKnowIsAskedAtOnce(t *testing.T) {
	onSet(t, Config{}, func(t *testing.T, s *Watches) {
		k := &key{takes: time.Second, err: ErrUnknown}
		w := s.Add(k.entry(s))
		s.Changed("k1", 0)
		time.Sleep(time.Minute)
		for asked := k.count(); k.count() == asked; {
			time.Sleep(100 * time.Millisecond)
		}
		k.mutex.Lock()
		k.takes, k.err = 0, errRevoked
		k.mutex.Unlock()
		s.Changed("k1", 0)
		goesOn(t, w)
		time.Sleep(time.Second)
		ended(t, w, errRevoked)
	})
}

func TestARecheckThatHangsIsGivenUp(t *testing.T) {
	onSet(t, Config{Workers: 1}, func(t *testing.T, s *Watches) {
		k := &key{takes: time.Hour}
		w := s.Add(k.entry(s))
		s.Changed("k1", 0)
		synctest.Wait()
		k.mutex.Lock()
		k.takes, k.err = 0, errRevoked
		k.mutex.Unlock()
		time.Sleep(DefaultRecheckTimeout + longestPause)
		ended(t, w, errRevoked)
	})
}

func TestExpiryIsExact(t *testing.T) {
	for _, in := range []time.Duration{0, time.Nanosecond, time.Second, 90 * time.Second, 3*time.Hour + 7} {
		onSet(t, Config{}, func(t *testing.T, s *Watches) {
			k := &key{expires: time.Now().Add(in)}
			w := s.Add(k.entry(s))
			if in > 0 {
				time.Sleep(in - 1)
				goesOn(t, w)
				time.Sleep(time.Nanosecond)
			}
			ended(t, w, ErrExpired)
			if k.count() != 0 {
				t.Error("it was asked about")
			}
		})
	}
}

// TestExpiryNeedsNoRun: for validators that tell of no changes.
func TestExpiryNeedsNoRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{})
		k := &key{expires: time.Now().Add(time.Hour)}
		w := s.Add(k.entry(s, func(e *Entry) { e.AtExpiry = errRevoked }))
		s.Changed("k1", 0) // nobody is there to ask about it
		time.Sleep(time.Hour)
		ended(t, w, errRevoked)
	})
}

func TestARenewedKeyEndsLater(t *testing.T) {
	onSet(t, Config{}, func(t *testing.T, s *Watches) {
		k := &key{expires: time.Now().Add(time.Hour)}
		w := s.Add(k.entry(s))
		for _, now := range []time.Duration{2 * time.Hour, time.Minute} {
			k.renewed(time.Now().Add(now))
			s.Changed("k1", 0)
			synctest.Wait()
		}
		time.Sleep(59 * time.Second)
		k.renewed(time.Time{})
		s.Changed("k1", 0)
		goesOn(t, w)
		time.Sleep(10000 * time.Hour)
		goesOn(t, w)
		k.renewed(time.Now().Add(time.Hour))
		s.Changed("k1", 0)
		synctest.Wait()
		time.Sleep(time.Hour)
		ended(t, w, ErrExpired)
	})
}

// TestARenewalOnItsWayDecides: the key is known to have changed when its old end
// comes.
func TestARenewalOnItsWayDecides(t *testing.T) {
	for name, c := range map[string]struct {
		to   time.Duration
		err  error
		want error
	}{
		"renewed":  {time.Hour, nil, nil},
		"not":      {0, errRevoked, errRevoked},
		"unknown":  {0, ErrUnknown, ErrExpired},
		"the same": {0, nil, ErrExpired},
	} {
		t.Run(name, func(t *testing.T) {
			onSet(t, Config{}, func(t *testing.T, s *Watches) {
				k := &key{expires: time.Now().Add(time.Second), takes: 2 * time.Second, err: c.err}
				w := s.Add(k.entry(s))
				k.renewed(k.expires.Add(c.to))
				s.Changed("k1", 0)
				time.Sleep(1500 * time.Millisecond)
				goesOn(t, w)
				k.mutex.Lock()
				k.takes = 0
				k.mutex.Unlock()
				time.Sleep(time.Second)
				if c.want != nil {
					ended(t, w, c.want)
					return
				}
				goesOn(t, w)
				time.Sleep(time.Hour)
				ended(t, w, ErrExpired)
			})
		})
	}
}

func TestALostTruthCutsThoseWhoWantIt(t *testing.T) {
	onSet(t, Config{}, func(t *testing.T, s *Watches) {
		k := &key{}
		cut, keep := s.Add(k.entry(s, cutOnOutage)), s.Add(k.entry(s))
		s.Doubt(true)
		// The stream is silent, but the database can be asked.
		time.Sleep(10*DefaultDoubtInterval + DefaultDoubtInterval/2)
		goesOn(t, cut)
		if n := k.count(); n != 11 {
			t.Errorf("asked %d times", n)
		}
		s.Doubt(true)
		k.becomes(fmt.Errorf("%w: away", ErrUnknown))
		time.Sleep(DefaultDoubtInterval)
		ended(t, cut, ErrStalenessExceeded)
		s.Changed("k1", 0)
		goesOn(t, keep)
		late := s.Add(k.entry(s, cutOnOutage))
		ended(t, late, ErrStalenessExceeded)

		k.becomes(nil)
		s.Doubt(false)
		time.Sleep(time.Hour)
		goesOn(t, keep)
		asked := k.count()
		if w := s.Add(k.entry(s, cutOnOutage)); w.Err() == nil {
			goesOn(t, w)
			w.Stop()
		}
		if k.count() != asked {
			t.Error("asked although all is well")
		}
		k.becomes(errRevoked)
		s.Changed("k1", 0)
		ended(t, keep, errRevoked)
	})
}

func TestARevocationIsNoticedWhileTheStreamIsSilent(t *testing.T) {
	onSet(t, Config{}, func(t *testing.T, s *Watches) {
		k := &key{}
		w := s.Add(k.entry(s, cutOnOutage))
		s.Doubt(true)
		goesOn(t, w)
		k.becomes(errRevoked)
		time.Sleep(DefaultDoubtInterval)
		ended(t, w, errRevoked)
	})
}

// TestAnAnswerFromBeforeTheDoubtDoesNotCut: nor does one that comes when the doubt
// is over.
func TestAnAnswerFromBeforeTheDoubtDoesNotCut(t *testing.T) {
	onSet(t, Config{}, func(t *testing.T, s *Watches) {
		k := &key{err: ErrUnknown, takes: time.Second}
		w := s.Add(k.entry(s, cutOnOutage))
		s.Changed("k1", 0)
		synctest.Wait()
		s.Doubt(true)
		k.becomes(nil)
		time.Sleep(1500 * time.Millisecond)
		goesOn(t, w)
		s.Doubt(false)

		time.Sleep(time.Minute)
		k.becomes(ErrUnknown)
		s.Doubt(true)
		synctest.Wait()
		s.Doubt(false)
		time.Sleep(1500 * time.Millisecond)
		k.becomes(nil)
		time.Sleep(time.Minute)
		goesOn(t, w)
		w.Stop()
	})
}

func TestAgainAsksOnlyIfSomethingHasChanged(t *testing.T) {
	onSet(t, Config{}, func(t *testing.T, s *Watches) {
		k := &key{}
		w := s.Add(k.entry(s))
		w.Again()
		goesOn(t, w)
		if k.count() != 0 {
			t.Error("asked although nothing has changed")
		}
		s.Changed("another", 0)
		k.becomes(errRevoked) // what is asked now is more than before
		w.Again()
		ended(t, w, errRevoked)
	})
}

func TestWithoutARecheckOnlyTheExpiryEnds(t *testing.T) {
	onSet(t, Config{}, func(t *testing.T, s *Watches) {
		w := s.Add(Entry{KeyID: "k1", Mark: s.Begin(), Expires: time.Now().Add(time.Hour), CancelOnOutage: true})
		s.Changed("k1", 0)
		s.ChangedAll()
		s.Doubt(true)
		time.Sleep(time.Hour - 1)
		goesOn(t, w)
		time.Sleep(time.Nanosecond)
		ended(t, w, ErrExpired)
	})
}

func TestAChangeWithNobodyThereCostsNothing(t *testing.T) {
	s := New(Config{})
	if n := testing.AllocsPerRun(100, func() { s.Changed("k1", 3); s.ChangedAll() }); n != 0 {
		t.Errorf("%v allocations", n)
	}
	if s.Heard(4) {
		t.Error("somebody must be told, although nobody is there")
	}
}

func TestWhatWasToBeAskedIsAskedByTheNextRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := New(Config{})
		k := &key{err: errRevoked}
		w := s.Add(k.entry(s))
		s.Changed("k1", 0)
		goesOn(t, w)
		ctx, stop := context.WithCancel(t.Context())
		stop()
		if err := s.Run(ctx); err != nil {
			t.Error(err)
		}
		goesOn(t, w)
		ctx, stop = context.WithCancel(t.Context())
		defer stop()
		go func() { _ = s.Run(ctx) }()
		ended(t, w, errRevoked)
	})
}

func BenchmarkChangedWithNobodyThere(b *testing.B) {
	s := New(Config{})
	for b.Loop() {
		s.Changed("k1", 0)
	}
}

func BenchmarkAddAndStop(b *testing.B) {
	s := New(Config{})
	e := Entry{KeyID: "k1", Recheck: func(context.Context, uint64) (time.Time, error) { return time.Time{}, nil }}
	b.ReportAllocs()
	for b.Loop() {
		s.Add(e).Stop()
	}
}
