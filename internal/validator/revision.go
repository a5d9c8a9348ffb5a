package validator

import (
	"context"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/guard"
)

// Heartbeater writes a heartbeat immediately, to learn the current cluster
// time. A changestream.Heartbeater is one.
type Heartbeater interface {
	// Beat writes with write concern majority and returns the cluster time
	// (operationTime) of the acknowledgement.
	Beat(ctx context.Context) (clustertime.Time, error)
}

// rejectAhead returns errRevisionAhead for a revision that the cluster has not
// reached, before anything is read for it: a server makes a read after such a
// time wait until its deadline, and the read would take a place from others for
// that long. known is a time that the cluster has certainly reached. A revision
// up to it needs no heartbeat, and most do not: the event of a write shows its
// time within milliseconds.
//
// sent means that a heartbeat was requested; if the heartbeat failed, the
// revision may be ahead although there is no error. While heartbeats fail, they
// would only delay the read, so none is requested, and the read goes first,
// within the few places of kindUnreached.
func (v *Validator) rejectAhead(ctx context.Context, revision, known clustertime.Time) (sent bool, err error) {
	if revision <= known || v.beatFailed.Load() || !guard.RevisionFirst {
		return false, nil
	}
	if v.isAhead(ctx, revision) {
		return true, errRevisionAhead
	}
	// A caller that has left needs no read.
	return true, ctx.Err()
}

// isAhead reports whether the cluster has not reached a revision yet. A client
// gets a revision only after a majority has acknowledged the change that it
// represents. A heartbeat that is sent later follows that change in the oplog,
// so the time of its own acknowledgement is not before the revision. False if
// this cannot be found out.
//
// Callers share heartbeats, each of which begins after its callers have
// arrived.
func (v *Validator) isAhead(ctx context.Context, revision clustertime.Time) bool {
	if v.config.Heartbeater == nil || revision <= v.acknowledgedAt() {
		return false
	}
	now, err := v.beats.do(ctx, struct{}{})
	return err == nil && now < revision
}

// acknowledgedAt is the time of the newest heartbeat that a request has waited
// for. The cluster has reached it, so a revision up to it is not ahead.
func (v *Validator) acknowledgedAt() clustertime.Time {
	return clustertime.Time(v.acknowledged.Load())
}

// runBeat is a flight of isAhead. One at a time is in progress.
func (v *Validator) runBeat(ctx context.Context, _ struct{}) (clustertime.Time, error) {
	ctx, cancel := context.WithTimeout(ctx, v.config.ReadTimeout)
	defer cancel()
	now, err := v.config.Heartbeater.Beat(ctx)
	v.beatFailed.Store(err != nil)
	if err == nil {
		v.acknowledged.Store(max(v.acknowledged.Load(), uint64(now)))
	}
	return now, err
}
