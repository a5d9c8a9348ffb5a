package events

import (
	"time"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
)

// Kind of an event. It is the event's type on the wire (package api).
type Kind = api.EventKind

// The kinds.
const (
	// Invalidation: a key's document was inserted, changed or deleted.
	Invalidation = api.EventInvalidation
	// Loss: changes may have been missed.
	Loss = api.EventLoss
	// State: the state of the instance changed (docs/http.md#states).
	State = api.EventState
	// Resync: this subscriber may have missed events.
	Resync = api.EventResync
	// Expiring: a key is about to expire.
	Expiring = api.EventExpiring
)

// Why a subscriber must start again: the Reason of a Resync.
const (
	// ReasonStart: it gave no id to continue from.
	ReasonStart = "start"
	// ReasonTooOld: the events after its id are not in the history any more.
	ReasonTooOld = "too_old"
	// ReasonOtherInstance: its id is from another instance, or from this one
	// before a restart.
	ReasonOtherInstance = "other_instance"
	// ReasonMalformed: its id is not valid.
	ReasonMalformed = "malformed"
	// ReasonSlow: it read too slowly. Its subscription ends with this event.
	ReasonSlow = "slow"
)

// Event as a subscriber receives it. Only the fields of its Kind are set.
type Event struct {
	// ID is where to continue: the lastID of Subscribe.
	ID   string
	Kind Kind
	// KeyID is the key of an Invalidation or of an Expiring, as in responses.
	// Revision is the cluster time of the change, ExpiresAt the end of the key.
	KeyID     string
	Revision  clustertime.Time
	ExpiresAt time.Time
	// Reason of a Loss or a Resync.
	Reason string
	// From and To are those of a State. To is also the state of the instance at a
	// Resync; empty: it has not reported one.
	From, To string
}

// record is an event as the ring stores it: the fields of Event are made only for
// those who read it.
type record struct {
	kind      Kind
	id        apikey.DocID
	revision  clustertime.Time
	expiresAt time.Time
	reason    string
	from, to  string
}
