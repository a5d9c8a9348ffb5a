package validator

import (
	"context"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/guard"
)

// Heartbeater writes to the database at once, to learn what time it is there. A
// changestream.Heartbeater is one.
type Heartbeater interface {
	// Beat writes with write concern majority and returns the cluster time
	// (operationTime) of the acknowledgement.
	Beat(ctx context.Context) (clustertime.Time, error)
}

// rejectAhead returns errAhead for a revision that the cluster has not been at,
// before anything is read for it: a server makes a read after such a time wait
// until its deadline, and it would keep others from reading for as long. known is
// a time that the cluster has been at for certain. A revision up to it needs no
// heartbeat, and most do not: the event of a write shows its time within
// milliseconds.
//
// asked: a heartbeat was asked for; a revision that is not ahead may still be, if
// it failed. While heartbeats fail they would only delay the read, so none is asked
// for, and the read goes first, within the few places of kindUnreached.
func (v *Validator) rejectAhead(ctx context.Context, revision, known clustertime.Time) (asked bool, err error) {
	if revision <= known || v.beatFailed.Load() || !guard.RevisionFirst {
		return false, nil
	}
	if v.isAhead(ctx, revision) {
		return true, errAhead
	}
	// A caller that has left needs no read.
	return true, ctx.Err()
}

// isAhead reports whether the cluster has not been at a revision yet. Whoever
// was given a revision got it after a majority had acknowledged what it stands
// for. A heartbeat that is sent later follows that in the log, so the time of
// its own acknowledgement is not before it. False when this cannot be found out.
//
// Callers share heartbeats, each of which begins after its callers have arrived.
func (v *Validator) isAhead(ctx context.Context, revision clustertime.Time) bool {
	if v.config.Pulse == nil || revision <= v.acknowledgedAt() {
		return false
	}
	now, err := v.beats.do(ctx, struct{}{})
	return err == nil && now < revision
}

// acknowledgedAt is the time of the newest heartbeat that somebody has waited for.
// The cluster has been there, so a revision up to it is not ahead.
func (v *Validator) acknowledgedAt() clustertime.Time {
	return clustertime.Time(v.acknowledged.Load())
}

// runBeat is a flight of isAhead. One at a time is under way.
func (v *Validator) runBeat(struct{}) (clustertime.Time, error) {
	ctx, cancel := context.WithTimeout(context.Background(), v.config.ReadTimeout)
	defer cancel()
	now, err := v.config.Pulse.Beat(ctx)
	v.beatFailed.Store(err != nil)
	if err == nil {
		v.acknowledged.Store(max(v.acknowledged.Load(), uint64(now)))
	}
	return now, err
}
