package nemesis

import (
	"slices"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// FalseReceipt: an answer ignores a write that every instance was said to have
// applied (synced: true) before the answer was asked for.
const FalseReceipt = "false receipt"

// receipt is one `synced: true` of the whole fleet: from the time at, no answer
// of any instance ignores a write that was acknowledged before covers.
type receipt struct{ at, covers time.Time }

// Synced records that the fleet was said to be synced, at this time, with a write
// that was sent at covers. Whatever was acknowledged before that write was sent
// has an earlier cluster time, and so is covered.
func (h *History) Synced(covers, at time.Time) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.receipted++
	// Sorted by at, each with the furthest coverage so far.
	i, _ := slices.BinarySearchFunc(h.receipts, at, func(r receipt, at time.Time) int { return r.at.Compare(at) })
	if i > 0 && h.receipts[i-1].covers.After(covers) {
		return
	}
	h.receipts = slices.Insert(h.receipts, i, receipt{at, covers})
	for j := i + 1; j < len(h.receipts) && h.receipts[j].covers.Before(covers); j++ {
		h.receipts[j].covers = covers
	}
}

// falseReceipt checks an answer against the receipts that were given before it
// was asked for.
func (h *History) falseReceipt(a Answer, spans []span) (Violation, bool) {
	i, _ := slices.BinarySearchFunc(h.receipts, a.Asked, func(r receipt, asked time.Time) int { return r.at.Compare(asked) })
	if i == 0 || a.Code == apikey.Unavailable {
		return Violation{}, false
	}
	r := h.receipts[i-1]
	if !r.covers.After(a.AsOf) {
		return Violation{}, false // rule FalseAge asks for more
	}
	w := window{a.Asked, r.covers, a.Given}
	if possible(a.Code, spans, w) {
		return Violation{}, false
	}
	return Violation{Answer: a, Rule: FalseReceipt, Why: "the fleet was synced at " + clock(r.at) + "; " + history(spans, w)}, true
}
