package fleet

import (
	"context"
	"fmt"
	"time"

	"github.com/keytail/keytail/internal/clustertime"
)

// Wait returns when this instance, or every live one, has processed all changes
// up to a revision. A wait whose ctx has a deadline that passes is no error: its
// outcome says who has not got there. An error is clustertime.ErrRevisionAhead, ErrBusy, for All
// ErrUnavailable when the list could not be read once, or that of a ctx that was
// cancelled.
//
// It sends a heartbeat at once, and again until one has been acknowledged.
func (f *Fleet) Wait(ctx context.Context, revision clustertime.Time, scope Scope) (SyncResult, error) {
	began := f.config.Now()
	ctx, done, err := f.enter(ctx)
	if err != nil {
		return SyncResult{}, err
	}
	defer done()
	wait := f.waitSelf
	if scope == ScopeFleet {
		wait = f.waitAll
	}
	outcome, err := wait(ctx, revision)
	if err == nil && ctx.Err() != nil && isCancelled(ctx) && !outcome.Synced {
		err = context.Cause(ctx)
	}
	outcome.Took = f.config.Now().Sub(began)
	return outcome, err
}

// Instances are the live ones, sorted by id, as they were not before the call,
// nor before a cluster time (zero: any). The error is that of Wait.
func (f *Fleet) Instances(ctx context.Context, after clustertime.Time) ([]Instance, error) {
	ctx, done, err := f.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	now, err := f.now(ctx, after)
	if err != nil {
		return nil, err
	}
	w := f.watcher(now)
	defer w.leave()
	for w.next(ctx) {
		if w.known {
			return w.instances, nil
		}
	}
	return nil, w.unknown()
}

// errClosing is why a wait's context ends at a shutdown.
var errClosing = fmt.Errorf("the instance is shutting down: %w", context.DeadlineExceeded)

// enter counts a wait in, and makes it end at a shutdown.
func (f *Fleet) enter(ctx context.Context) (context.Context, func(), error) {
	if f.waits.Add(1) > int64(f.config.MaxWaits) {
		f.waits.Add(-1)
		return nil, nil, ErrBusy
	}
	ctx, cancel := context.WithCancelCause(ctx)
	stop := context.AfterFunc(f.open, func() { cancel(errClosing) })
	return ctx, func() {
		stop()
		cancel(nil)
		f.waits.Add(-1)
	}, nil
}

// isCancelled tells a caller who went away from a time that is up.
func isCancelled(ctx context.Context) bool {
	cause := context.Cause(ctx)
	return cause == context.Canceled //nolint:errorlint // errClosing and a deadline are other values
}

// now sends heartbeats until one is acknowledged, and returns a cluster time that
// is not before anything acknowledged before the call. The heartbeat was sent
// after the call, so a revision past it was given to nobody: clustertime.ErrRevisionAhead.
func (f *Fleet) now(ctx context.Context, revision clustertime.Time) (clustertime.Time, error) {
	for {
		at, err := f.config.Pulse.Beat(ctx)
		switch {
		case err == nil && at < revision:
			return 0, clustertime.ErrRevisionAhead
		case err == nil:
			return at, nil
		case !sleep(ctx, beatPause):
			return 0, fmt.Errorf("%w: no heartbeat is acknowledged: %w", ErrUnavailable, err)
		}
	}
}

// waitSelf waits for this instance, without a look at the list.
func (f *Fleet) waitSelf(ctx context.Context, revision clustertime.Time) (SyncResult, error) {
	for ctx.Err() == nil && f.processed() < revision {
		if _, err := f.now(ctx, revision); err != nil {
			if ctx.Err() != nil {
				break
			}
			return SyncResult{}, err
		}
		f.waitMoved(ctx, revision)
	}
	self := Instance{ID: f.config.Self, Revision: f.processed(), Staleness: -1, LastSeen: f.config.Now()}
	return judge([]Instance{self}, revision), nil
}

// waitMoved waits for a heartbeat to come back: until this instance has processed
// revision, or for so long that another heartbeat is due.
func (f *Fleet) waitMoved(ctx context.Context, revision clustertime.Time) {
	timer := time.NewTimer(rebeat)
	defer timer.Stop()
	for {
		moved := f.moved.wait()
		if f.processed() >= revision {
			return
		}
		select {
		case <-moved:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// waitAll waits for every instance on the list. It is read after a heartbeat of
// our own, so our own is on it.
func (f *Fleet) waitAll(ctx context.Context, revision clustertime.Time) (SyncResult, error) {
	now, err := f.now(ctx, revision)
	if err != nil {
		return SyncResult{}, err
	}
	w := f.watcher(now)
	defer w.leave()
	var outcome SyncResult
	seen := false
	for w.next(ctx) {
		if !w.known {
			continue
		}
		seen = true
		if outcome = judge(w.instances, revision); outcome.Synced {
			return outcome, nil
		}
	}
	if !seen {
		return SyncResult{}, w.unknown()
	}
	return outcome, nil
}

// judge says who has got to a revision.
func judge(instances []Instance, revision clustertime.Time) SyncResult {
	outcome := SyncResult{Synced: true, Instances: instances, Missing: []string{}}
	for _, i := range instances {
		if i.Revision < revision {
			outcome.Synced = false
			outcome.Missing = append(outcome.Missing, i.ID)
		}
	}
	return outcome
}

// watcher is one who follows the list.
type watcher struct {
	f             *Fleet
	number, since uint64
	last          *look
	// instances are the live ones at the last look, if known.
	instances []Instance
	known     bool
}

// watcher follows looks at the list that begin from now on, and are not older
// than after.
func (f *Fleet) watcher(after clustertime.Time) *watcher {
	w := &watcher{f: f}
	w.number, w.since = f.poll.join(after)
	return w
}

func (w *watcher) leave() { w.f.poll.leave(w.number) }

// next waits until there is something new, in the list or about this instance,
// whose own revision is not taken from the list. False: ctx has ended.
func (w *watcher) next(ctx context.Context) bool {
	looked, moved := w.f.poll.looked.wait(), w.f.moved.wait()
	if w.last == w.f.poll.later(w.since) {
		select {
		case <-looked:
		case <-moved:
		case <-ctx.Done():
			return false
		}
	}
	w.last = w.f.poll.later(w.since)
	if w.last == nil || w.last.err != nil {
		w.known = false
		return true
	}
	w.instances, w.known = w.last.living(w.f.config.Self)
	for i := range w.instances {
		if w.instances[i].ID == w.f.config.Self {
			w.instances[i].Revision = max(w.instances[i].Revision, w.f.processed())
		}
	}
	return true
}

// unknown is why there is no list.
func (w *watcher) unknown() error {
	if w.last != nil && w.last.err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, w.last.err)
	}
	return fmt.Errorf("%w: this instance is not on the list itself", ErrUnavailable)
}
