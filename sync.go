package keytail

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/fleet"
)

// RevisionOf returns the revision of a write: the operation time of the mongo.Session
// that made it. It is zero for a session without an operation, whose time is nil.
func RevisionOf(operationTime *bson.Timestamp) auth.Revision {
	if operationTime == nil {
		return 0
	}
	return auth.Revision(clustertime.New(operationTime.T, operationTime.I))
}

// SyncScope selects which instances Sync waits for.
type SyncScope string

const (
	// SyncInstance waits for this instance.
	SyncInstance SyncScope = "instance"
	// SyncFleet waits for every live instance that uses the same collection.
	SyncFleet SyncScope = "fleet"
)

// ErrTooManyWaits means that too many calls of Sync wait already.
var ErrTooManyWaits = errors.New("too many callers wait for a revision already: try again later")

// Acknowledgement reports whether all changes up to a revision have been applied.
type Acknowledgement struct {
	// Synced: every instance that was waited for has applied them.
	Synced bool
	// Missing are the ids of the instances that have not, sorted.
	Missing []string
}

// Sync waits until this instance, or the whole fleet, has applied all changes up to a
// revision: after that, their answers contain the write with this revision.
// RevisionOf is the revision of a write.
//
// A ctx whose deadline passes is no error: the acknowledgement names the instances
// that are missing. The error is auth.ErrRevisionAhead for a revision that no write
// has, auth.ErrUnavailable if the database does not list the fleet, ErrTooManyWaits,
// or that of a ctx that was cancelled.
func (s *Service) Sync(ctx context.Context, revision auth.Revision, scope SyncScope) (Acknowledgement, error) {
	var of fleet.Scope
	switch scope {
	case SyncInstance:
		of = fleet.ScopeInstance
	case SyncFleet:
		of = fleet.ScopeFleet
	default:
		return Acknowledgement{}, fmt.Errorf("the scope of Sync is %q: it must be %s or %s", scope, SyncInstance, SyncFleet)
	}
	result, err := s.core.Fleet.Wait(ctx, clustertime.Time(revision), of)
	return Acknowledgement{Synced: result.Synced, Missing: result.Missing}, syncErr(err)
}

// syncErr wraps err in the error that callers know it by.
func syncErr(err error) error {
	for _, pair := range []struct{ have, want error }{
		{fleet.ErrUnavailable, auth.ErrUnavailable},
		{fleet.ErrBusy, ErrTooManyWaits},
	} {
		if errors.Is(err, pair.have) {
			return fmt.Errorf("%w: %w", pair.want, err)
		}
	}
	return err
}
