package nemesis

import (
	"slices"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/history"
)

// FalseAcknowledgement: an answer ignores a write although the fleet reported, before
// the request, that every instance had applied it (synced: true).
const FalseAcknowledgement = "false write acknowledgement"

// acknowledgement is one `synced: true` of the whole fleet: from the time at on, no
// answer of any instance may ignore a write that was acknowledged before covers.
type acknowledgement struct{ at, covers time.Time }

// AddAcknowledgement records that the fleet reported, at this time, that it had
// applied a write that was sent at covers. A write that was acknowledged before that
// has an earlier cluster time, so it is covered, too.
func (h *History) AddAcknowledgement(covers, at time.Time) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.acknowledgementCount++
	if r := h.recorder; r != nil {
		r.add(&history.Acknowledgement{Scope: history.Fleet, At: r.at(at), Covers: r.at(covers)})
	}
	// Sorted by at, each with the latest covers so far.
	i, _ := slices.BinarySearchFunc(h.acknowledgements, at, func(r acknowledgement, at time.Time) int { return r.at.Compare(at) })
	if i > 0 && h.acknowledgements[i-1].covers.After(covers) {
		return
	}
	h.acknowledgements = slices.Insert(h.acknowledgements, i, acknowledgement{at, covers})
	for j := i + 1; j < len(h.acknowledgements) && h.acknowledgements[j].covers.Before(covers); j++ {
		h.acknowledgements[j].covers = covers
	}
}

// falseAcknowledgement checks an answer against the acknowledgements that the fleet
// gave before the request.
func (h *History) falseAcknowledgement(a Answer, spans []span) (Violation, bool) {
	i, _ := slices.BinarySearchFunc(h.acknowledgements, a.Asked, func(r acknowledgement, asked time.Time) int { return r.at.Compare(asked) })
	if i == 0 || a.Code == apikey.Unavailable {
		return Violation{}, false
	}
	r := h.acknowledgements[i-1]
	if !r.covers.After(a.AsOf) {
		return Violation{}, false // FalseAge is stricter
	}
	w := window{a.Asked, r.covers, a.Given}
	if isPossible(a.Code, spans, w) {
		return Violation{}, false
	}
	return Violation{Answer: a, Rule: FalseAcknowledgement, Why: "the fleet reported synced at " + clock(r.at) + "; " + possible(spans, w)}, true
}
