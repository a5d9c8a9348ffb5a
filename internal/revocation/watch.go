package revocation

import (
	"context"
	"errors"
	"time"

	"github.com/cenkalti/backoff/v5"
)

// ErrExpired ends a watch whose Entry has no ExpiredError.
var ErrExpired = errors.New("the key has expired")

const (
	// firstPause and longestPause bound the jittered exponential backoff after a failed
	// recheck: short enough for a failover, long enough for all streams of a server.
	firstPause   = 100 * time.Millisecond
	longestPause = 5 * time.Second
	// longestSleep bounds one run of the expiry timer. A timer uses the monotonic
	// clock, which does not advance while the machine is suspended and does not follow
	// when the clock is set.
	longestSleep = time.Minute
)

// Entry describes what to watch. It has the fields of auth.WatchRequest, so that one
// can be converted to the other.
type Entry struct {
	// KeyID is the key's id, as Changed gets it.
	KeyID string
	// Mark is what Watches.Mark returned before the verdict was requested.
	Mark uint64
	// Revision is the revision of the verdict: it has seen all changes up to it.
	// Needed where Changed gets revisions. Zero: not known.
	Revision uint64
	// ExpiresAt is the first instant at which the key is no longer valid. Zero: never.
	ExpiresAt time.Time
	// ExpiredError is the cause when that instant has come. Nil: ErrExpired.
	ExpiredError error
	// OutageError is the cause when the data is stale and a recheck failed. Nil: an
	// outage does not end the watch.
	OutageError error
	// Recheck validates the key again. The answer must have seen all changes up to
	// minRevision (zero: any answer will do). While the key is valid, Recheck returns
	// when it expires now. revoked is why the key is no longer valid, and becomes the
	// cause. A non-nil err means that the state of the key is unknown, and Recheck is
	// called again later. One goroutine at a time calls it, and none after Stop has
	// returned, unless the call was in progress. Nil: only the expiry ends the watch.
	Recheck func(ctx context.Context, minRevision uint64) (expiresAt time.Time, revoked, err error)
	// OnEnd is called once, after Done is closed, by a goroutine that serves other
	// watches too: it must not block. Stop does not call it. Nil: no call.
	OnEnd func(cause error)
}

// Watch is one watched key. Its methods are safe for concurrent use.
type Watch struct {
	watches *Watches
	entry   Entry
	done    chan struct{}
	// cause is written before done is closed, and read after it.
	cause error

	// watches.mutex guards all fields below.

	// next and previous are watches of the same key.
	next, previous *Watch
	// ended: the watch has ended or was stopped.
	ended bool
	// queued: it waits for a recheck; isUrgent: in the urgent queue. running: a recheck
	// is in progress; again: one more is needed after it.
	queued, isUrgent, running, again bool
	// revision is the newest revision at which the key is known to have changed.
	revision  uint64
	expiresAt time.Time
	// expiry fires when the key expires, or after longestSleep. retry enqueues a
	// recheck. Both are nil until they are needed.
	expiry, retry *time.Timer
	// pause is nil until a recheck failed.
	pause *backoff.ExponentialBackOff
}

// Add begins to watch a key. If any key has changed since entry.Mark, the key is
// rechecked immediately. The caller must call Stop in the end.
func (s *Watches) Add(entry Entry) *Watch {
	w := newWatch(s, entry)
	s.insert(w)
	// This order is the algorithm: Again sees every change that was counted before it
	// compares, and every later change finds the watch.
	w.Again()
	return w
}

func newWatch(s *Watches, entry Entry) *Watch {
	if entry.ExpiredError == nil {
		entry.ExpiredError = ErrExpired
	}
	return &Watch{watches: s, entry: entry, done: make(chan struct{}), expiresAt: entry.ExpiresAt}
}

func (s *Watches) insert(w *Watch) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	w.next = s.byKey[w.entry.KeyID]
	if w.next != nil {
		w.next.previous = w
	}
	s.byKey[w.entry.KeyID] = w
	s.count.Add(1)
	w.startTimerLocked()
	if w.entry.OutageError != nil && isOdd(s.staleEpoch) {
		s.enqueueLocked(w, 0, &s.patient)
	}
}

// Again must be called when Recheck requires more than before. It enqueues a recheck
// if any key has changed since the mark. If none has, the caller's own check of the
// verdict is still correct.
func (w *Watch) Again() {
	s := w.watches
	if s.changes.Load() == w.entry.Mark && s.newest.Load() <= w.entry.Revision {
		return
	}
	s.mutex.Lock()
	defer s.mutex.Unlock()
	s.enqueueLocked(w, s.newest.Load(), &s.urgent)
}

// Done is closed when the key is no longer valid and, with an OutageError, in an
// outage. Stop does not close it.
func (w *Watch) Done() <-chan struct{} { return w.done }

// Err returns why Done is closed, nil while it is open.
func (w *Watch) Err() error {
	select {
	case <-w.done:
		return w.cause
	default:
		return nil
	}
}

// Stop ends the watch; Done stays open. It may be called twice.
func (w *Watch) Stop() {
	w.watches.mutex.Lock()
	defer w.watches.mutex.Unlock()
	w.removeLocked()
}

// removeLocked removes the watch, and reports whether it was there.
func (w *Watch) removeLocked() bool {
	if w.ended {
		return false
	}
	w.ended = true
	s := w.watches
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
	s.count.Add(-1)
	for _, timer := range []*time.Timer{w.expiry, w.retry} {
		if timer != nil {
			timer.Stop()
		}
	}
	return true
}

// end closes Done.
func (w *Watch) end(cause error) {
	w.watches.mutex.Lock()
	removed := w.removeLocked()
	w.watches.mutex.Unlock()
	if !removed {
		return
	}
	w.cause = cause
	close(w.done)
	if w.entry.OnEnd != nil {
		w.entry.OnEnd(cause)
	}
}

// conclude returns why the watch ends after a recheck, nil if it continues.
func (s *Watches) conclude(w *Watch, a attempt, expiresAt time.Time, revoked, err error) error {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	w.running = false
	again := w.again
	w.again = false
	if w.ended {
		return nil
	}
	switch {
	case err == nil && revoked != nil:
		return revoked
	case err == nil:
		w.pause = nil
		if !expiresAt.Equal(w.expiresAt) {
			w.expiresAt = expiresAt
			w.startTimerLocked()
		}
	case w.entry.OutageError != nil && isOdd(a.staleEpoch) && a.staleEpoch == s.staleEpoch:
		return w.entry.OutageError
	case w.hasExpiredLocked():
		// By the last known state of the key it has expired, and there is no newer one.
		return w.entry.ExpiredError
	}
	switch {
	case again:
		s.enqueueLocked(w, 0, &s.urgent)
	case err != nil:
		w.retryLocked(w.pauseLocked())
	case w.hasExpiredLocked():
		// It was renewed, and has expired again.
		return w.entry.ExpiredError
	case w.entry.OutageError != nil && isOdd(s.staleEpoch):
		w.retryLocked(s.config.StaleInterval)
	}
	return nil
}

// pauseLocked returns the time from a failed recheck to the next one.
func (w *Watch) pauseLocked() time.Duration {
	if w.pause == nil {
		w.pause = backoff.NewExponentialBackOff()
		w.pause.InitialInterval, w.pause.MaxInterval = firstPause, longestPause
	}
	return w.pause.NextBackOff()
}

// retryLocked enqueues a recheck after a pause.
func (w *Watch) retryLocked(pause time.Duration) {
	if w.retry != nil {
		w.retry.Reset(pause)
		return
	}
	w.retry = time.AfterFunc(pause, func() {
		w.watches.mutex.Lock()
		defer w.watches.mutex.Unlock()
		w.watches.enqueueLocked(w, 0, &w.watches.patient)
	})
}

// startTimerLocked sets the timer for the expiry.
func (w *Watch) startTimerLocked() {
	if w.expiresAt.IsZero() {
		return // a timer that was set before finds nothing to do
	}
	sleep := min(time.Until(w.expiresAt), longestSleep)
	if w.expiry != nil {
		w.expiry.Reset(sleep)
		return
	}
	w.expiry = time.AfterFunc(sleep, w.expire)
}

func (w *Watch) hasExpiredLocked() bool {
	return !w.expiresAt.IsZero() && !time.Now().Before(w.expiresAt)
}

// expire ends the watch if its key has expired.
func (w *Watch) expire() {
	if w.checkExpiry() {
		w.end(w.entry.ExpiredError)
	}
}

// checkExpiry reports whether the expiry ends the watch now. If a recheck is due,
// the key has changed and may have been renewed: then the recheck decides.
func (w *Watch) checkExpiry() bool {
	s := w.watches
	s.mutex.Lock()
	defer s.mutex.Unlock()
	switch {
	case w.ended || w.expiresAt.IsZero():
		return false
	case !w.hasExpiredLocked():
		w.startTimerLocked()
		return false
	case s.runs > 0 && (w.queued || w.running):
		s.enqueueLocked(w, 0, &s.urgent)
		return false
	}
	return true
}
