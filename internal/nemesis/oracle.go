package nemesis

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// Violation is an answer that breaks a rule.
type Violation struct {
	Answer Answer
	// Rule is the name of the rule, such as FalseAge.
	Rule string
	// Why names the states that the key can have had.
	Why string
}

func (v Violation) String() string {
	a := v.Answer
	age := fmt.Sprintf("as of %s, staleness %v", clock(a.AsOf), a.Staleness)
	if a.NoAge {
		age = "with no age"
	}
	return fmt.Sprintf("%s: %s answered %v for %s at %s (asked %v before, cached %v), %s: %s",
		v.Rule, a.Instance, a.Code, a.Key, clock(a.Given), a.Given.Sub(a.Asked), a.Cached, age, v.Why)
}

func clock(t time.Time) string { return t.Format("15:04:05.000000") }

// The rules.
const (
	// FalseAge: the key had the answered state at no time between the reported "as of"
	// and the answer; or AsOf and Staleness contradict each other.
	FalseAge = "false age"
	// LateAcceptance: VALID more than max_stale, plus the duration of the request, after
	// an acknowledged write that made the key invalid.
	LateAcceptance = "late acceptance"
	// TooOld: the answer reports a staleness above max_stale.
	TooOld = "too old"
	// Withheld: UNAVAILABLE for a key that the cache held, fresh enough to answer.
	Withheld = "withheld"
	// FalseNotFound: NOT_FOUND while the collection did not exist, from an instance that
	// knew it. Without a collection nothing is known about a key, so the answer must be
	// UNAVAILABLE.
	FalseNotFound = "false NOT_FOUND"
)

// span is the time in which the key may have had a state: from the sending of its
// write to the acknowledgement of the next acknowledged write.
type span struct {
	state    apikey.Code
	from, to time.Time // to is zero for "until now"
	// begins and ends bound a state that depends on the clock (Expired, and Valid with
	// an expiry). They are compared with the time of the request and of the answer,
	// regardless of the staleness that the answer reports. Zero: no such bound.
	begins, ends time.Time
}

// window is the time in which an answer must have been correct: between from and to.
// What depends on the clock alone must have been correct between asked and to.
type window struct{ asked, from, to time.Time }

// spans returns the spans of one key's writes, in their order. A write of unknown
// outcome may have taken effect at any time until the next acknowledged one, or
// never, and ends no other span. Before its first write a key is NotFound.
func spans(writes []Write) []span {
	result := make([]span, 1, len(writes)+1)
	var end time.Time
	for _, w := range slices.Backward(writes) {
		s := span{state: w.State, from: w.Sent, to: end}
		if !w.Expires.IsZero() {
			expired := s
			s.ends, expired.begins, expired.state = w.Expires, w.Expires, apikey.Expired
			result = append(result, expired)
		}
		result = append(result, s)
		if !w.Acknowledged.IsZero() {
			end = w.Acknowledged
		}
	}
	result[0] = span{state: apikey.NotFound, to: end}
	slices.Reverse(result[1:])
	return result
}

// Check checks all answers, and returns the violations that this and all calls of
// CheckUntil have found. UNAVAILABLE is never a wrong answer, but may be Withheld.
func (h *History) Check(maxStale time.Duration) []Violation {
	return h.CheckUntil(maxStale, time.Time{})
}

// CheckUntil is Check for the answers that were given before a time (zero: all), and
// drops them. Acknowledgements must have been recorded before the answers that follow
// them are checked: pass a time that is a second ago.
func (h *History) CheckUntil(maxStale time.Duration, before time.Time) []Violation {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	// In the order in which they were given, for Withheld.
	sort.SliceStable(h.answers, func(i, j int) bool { return h.answers[i].Given.Before(h.answers[j].Given) })
	n := len(h.answers)
	if !before.IsZero() {
		n = sort.Search(n, func(i int) bool { return !h.answers[i].Given.Before(before) })
	}
	byKey := map[string][]span{}
	for _, a := range h.answers[:n] {
		if _, known := byKey[a.Key]; !known {
			byKey[a.Key] = h.spansOf(a.Key)
		}
		h.found = append(h.found, check(a, byKey[a.Key], maxStale)...)
		if v, wrong := h.falseAcknowledgement(a, byKey[a.Key]); wrong {
			h.found = append(h.found, v)
		}
		if v, wrong := h.withheld(a, maxStale); wrong && !a.NoAge {
			h.found = append(h.found, v)
		}
		if v, wrong := h.falseNotFound(a); wrong {
			h.found = append(h.found, v)
		}
		h.count(a)
		h.delay(a)
		if _, unrecorded := h.unrecorded[a.Key]; unrecorded {
			continue
		}
		h.score.add(a, byKey[a.Key], maxStale, h.during(a))
		if !a.NoAge {
			h.register.add(a, h.writes[a.Key])
		}
	}
	h.answers = append([]Answer(nil), h.answers[n:]...)
	return append([]Violation(nil), h.found...)
}

// check applies the rules that need only the answer and the writes of its key.
func check(a Answer, spans []span, maxStale time.Duration) (found []Violation) {
	if a.Code == apikey.Unavailable {
		return nil
	}
	wrong := func(rule, why string) { found = append(found, Violation{Answer: a, Rule: rule, Why: why}) }
	asOf, staleness := a.AsOf, a.Staleness
	if a.NoAge {
		asOf, staleness = a.Asked.Add(-maxStale), maxStale
	}
	// The answer was made after the request, so its staleness is at least the time from
	// its "as of" to the request.
	if age := a.Asked.Sub(asOf); staleness < age {
		wrong(FalseAge, fmt.Sprintf("it was already %v old at the time of the request", age))
	} else if w := (window{a.Asked, asOf, a.Given}); !isPossible(a.Code, spans, w) {
		// The staleness counts up to some time before the answer arrived.
		wrong(FalseAge, possible(spans, w))
	}
	// Weaker than FalseAge, but independent of what the answer reports.
	if w := (window{a.Asked, a.Asked.Add(-maxStale), a.Given}); a.Code == apikey.Valid && !isPossible(a.Code, spans, w) {
		wrong(LateAcceptance, possible(spans, w))
	}
	if staleness > maxStale {
		wrong(TooOld, fmt.Sprintf("max_stale is %v", maxStale))
	}
	return found
}

// byDrop are the reasons of a loss from which an instance learns that the collection is gone.
var byDrop = []string{"drop", "drop_database", "rename", "invalidate"}

// falseNotFound finds a NOT_FOUND of an instance that knew that the collection did not
// exist. An instance that does not know yet may answer from what it reads.
func (h *History) falseNotFound(a Answer) (Violation, bool) {
	if a.Code != apikey.NotFound {
		return Violation{}, false
	}
	for _, gone := range h.missing {
		if gone.From.After(a.Asked) || (!gone.To.IsZero() && gone.To.Before(a.Given)) {
			continue
		}
		for _, loss := range h.losses[a.Instance] {
			since := knownSince(loss)
			if slices.Contains(byDrop, loss.Reason) && since.After(gone.From) && since.Before(a.Asked) {
				return Violation{Answer: a, Rule: FalseNotFound, Why: "the collection did not exist, which the instance knew since " + clock(loss.At)}, true
			}
		}
	}
	return Violation{}, false
}

// knownSince is when the instance knew of a loss: it may have learned of it a little before
// the client that caused it.
func knownSince(loss Loss) time.Time { return loss.At.Add(lossMargin) }

// isPossible reports whether the key may have had the state at some time in the window,
// ends included.
func isPossible(state apikey.Code, spans []span, w window) bool {
	// Start with the latest spans, which match most often.
	for i := len(spans) - 1; i >= 0; i-- {
		if spans[i].state == state && spans[i].overlaps(w) {
			return true
		}
	}
	return false
}

func (s span) overlaps(w window) bool {
	return !s.from.After(w.to) && (s.to.IsZero() || !s.to.Before(w.from)) &&
		!s.begins.After(w.to) && (s.ends.IsZero() || !s.ends.Before(w.asked))
}

func possible(spans []span, w window) string {
	text := "between " + clock(w.from) + " and " + clock(w.to) + " possible states were"
	for _, s := range spans {
		if s.overlaps(w) {
			text += " " + s.state.String()
		}
	}
	return text
}
