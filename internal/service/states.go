package service

import (
	"time"

	"github.com/keytail/keytail/internal/preload"
)

// State is how much data the service has. It is the label of a metric.
type State string

const (
	// Connecting: the stream has no history yet, or lost it. Each request reads the
	// database.
	Connecting State = "connecting"
	// Preloading: the stream has its history, and the first scan since then has not
	// ended. Keys that are not cached yet are read.
	Preloading State = "preloading"
	// Live: the stream has its history and is fresh.
	Live State = "live"
	// Stale: the stream has not been fresh for longer than max_stale. Each request
	// makes a linearizable read.
	Stale State = "stale"
	// Down: stale, and the last linearizable read failed. Answers are UNAVAILABLE
	// until one succeeds.
	Down State = "down"
)

var states = []State{Connecting, Preloading, Live, Stale, Down}

// signs are what a state is derived from. Each is read from one part; reading
// changes nothing.
type signs struct {
	// trusted: the stream has its history. fresh: it is fresh.
	trusted, fresh bool
	// began: it has been fresh at least once.
	began bool
	// loading: the first scan has not ended.
	loading bool
	// down: linearizable reads fail.
	down bool
}

// state is down or stale first: staleness matters more than a complete cache.
func (s signs) state() State {
	switch {
	case s.down:
		return Down
	case s.began && !s.fresh:
		return Stale
	case !s.trusted || !s.began:
		return Connecting
	case s.loading:
		return Preloading
	default:
		return Live
	}
}

// isLost reports whether changes may have been missed: the stream has not been fresh for longer
// than max_stale. A service whose stream was never fresh has missed nothing until the database
// fails, too.
func (s signs) isLost() bool { return !s.fresh && (s.began || s.down) }

// Status is the state of the service, and what it depends on.
type Status struct {
	State State
	// Ready: from the first time live until Drain.
	Ready bool
	// Strict: live now, with a unique index, before Drain.
	Strict bool
	// Staleness is that of answers from the cache. Negative: not known.
	Staleness time.Duration
	// Lag is how long the last change took from the database to the cache. Negative:
	// not known.
	Lag time.Duration
	// Epoch is the cache's epoch; odd while history is lost.
	Epoch uint64
	// Complete: the cache holds every key.
	Complete bool
	// Entries is the number of entries in the cache.
	Entries int
	// Note is a sentence on a guarantee that is weaker here, as on a sharded cluster.
	// Empty: the guarantees hold as documented.
	Note string
	// IndexMissing is a message, with what to do, if the hash no longer has a unique index.
	// Empty: it has one.
	IndexMissing string
	// LastLoss is the last time that history was lost. Nil: never.
	LastLoss *Loss
	// Scan is how far a scan of the collection is. Nil: none is running that has taken
	// a second.
	Scan *preload.Progress
	// Usage is how the writing of usage goes. Nil: it is not written. Answers do not
	// depend on it, and neither do Ready and Strict.
	Usage *UsageStatus
}

// Loss is one loss of history.
type Loss struct {
	At     time.Time
	Reason string
}

// UsageStatus is how the writing of usage goes.
type UsageStatus struct {
	// PendingKeys have uses that are not written yet. BatchSize is how many keys go
	// into one command.
	PendingKeys int64
	BatchSize   int
	// Failing is how long the writing has failed for. Negative: it does not fail.
	Failing time.Duration
}
