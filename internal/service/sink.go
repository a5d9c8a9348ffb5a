package service

import (
	"github.com/keytail/keytail/internal/changestream"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/events"
	"github.com/keytail/keytail/internal/fleet"
	"github.com/keytail/keytail/internal/keycache"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/revocation"
)

// sink passes what the stream delivers to the cache first, and then to those who
// listen: a listener that acts on an event gets answers from the new data. The
// watches come last because they act immediately, and a watch that ends may
// make its handler look at the events.
type sink struct {
	changestream.Sink
	events  *events.Hub
	watches *revocation.Watches
	fleet   *fleet.Fleet
}

func (s sink) Apply(change *keycache.Change) {
	s.Sink.Apply(change)
	s.events.Invalidated(change.ID, change.Time)
	// Without a revision: the cache has the change, so every answer contains it.
	if !s.watches.CountChange(0) {
		return
	}
	// An _id without a text form is not that of a key, so it has no watches.
	if id, ok := keystore.IDText(change.ID); ok {
		s.watches.RecheckKey(id, 0)
	}
}

// Open reports a loss once more. Answers between the loss and now came from the
// database; a change after such an answer and before the beginning of the new stream
// is in neither.
func (s sink) Open(floor clustertime.Time) {
	s.Sink.Open(floor)
	s.events.Lost(reasonReopened)
	s.watches.ChangedAll()
}

// reasonReopened is the reason of a loss that a new stream reports.
const reasonReopened = "reopened"

func (s sink) Fresh(f keycache.Freshness) {
	s.Sink.Fresh(f)
	s.fleet.NotifyProgress()
}

// reportLoss is called by the tail when all entries have become invalid.
func (s sink) reportLoss(reason changestream.Reason) {
	s.events.Lost(string(reason))
	s.watches.ChangedAll()
}
