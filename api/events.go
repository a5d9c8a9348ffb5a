package api

// EventKind is the type of a server-sent event of PathEvents.
type EventKind string

// The kinds. A client treats a kind that it does not know as EventLoss.
const (
	// EventInvalidation: a key's document was inserted, changed or deleted. Its
	// data is an Invalidation.
	EventInvalidation EventKind = "invalidation"
	// EventLoss: changes may have been missed. Its data is a LossEvent.
	EventLoss EventKind = "loss"
	// EventState: the state of the instance has changed. Its data is a StateChange.
	EventState EventKind = "state"
	// EventResync: this subscriber may have missed events. Its data is a Resync.
	EventResync EventKind = "resync"
	// EventExpiring: a key is about to expire. Its data is an ExpiryNotice. Only the
	// admin listener sends it.
	EventExpiring EventKind = "expiring"
)

// Invalidation is the data of EventInvalidation.
type Invalidation struct {
	KeyID string `json:"key_id"`
	// Revision is that of the change.
	Revision string `json:"revision"`
}

// LossEvent is the data of EventLoss.
type LossEvent struct {
	// Reason is "reopened" when the instance receives changes again.
	Reason string `json:"reason"`
}

// StateChange is the data of EventState.
type StateChange struct {
	From string `json:"from"`
	To   string `json:"to"`
}

// Resync is the data of EventResync.
type Resync struct {
	Reason string `json:"reason"`
	// State is the instance's at this event. Absent: it has not reported one.
	State string `json:"state,omitempty"`
}

// ExpiryNotice is the data of EventExpiring. It is no change: the key is valid until
// ExpiresAt.
type ExpiryNotice struct {
	KeyID     string `json:"key_id"`
	ExpiresAt Time   `json:"expires_at"`
}
