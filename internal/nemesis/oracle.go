package nemesis

import (
	"fmt"
	"sort"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// Violation is an answer that cannot have been true.
type Violation struct {
	Answer Answer
	// Rule is "false age" or "late acceptance".
	Rule string
	// Why names the states that the key can have had.
	Why string
}

func (v Violation) String() string {
	a := v.Answer
	return fmt.Sprintf("%s: %s answered %v for %s at %s, said to be %v old: %s",
		v.Rule, a.By, a.Code, a.Key, a.Given.Format("15:04:05.000000"), a.Staleness, v.Why)
}

// Rules of the oracle.
const (
	// FalseAge: the answer is no state that the key had in the window from its
	// stated age to when it was given.
	FalseAge = "false age"
	// LateAcceptance: VALID later than max_stale, and the request's own time,
	// after a change that makes it invalid was acknowledged.
	LateAcceptance = "late acceptance"
)

// span is when a state may have been the truth: from when its write was sent to
// when the next acknowledged one was acknowledged.
type span struct {
	state    apikey.Code
	from, to time.Time // to is zero for "until now"
}

// spans of one key's writes, in their order. A write of unknown outcome may
// have taken effect at any time until the next acknowledged one, or never, and
// ends no other.
func spans(writes []Write) []span {
	result := make([]span, len(writes))
	var end time.Time
	for i := len(writes) - 1; i >= 0; i-- {
		result[i] = span{state: writes[i].State, from: writes[i].Sent, to: end}
		if !writes[i].Acked.IsZero() {
			end = writes[i].Acked
		}
	}
	return result
}

// Check holds every answer against the writes. Before its first write a key is
// NotFound. Unavailable is never wrong here.
func (h *History) Check(maxStale time.Duration) []Violation {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	byKey := map[string][]span{}
	for key, writes := range h.writes {
		first := span{state: apikey.NotFound}
		for _, w := range writes {
			if !w.Acked.IsZero() {
				first.to = w.Acked
				break
			}
		}
		byKey[key] = append([]span{first}, spans(writes)...)
	}
	var found []Violation
	for _, a := range h.answers {
		if a.Code == apikey.Unavailable {
			continue
		}
		if v, wrong := check(a, byKey[a.Key], maxStale); wrong {
			found = append(found, v)
		}
	}
	sort.Slice(found, func(i, j int) bool { return found[i].Answer.Given.Before(found[j].Answer.Given) })
	return found
}

func check(a Answer, spans []span, maxStale time.Duration) (Violation, bool) {
	// The stated age counts from some time before the answer was given to us.
	if !possible(a.Code, spans, a.AsOf, a.Given) {
		return Violation{Answer: a, Rule: FalseAge, Why: history(spans, a.AsOf, a.Given)}, true
	}
	// (a) is weaker than the age, and does not believe it.
	if a.Code == apikey.Valid && !possible(a.Code, spans, a.Asked.Add(-maxStale), a.Given) {
		return Violation{Answer: a, Rule: LateAcceptance, Why: history(spans, a.Asked.Add(-maxStale), a.Given)}, true
	}
	return Violation{}, false
}

// possible reports whether the state may have been the truth at some time in
// the window, ends included.
func possible(state apikey.Code, spans []span, from, to time.Time) bool {
	for _, s := range spans {
		if s.state == state && overlaps(s, from, to) {
			return true
		}
	}
	return false
}

func overlaps(s span, from, to time.Time) bool {
	return !s.from.After(to) && (s.to.IsZero() || !s.to.Before(from))
}

func history(spans []span, from, to time.Time) string {
	text := "between " + from.Format("15:04:05.000000") + " and " + to.Format("15:04:05.000000") + " it can have been"
	for _, s := range spans {
		if overlaps(s, from, to) {
			text += " " + s.state.String()
		}
	}
	return text
}
