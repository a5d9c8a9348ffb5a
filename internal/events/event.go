package events

import (
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
)

// Kind of an event. It is the event's name on the wire.
type Kind string

// The kinds.
const (
	// Invalidation: a key's document has changed or is gone, or there is a new one.
	Invalidation Kind = "invalidation"
	// Loss: changes may have been missed.
	Loss Kind = "loss"
	// State: the instance is in another state (README.md lists them).
	State Kind = "state"
	// Resync: this subscriber may have missed events.
	Resync Kind = "resync"
)

// Why a subscriber has to begin anew, as a Resync's Reason.
const (
	// ReasonStart: it gave no id to go on from.
	ReasonStart = "start"
	// ReasonTooOld: what came after its id is not held any more.
	ReasonTooOld = "too_old"
	// ReasonOtherInstance: its id is of another instance, or of this one before it
	// was started again.
	ReasonOtherInstance = "other_instance"
	// ReasonMalformed: its id is none.
	ReasonMalformed = "malformed"
	// ReasonSlow: it has read too slowly. Its subscription ends with this event.
	ReasonSlow = "slow"
)

// Event as a subscriber gets it. Only the fields of its Kind are set.
type Event struct {
	// ID goes on from here, as Subscribe's lastID.
	ID   string
	Kind Kind
	// KeyID is an Invalidation's key, as in answers, and Revision the cluster time
	// of the change.
	KeyID    string
	Revision clustertime.Time
	// Reason of a Loss or a Resync.
	Reason string
	// From and To are a State's. To is also a Resync's, the state that the instance is
	// in at that event; empty: it has not said.
	From, To string
}

// record is an event as it is held: what costs something to make is made for
// those who read it.
type record struct {
	kind     Kind
	id       apikey.DocID
	revision clustertime.Time
	reason   string
	from, to string
}
