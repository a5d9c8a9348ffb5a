package keytail

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/events"
	"github.com/keytail/keytail/internal/fleet"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/revocation"
	"github.com/keytail/keytail/internal/routes"
)

// sink hands what the stream says to the cache first, and then tells those who
// want to know: whoever acts on what they hear is answered by the new truth. The
// watches come last because they act at once, and a watch that ends may make its
// handler look at the events.
type sink struct {
	changestream.Sink
	events  *events.Hub
	watches *revocation.Watches
	fleet   *fleet.Fleet
}

func (s sink) Apply(change *keycache.Change) {
	s.Sink.Apply(change)
	s.events.Invalidated(change.ID, change.Time)
	// No revision: the cache has the change, so any answer has seen it.
	if !s.watches.CountChange(0) {
		return
	}
	// What has no text is no key's, and nobody can have been given it.
	if id, ok := keystore.IDText(change.ID); ok {
		s.watches.RecheckKey(id, 0)
	}
}

// Open tells all once more. Who asked between the loss and now was answered by the
// database, and what changed between their answer and the place where the new
// stream begins is in neither.
func (s sink) Open(floor clustertime.Time) {
	s.Sink.Open(floor)
	s.events.Lost(reasonReopened)
	s.watches.ChangedAll()
}

// reasonReopened is a loss's reason when the stream has begun anew.
const reasonReopened = "reopened"

func (s sink) Fresh(f keycache.Freshness) {
	s.Sink.Fresh(f)
	s.fleet.Moved()
}

// lost is told by the tail when the cache has forgotten everything.
func (s sink) lost(reason changestream.Reason) {
	s.events.Lost(string(reason))
	s.watches.ChangedAll()
}

// newSink makes the fleet and the hub, and what feeds them.
func newSink(config Config, cache *keycache.Cache, heart *changestream.Heartbeater, collection string) (sink, error) {
	hub, hubErr := events.New(events.Config{Text: keystore.IDText})
	f, fleetErr := fleet.New(fleet.Config{
		Heartbeats: heart.Heartbeats(),
		Namespace:  config.Database + "." + collection,
		Self:       heart.ID(),
		Pulse:      heart,
		Fresh: func() (time.Time, clustertime.Time) {
			if fresh := cache.Freshness(); fresh != nil {
				return fresh.AsOf, fresh.Processed
			}
			return time.Time{}, 0
		},
		Logger:     config.Logger,
		Registerer: config.Registry,
	})
	return sink{cache, hub, revocation.New(revocation.Config{}), f}, errors.Join(hubErr, fleetErr)
}

// syncer is a fleet as routes ask it.
type syncer struct{ fleet *fleet.Fleet }

func (s syncer) Wait(ctx context.Context, revision clustertime.Time, all bool) (routes.Receipt, error) {
	scope := fleet.ScopeInstance
	if all {
		scope = fleet.ScopeFleet
	}
	outcome, err := s.fleet.Wait(ctx, revision, scope)
	return routes.Receipt{
		Synced: outcome.Synced, Instances: instancesOf(outcome.Instances), Missing: outcome.Missing,
	}, inWordsOfRoutes(err)
}

func (s syncer) Instances(ctx context.Context) ([]routes.Instance, error) {
	all, err := s.fleet.Instances(ctx, 0)
	return instancesOf(all), inWordsOfRoutes(err)
}

func instancesOf(all []fleet.Instance) []routes.Instance {
	var instances []routes.Instance
	for _, i := range all {
		instances = append(instances, routes.Instance(i))
	}
	return instances
}

// feed is a hub as routes ask it.
type feed struct{ hub *events.Hub }

func (f feed) Subscribe(lastID string) (routes.Subscription, error) {
	subscription, err := f.hub.Subscribe(lastID)
	if err != nil {
		return nil, inWordsOfRoutes(err)
	}
	return subscription, nil
}

// inWordsOfRoutes keeps err, and adds what routes know it by.
func inWordsOfRoutes(err error) error {
	for _, pair := range []struct{ have, want error }{
		{fleet.ErrRevisionAhead, routes.ErrRevisionAhead},
		{fleet.ErrBusy, routes.ErrTooManyWaiting},
		{events.ErrBusy, routes.ErrTooManyWaiting},
		{fleet.ErrUnavailable, routes.ErrDatabaseAway},
		{events.ErrClosed, routes.ErrShuttingDown},
	} {
		if errors.Is(err, pair.have) {
			return fmt.Errorf("%w: %w", pair.want, err)
		}
	}
	return err
}
