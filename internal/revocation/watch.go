package revocation

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
)

var (
	// ErrUnknown is what a Recheck returns, wrapped or not, when it cannot be known
	// whether the key is valid.
	ErrUnknown = errors.New("it cannot be known at the moment whether the key is valid")
	// ErrStalenessExceeded ends a watch with CancelOnOutage when it could not be known for
	// longer than is promised whether the key is valid.
	ErrStalenessExceeded = errors.New("whether this API key is still valid could not be known for too long")
	// ErrExpired ends a watch whose Entry has no AtExpiry.
	ErrExpired = errors.New("the key has expired")
)

const (
	// firstPause and longestPause are the jittered exponential backoff between two
	// rechecks of which the first did not know: as short as a failover is, and slow
	// enough for all the streams of a server.
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
	// longestSleep is how long an expiry is slept for at once. A timer counts on the
	// monotonic clock, which does not follow when the machine was suspended or its
	// clock is set.
	longestSleep = time.Minute
)

// Entry is what is watched.
type Entry struct {
	// KeyID is the key, as Changed names it.
	KeyID string
	// Mark is what Begin returned before the verdict was asked for.
	Mark uint64
	// Revision is that up to which the verdict has seen all changes, for a set whose
	// Changed gets revisions. Zero: not known.
	Revision uint64
	// Expires is the first instant at which the key is not valid any more. Zero:
	// never.
	Expires time.Time
	// AtExpiry is the cause when that instant comes. Nil: ErrExpired.
	AtExpiry error
	// CancelOnOutage ends the watch when the truth is lost.
	CancelOnOutage bool
	// Recheck asks about the key again, for an answer that has seen this revision
	// (zero: any). It returns when the key expires now; ErrUnknown; or another error,
	// which ends the watch as its cause. It is called by one goroutine at a time, and
	// never after Stop has returned unless it was under way. Nil: only the expiry ends
	// the watch.
	Recheck func(ctx context.Context, revision uint64) (expires time.Time, err error)
	// OnEnd is called once, after Done was closed, by a goroutine that has other
	// watches to care for: it must not wait for anything. It is not called by Stop.
	// Nil: nobody is told.
	OnEnd func(cause error)
}

// Watch is one who wants to know. Its methods are safe for concurrent use.
type Watch struct {
	set   *Watches
	entry Entry
	done  chan struct{}
	// cause is set before done is closed, and read after it.
	cause error

	// The set's mutex guards all that follows.

	// next and previous are watches of the same key.
	next, previous *Watch
	// over: the watch has ended or was stopped.
	over bool
	// queued: it waits for a recheck; hurried: among the urgent ones. running: one
	// is under way; again: one more is needed after it.
	queued, hurried, running, again bool
	// revision is the newest that the key is known to have changed at.
	revision uint64
	expires  time.Time
	// expiry fires at the expiry, or before it to look again. later asks for a
	// recheck. Both are nil until they are needed.
	expiry, later *time.Timer
	// pause is nil until a recheck did not know.
	pause *backoff.ExponentialBackOff
}

// Add begins to watch. If anything has changed since the mark, the key is asked
// about at once. Stop must be called in the end.
func (s *Watches) Add(entry Entry) *Watch {
	w := newWatch(s, entry)
	s.insert(w)
	// The order is the algorithm: what came before the look at the counter is seen
	// there, and what comes after finds the watch.
	w.Again()
	return w
}

func newWatch(s *Watches, entry Entry) *Watch {
	if entry.AtExpiry == nil {
		entry.AtExpiry = ErrExpired
	}
	return &Watch{set: s, entry: entry, done: make(chan struct{}), expires: entry.Expires}
}

func (s *Watches) insert(w *Watch) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	w.next = s.byKey[w.entry.KeyID]
	if w.next != nil {
		w.next.previous = w
	}
	s.byKey[w.entry.KeyID] = w
	s.there.Add(1)
	w.armLocked()
	if w.entry.CancelOnOutage && odd(s.doubts) {
		s.askLocked(w, 0, &s.patient)
	}
}

// Again says that Recheck asks for more than it did before. The key is asked about
// if anything has changed since the mark; if not, what was known then holds still.
func (w *Watch) Again() {
	s := w.set
	if s.changes.Load() == w.entry.Mark && s.newest.Load() <= w.entry.Revision {
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.askLocked(w, s.newest.Load(), &s.urgent)
}

// Done is closed when the key has stopped being valid, or with CancelOnOutage when the
// truth is lost. Stop does not close it.
func (w *Watch) Done() <-chan struct{} { return w.done }

// Err is why Done is closed, nil before.
func (w *Watch) Err() error {
	select {
	case <-w.done:
		return w.cause
	default:
		return nil
	}
}

// Stop ends the watch without a word. It can be called twice.
func (w *Watch) Stop() {
	w.set.mutex.Lock()
	defer w.set.mutex.Unlock()
	w.leaveLocked()
}

// leaveLocked takes the watch out of the set, and reports whether it was there.
func (w *Watch) leaveLocked() bool {
	if w.over {
		return false
	}
	w.over = true
	s := w.set
	switch {
	case w.previous != nil:
		w.previous.next = w.next
	case w.next != nil:
		s.byKey[w.entry.KeyID] = w.next
	default:
		delete(s.byKey, w.entry.KeyID)
	}
	if w.next != nil {
		w.next.previous = w.previous
	}
	w.next, w.previous = nil, nil
	s.there.Add(-1)
	for _, timer := range []*time.Timer{w.expiry, w.later} {
		if timer != nil {
			timer.Stop()
		}
	}
	return true
}

// end closes Done.
func (w *Watch) end(cause error) {
	w.set.mutex.Lock()
	left := w.leaveLocked()
	w.set.mutex.Unlock()
	if !left {
		return
	}
	w.cause = cause
	close(w.done)
	if w.entry.OnEnd != nil {
		w.entry.OnEnd(cause)
	}
}

// conclude is why the watch ends after a recheck, nil if it goes on.
func (s *Watches) conclude(w *Watch, q question, expires time.Time, err error) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	w.running = false
	again := w.again
	w.again = false
	if w.over {
		return nil
	}
	switch {
	case err == nil:
		w.pause = nil
		if !expires.Equal(w.expires) {
			w.expires = expires
			w.armLocked()
		}
	case !errors.Is(err, ErrUnknown):
		return err
	case w.entry.CancelOnOutage && odd(q.doubts) && q.doubts == s.doubts:
		return ErrStalenessExceeded
	case w.expiredLocked():
		// What was known last is that it ends now, and nobody knows better.
		return w.entry.AtExpiry
	}
	switch {
	case again:
		s.askLocked(w, 0, &s.urgent)
	case err != nil:
		w.askLaterLocked(w.pauseLocked())
	case w.expiredLocked():
		// It was renewed, and has ended again.
		return w.entry.AtExpiry
	case w.entry.CancelOnOutage && odd(s.doubts):
		w.askLaterLocked(s.config.DoubtInterval)
	}
	return nil
}

// pauseLocked is the time to the next recheck after one that did not know.
func (w *Watch) pauseLocked() time.Duration {
	if w.pause == nil {
		w.pause = backoff.NewExponentialBackOff()
		w.pause.InitialInterval, w.pause.MaxInterval = firstPause, longestPause
	}
	return w.pause.NextBackOff()
}

func (w *Watch) askLaterLocked(pause time.Duration) {
	if w.later != nil {
		w.later.Reset(pause)
		return
	}
	w.later = time.AfterFunc(pause, func() {
		w.set.mutex.Lock()
		defer w.set.mutex.Unlock()
		w.set.askLocked(w, 0, &w.set.patient)
	})
}

// armLocked sets the timer for the expiry.
func (w *Watch) armLocked() {
	if w.expires.IsZero() {
		return // a timer that is set already finds nothing to do
	}
	sleep := min(time.Until(w.expires), longestSleep)
	if w.expiry != nil {
		w.expiry.Reset(sleep)
		return
	}
	w.expiry = time.AfterFunc(sleep, w.expire)
}

func (w *Watch) expiredLocked() bool {
	return !w.expires.IsZero() && !time.Now().Before(w.expires)
}

// expire ends the watch if its time has come.
func (w *Watch) expire() {
	if w.due() {
		w.end(w.entry.AtExpiry)
	}
}

// due reports whether the expiry ends the watch now. If a recheck is to come, the
// key has changed, and may have been renewed: then it decides.
func (w *Watch) due() bool {
	s := w.set
	s.mutex.Lock()
	defer s.mutex.Unlock()
	switch {
	case w.over || w.expires.IsZero():
		return false
	case !w.expiredLocked():
		w.armLocked()
		return false
	case s.running > 0 && (w.queued || w.running):
		s.askLocked(w, 0, &s.urgent)
		return false
	}
	return true
}
