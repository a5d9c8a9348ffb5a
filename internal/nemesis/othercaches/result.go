package othercaches

import (
	"time"

	"github.com/keytail/keytail/internal/nemesis"
)

// Keytail is the name of keytail among the caches.
const Keytail = "keytail"

// Result is what one cache did under the nemesis.
type Result struct {
	// Cache is the name of a Kind, or Keytail.
	Cache string
	// TTL is the time to live if it was not the one of the kind. Zero: it was.
	TTL time.Duration
	// MaxStale is the bound by which late acceptances are counted.
	MaxStale time.Duration
	// Seed decides the faults and the writes. They took For, and requests went on for After; Took is
	// from the first request to the last.
	Seed             uint64
	For, After, Took time.Duration
	Instances        int
	Writes           int
	// Faults counts the faults of each kind.
	Faults map[string]int
	Score  nemesis.Score
	// Wrong is how many answers break a rule.
	Wrong int
	// Finds and Commands are what all instances sent to the database.
	Finds, Commands int64
}
