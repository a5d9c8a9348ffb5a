package validator

import (
	"context"

	"github.com/keytail/keytail/internal/clustertime"
)

// Pulse writes to the database at once, to learn what time it is there. A
// changestream.Heart is one.
type Pulse interface {
	// Beat writes with write concern majority and returns the cluster time
	// (operationTime) of the acknowledgement.
	Beat(ctx context.Context) (clustertime.Time, error)
}

// isAhead reports whether the cluster has not been at a revision yet. Whoever
// was given a revision got it after a majority had acknowledged what it stands
// for. A heartbeat that is sent later follows that in the log, so the time of
// its own acknowledgement is not before it. False when this cannot be found out.
//
// Callers share heartbeats, each of which begins after its callers have arrived.
func (v *Validator) isAhead(ctx context.Context, revision clustertime.Time) bool {
	if v.config.Pulse == nil || revision == 0 {
		return false
	}
	now, err := v.beats.do(ctx, struct{}{})
	return err == nil && now < revision
}

// runBeat is a flight of isAhead.
func (v *Validator) runBeat(struct{}) (clustertime.Time, error) {
	ctx, cancel := context.WithTimeout(context.Background(), v.config.ReadTimeout)
	defer cancel()
	return v.config.Pulse.Beat(ctx)
}
