package daemon

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/events"
	"github.com/keytail/keytail/internal/fleet"
	"github.com/keytail/keytail/internal/routes"
	"github.com/keytail/keytail/internal/service"
)

// Syncer is the fleet in the form that routes requires.
func (d *Daemon) Syncer() routes.Syncer { return syncer{d.Core.Fleet} }

// Events are the events in the form that routes requires.
func (d *Daemon) Events() routes.Events { return feed{d.Core.Events.Subscribe} }

// AdminEvents are those of the admin listener.
func (d *Daemon) AdminEvents() routes.Events { return feed{d.Core.Events.SubscribeAdmin} }

type syncer struct{ fleet *fleet.Fleet }

func (s syncer) Wait(ctx context.Context, revision clustertime.Time, all bool) (routes.SyncResult, error) {
	scope := fleet.ScopeInstance
	if all {
		scope = fleet.ScopeFleet
	}
	result, err := s.fleet.Wait(ctx, revision, scope)
	return routes.SyncResult{
		Synced: result.Synced, Instances: toInstances(result.Instances), Missing: result.Missing,
	}, toRouteErr(err)
}

func (s syncer) Instances(ctx context.Context) ([]routes.Instance, error) {
	all, err := s.fleet.Instances(ctx, 0)
	return toInstances(all), toRouteErr(err)
}

func toInstances(all []fleet.Instance) []routes.Instance {
	var instances []routes.Instance
	for _, i := range all {
		instances = append(instances, routes.Instance(i))
	}
	return instances
}

type feed struct {
	subscribe func(lastID string) (*events.Subscription, error)
}

func (f feed) Subscribe(lastID string) (routes.Subscription, error) {
	subscription, err := f.subscribe(lastID)
	if err != nil {
		return nil, err
	}
	return subscription, nil
}

// toRouteErr wraps err in the error that routes knows it by.
func toRouteErr(err error) error {
	for _, pair := range []struct{ have, want error }{
		{fleet.ErrBusy, routes.ErrTooManyWaiting},
		{fleet.ErrUnavailable, routes.ErrDatabaseUnavailable},
	} {
		if errors.Is(err, pair.have) {
			return fmt.Errorf("%w: %w", pair.want, err)
		}
	}
	return err
}

// status is the status of the core in the form that routes requires.
func (d *Daemon) status() routes.Status {
	s := d.Core.Status()
	return toRouteStatus(&s)
}

func toRouteStatus(s *service.Status) routes.Status {
	status := routes.Status{
		State:        string(s.State),
		Ready:        s.Ready,
		Strict:       s.Strict,
		StalenessMS:  milliseconds(s.Staleness),
		Epoch:        s.Epoch,
		Complete:     s.Complete,
		Entries:      s.Entries,
		LagMS:        milliseconds(s.Lag),
		Note:         s.Note,
		IndexMissing: s.IndexMissing,
	}
	if s.LastLoss != nil {
		loss := routes.Loss(*s.LastLoss)
		status.LastLoss = &loss
	}
	if p := s.Scan; p != nil {
		status.Scan = &routes.Scan{KeysRead: p.Read, KeysExpected: p.Expected, KeysPerSecond: int64(p.PerSecond), LeftMS: milliseconds(p.Left)}
	}
	if u := s.Usage; u != nil {
		status.Usage = &routes.Usage{PendingKeys: u.PendingKeys, BatchSize: u.BatchSize, FailingMS: milliseconds(u.Failing)}
	}
	return status
}

// milliseconds is -1 for a negative duration, which is one that is not known.
func milliseconds(d time.Duration) int64 {
	if d < 0 {
		return -1
	}
	return d.Milliseconds()
}
