package keytail

import (
	"time"

	"github.com/keytail/keytail/internal/service"
)

// State is how much data a Service has.
type State string

const (
	// StateConnecting: there is no change stream yet, or it lost its history. Each
	// request reads the database.
	StateConnecting State = "connecting"
	// StatePreloading: the change stream is open, and the first scan has not ended. Keys
	// that are not cached yet are read.
	StatePreloading State = "preloading"
	// StateLive: the change stream is fresh.
	StateLive State = "live"
	// StateStale: the change stream has not been fresh for longer than MaxStale. Each
	// request makes a linearizable read.
	StateStale State = "stale"
	// StateDown: stale, and the last linearizable read failed. Requests are Unavailable
	// until one succeeds.
	StateDown State = "down"
)

// Status is the state of a Service, for a readiness endpoint or a log.
type Status struct {
	// State is the state now.
	State State
	// Ready is what a readiness endpoint reports: true from the first time live until
	// Drain. It stays true through an outage, because another instance would be no
	// better off.
	Ready bool
	// Strict is true if the service is ready, live now, and nothing that the other
	// fields name is wrong.
	Strict bool
	// Staleness is that of answers from the cache. Negative: not known.
	Staleness time.Duration
	// Complete: the cache holds every key.
	Complete bool
	// Entries is the number of entries in the cache.
	Entries int
	// Note is a sentence on a guarantee that is weaker with this deployment, as on a
	// sharded cluster. Empty: the guarantees hold as documented.
	Note string
	// IndexMissing is a message, with what to do, if the hash no longer has a unique index.
	// Empty: it has one.
	IndexMissing string
	// LostAt is the last time that the change stream lost its history. Zero: never.
	LostAt time.Time
}

// Status is the state of the service now. It reads memory only.
func (s *Service) Status() Status { return statusOf(s.core.Status()) }

func statusOf(s service.Status) Status {
	status := Status{
		State:        State(s.State),
		Ready:        s.Ready,
		Strict:       s.Strict,
		Staleness:    s.Staleness,
		Complete:     s.Complete,
		Entries:      s.Entries,
		Note:         inFieldNames(s.Note),
		IndexMissing: inFieldNames(s.IndexMissing),
	}
	if s.LastLoss != nil {
		status.LostAt = s.LastLoss.At
	}
	return status
}
