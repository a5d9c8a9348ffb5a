package fleet

import (
	"context"
	"fmt"
	"time"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/timing"
)

// Wait returns when this instance, or every live instance, has processed all
// changes up to a revision. If the deadline of ctx passes, that is not an
// error: the result lists which instances have not reached the revision. The
// error is clustertime.ErrRevisionAhead, ErrBusy, for ScopeFleet ErrUnavailable if the list
// could not be read even once, or the cause of a ctx that was cancelled.
//
// It sends a heartbeat immediately, and again until one has been acknowledged.
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

// Instances returns the live instances, sorted by id, from a list that is not
// older than the call, nor than a cluster time (zero: any). Its errors are
// those of Wait.
func (f *Fleet) Instances(ctx context.Context, after clustertime.Time) ([]Instance, error) {
	ctx, done, err := f.enter(ctx)
	if err != nil {
		return nil, err
	}
	defer done()
	now, err := f.clusterTime(ctx, after)
	if err != nil {
		return nil, err
	}
	w := f.follow(now)
	defer w.leave()
	for w.next(ctx) {
		if w.known {
			return w.instances, nil
		}
	}
	return nil, w.unavailable()
}

// errClosing is the cause with which a shutdown ends the context of a wait.
var errClosing = fmt.Errorf("the instance is shutting down: %w", context.DeadlineExceeded)

// enter counts a wait, and makes it end at a shutdown.
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

// isCancelled reports whether the caller has left, as opposed to a deadline
// that has passed.
func isCancelled(ctx context.Context) bool {
	cause := context.Cause(ctx)
	return cause == context.Canceled //nolint:errorlint // errClosing and a deadline are other values
}

// clusterTime sends heartbeats until one is acknowledged, and returns a cluster
// time that is not before anything acknowledged before the call. The heartbeat
// was sent after the call, so no client can have been given a later revision:
// clustertime.ErrRevisionAhead.
func (f *Fleet) clusterTime(ctx context.Context, revision clustertime.Time) (clustertime.Time, error) {
	for {
		at, err := f.config.Heartbeater.Beat(ctx)
		switch {
		case err == nil && at < revision:
			return 0, clustertime.ErrRevisionAhead
		case err == nil:
			return at, nil
		case !timing.Sleep(ctx, heartbeatRetryPause):
			return 0, fmt.Errorf("%w: no heartbeat was acknowledged: %w", ErrUnavailable, err)
		}
	}
}

// waitSelf waits for this instance, without reading the list.
func (f *Fleet) waitSelf(ctx context.Context, revision clustertime.Time) (SyncResult, error) {
	for ctx.Err() == nil && f.processed() < revision {
		if _, err := f.clusterTime(ctx, revision); err != nil {
			if ctx.Err() != nil {
				break
			}
			return SyncResult{}, err
		}
		f.waitForProgress(ctx, revision)
	}
	self := Instance{ID: f.config.Self, Revision: f.processed(), Staleness: -1, LastSeen: f.config.Now()}
	return syncResult([]Instance{self}, revision), nil
}

// waitForProgress waits for the round trip of a heartbeat: until this instance
// has processed revision, or until another heartbeat is due.
func (f *Fleet) waitForProgress(ctx context.Context, revision clustertime.Time) {
	timer := time.NewTimer(heartbeatRepeat)
	defer timer.Stop()
	for {
		progressed := f.progressed.wait()
		if f.processed() >= revision {
			return
		}
		select {
		case <-progressed:
		case <-timer.C:
			return
		case <-ctx.Done():
			return
		}
	}
}

// waitAll waits for every instance on the list. The list is read after a
// heartbeat of this instance, so this instance is on it.
func (f *Fleet) waitAll(ctx context.Context, revision clustertime.Time) (SyncResult, error) {
	now, err := f.clusterTime(ctx, revision)
	if err != nil {
		return SyncResult{}, err
	}
	w := f.follow(now)
	defer w.leave()
	var outcome SyncResult
	seen := false
	for w.next(ctx) {
		if !w.known {
			continue
		}
		seen = true
		if outcome = syncResult(w.instances, revision); outcome.Synced {
			return outcome, nil
		}
	}
	if !seen {
		return SyncResult{}, w.unavailable()
	}
	return outcome, nil
}

// syncResult returns which instances have reached a revision.
func syncResult(instances []Instance, revision clustertime.Time) SyncResult {
	outcome := SyncResult{Synced: true, Instances: instances, Missing: []string{}}
	for _, i := range instances {
		if i.Revision < revision {
			outcome.Synced = false
			outcome.Missing = append(outcome.Missing, i.ID)
		}
	}
	return outcome
}

// follower is a caller that follows the list.
type follower struct {
	f             *Fleet
	number, since uint64
	last          *snapshot
	// instances are the live instances of the last snapshot, if known.
	instances []Instance
	known     bool
}

// follow returns a follower of the reads of the list that begin from now on,
// and are not older than after.
func (f *Fleet) follow(after clustertime.Time) *follower {
	w := &follower{f: f}
	w.number, w.since = f.poll.join(after)
	return w
}

func (w *follower) leave() { w.f.poll.leave(w.number) }

// next waits for a new snapshot of the list, or for progress of this instance,
// whose own revision is not taken from the list. False: ctx has ended.
func (w *follower) next(ctx context.Context) bool {
	updated, progressed := w.f.poll.updated.wait(), w.f.progressed.wait()
	if w.last == w.f.poll.newerThan(w.since) {
		select {
		case <-updated:
		case <-progressed:
		case <-ctx.Done():
			return false
		}
	}
	w.last = w.f.poll.newerThan(w.since)
	if w.last == nil || w.last.err != nil {
		w.known = false
		return true
	}
	w.instances, w.known = w.last.live(w.f.config.Self)
	for i := range w.instances {
		if w.instances[i].ID == w.f.config.Self {
			w.instances[i].Revision = max(w.instances[i].Revision, w.f.processed())
		}
	}
	return true
}

// unavailable returns the error that explains why there is no list.
func (w *follower) unavailable() error {
	if w.last != nil && w.last.err != nil {
		return fmt.Errorf("%w: %w", ErrUnavailable, w.last.err)
	}
	return fmt.Errorf("%w: this instance is not on the list", ErrUnavailable)
}
