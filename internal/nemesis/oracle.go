package nemesis

import (
	"fmt"
	"slices"
	"sort"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// Violation is an answer that cannot have been true.
type Violation struct {
	Answer Answer
	// Rule is one of the rules of the oracle.
	Rule string
	// Why names the states that the key can have had.
	Why string
}

func (v Violation) String() string {
	a := v.Answer
	return fmt.Sprintf("%s: %s answered %v for %s at %s (asked %v before, cached %v), as of %s, said to be %v old: %s",
		v.Rule, a.By, a.Code, a.Key, clock(a.Given), a.Given.Sub(a.Asked), a.Cached, clock(a.AsOf), a.Staleness, v.Why)
}

func clock(t time.Time) string { return t.Format("15:04:05.000000") }

// Rules of the oracle.
const (
	// FalseAge: the answer is no state that the key had in the window from its
	// stated age to when it was given; or the two ways in which it states its age
	// contradict each other.
	FalseAge = "false age"
	// LateAcceptance: VALID later than max_stale, and the request's own time,
	// after a change that makes it invalid was acknowledged.
	LateAcceptance = "late acceptance"
	// TooOld: an answer that says itself that it is older than max_stale.
	TooOld = "too old"
	// Withheld: a key that was in memory, and fresh enough, was not answered.
	Withheld = "withheld"
	// FalseNo: NOT_FOUND while there was no collection, from an instance that had
	// lost its history by that. An outage is not a "no".
	FalseNo = "false no"
)

// span is when a state may have been the truth: from when its write was sent to
// when the next acknowledged one was acknowledged.
type span struct {
	state    apikey.Code
	from, to time.Time // to is zero for "until now"
	// begins and ends are for what the clock alone changes, and says for itself:
	// they are held against when the answer was given, whatever its age. Zero: no
	// such bound.
	begins, ends time.Time
}

// window is what an answer is held against.
type window struct{ asked, from, to time.Time }

// spans of one key's writes, in their order. A write of unknown outcome may
// have taken effect at any time until the next acknowledged one, or never, and
// ends no other. Before its first write a key is NotFound.
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
		if !w.Acked.IsZero() {
			end = w.Acked
		}
	}
	result[0] = span{state: apikey.NotFound, to: end}
	slices.Reverse(result[1:])
	return result
}

// Check holds every answer against the writes, and returns what this and all
// calls of Judge have found. Unavailable is no wrong answer, but may have been
// Withheld.
func (h *History) Check(maxStale time.Duration) []Violation { return h.Judge(maxStale, time.Time{}) }

// Judge is Check for the answers that were given before that time (zero: all),
// which it then forgets. An acknowledgement must be recorded by the time that
// the answers after it are judged: leave it a second.
func (h *History) Judge(maxStale time.Duration, before time.Time) []Violation {
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
			byKey[a.Key] = spans(h.writes[a.Key])
		}
		if found, loose := h.checkLoose(a); loose {
			h.found = append(h.found, found...)
			h.count(a)
			continue
		}
		h.found = append(h.found, check(a, byKey[a.Key], maxStale)...)
		if v, wrong := h.falseReceipt(a, byKey[a.Key]); wrong {
			h.found = append(h.found, v)
		}
		if v, wrong := h.remember(a, maxStale); wrong {
			h.found = append(h.found, v)
		}
		if v, wrong := h.falseNo(a); wrong {
			h.found = append(h.found, v)
		}
		h.count(a)
		h.delay(a)
		h.register.add(a, h.writes[a.Key])
	}
	h.answers = append([]Answer(nil), h.answers[n:]...)
	return append([]Violation(nil), h.found...)
}

// check holds an answer against each rule but Withheld.
func check(a Answer, spans []span, maxStale time.Duration) (found []Violation) {
	if a.Code == apikey.Unavailable {
		return nil
	}
	wrong := func(rule, why string) { found = append(found, Violation{Answer: a, Rule: rule, Why: why}) }
	// The answer was made after it was asked for, so its age reaches that far back.
	if age := a.Asked.Sub(a.AsOf); a.Staleness < age {
		wrong(FalseAge, fmt.Sprintf("it was %v old when it was asked for", age))
	} else if w := (window{a.Asked, a.AsOf, a.Given}); !possible(a.Code, spans, w) {
		// The stated age counts from some time before the answer was given to us.
		wrong(FalseAge, history(spans, w))
	}
	// It is weaker than the age, and does not believe it.
	if w := (window{a.Asked, a.Asked.Add(-maxStale), a.Given}); a.Code == apikey.Valid && !possible(a.Code, spans, w) {
		wrong(LateAcceptance, history(spans, w))
	}
	if a.Staleness > maxStale {
		wrong(TooOld, fmt.Sprintf("max_stale is %v", maxStale))
	}
	return found
}

// byDrop are the reasons for a loss that is the end of the collection.
var byDrop = []string{"drop", "drop_database", "rename", "invalidate"}

// falseNo finds a NOT_FOUND of an instance that knew that there was no
// collection. Before it learns of that, it may believe what it reads.
func (h *History) falseNo(a Answer) (Violation, bool) {
	if a.Code != apikey.NotFound {
		return Violation{}, false
	}
	for _, gone := range h.missing {
		if gone.From.After(a.Asked) || (!gone.To.IsZero() && gone.To.Before(a.Given)) {
			continue
		}
		for _, loss := range h.losses[a.By] {
			// It may have learned of it a little before who did it.
			since := loss.At.Add(lossMargin)
			if slices.Contains(byDrop, loss.Reason) && since.After(gone.From) && since.Before(a.Asked) {
				return Violation{Answer: a, Rule: FalseNo, Why: "there was no collection, as it knew since " + clock(loss.At)}, true
			}
		}
	}
	return Violation{}, false
}

// possible reports whether the state may have been the truth at some time in
// the window, ends included.
func possible(state apikey.Code, spans []span, w window) bool {
	// The last are the likeliest.
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

func history(spans []span, w window) string {
	text := "between " + clock(w.from) + " and " + clock(w.to) + " it can have been"
	for _, s := range spans {
		if s.overlaps(w) {
			text += " " + s.state.String()
		}
	}
	return text
}
