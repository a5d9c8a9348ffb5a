package nemesis

import (
	"fmt"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// memory is what the answers of an instance reveal about its cache.
type memory struct {
	// advances are the last answers from the cache whose "as of" was later than that of
	// all answers before.
	advances []advance
	// cached maps each quiet key to the time of its last answer from the cache.
	cached map[string]time.Time
}

// advance is an answer from the cache: when it was given, and its "as of".
type advance struct{ given, asOf time.Time }

// advancesKept is far more than the number of heartbeats within max_stale.
const advancesKept = 256

func (m *memory) add(a Answer) {
	if n := len(m.advances); n == 0 || m.advances[n-1].asOf.Before(a.AsOf) {
		m.advances = append(m.advances[max(0, n-advancesKept):], advance{a.Given, a.AsOf})
	}
	if a.Quiet {
		m.cached[a.Key] = a.Given
	}
}

// asOf is the latest "as of" that the cache had reached by that time.
func (m *memory) asOf(at time.Time) time.Time {
	for i := len(m.advances) - 1; i >= 0; i-- {
		if m.advances[i].given.Before(at) {
			return m.advances[i].asOf
		}
	}
	return time.Time{}
}

// withheld finds UNAVAILABLE answers that the cache could have given: an earlier answer
// about the key came from the cache, the instance has lost no history since, and
// another answer proves that the cache was fresh enough. Answers must be passed in the
// order in which they were given.
func (h *History) withheld(a Answer, maxStale time.Duration) (Violation, bool) {
	m := h.memories[a.Instance]
	if m == nil {
		m = &memory{cached: map[string]time.Time{}}
		h.memories[a.Instance] = m
	}
	if a.Cached {
		m.add(a)
	}
	if a.Code != apikey.Unavailable || !a.Quiet {
		return Violation{}, false
	}
	cached, ok := m.cached[a.Key]
	asOf := m.asOf(a.Asked)
	if !ok || cached.After(a.Asked) || a.Given.Sub(asOf) >= maxStale || h.lostSince(a.Instance, cached, a.Given) {
		return Violation{}, false
	}
	return Violation{Answer: a, Rule: Withheld, Why: fmt.Sprintf("the cache answered at %s, and its data were as of %s", clock(cached), clock(asOf))}, true
}

func (h *History) lostSince(instance string, from, to time.Time) bool {
	for _, loss := range h.losses[instance] {
		if at := loss.At; !at.Before(from.Add(-lossMargin)) && !at.After(to.Add(lossMargin)) {
			return true
		}
	}
	return false
}
