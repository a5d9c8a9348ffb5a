package nemesis

import (
	"maps"
	"slices"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// Score is by what different caches can be compared: what the answers were worth to clients and to
// those who revoke keys, whatever the answers report about their age.
type Score struct {
	// Missing has the answers given while there was no collection, so that nothing could be known of
	// the key. Inside has the others given during a fault, Outside the rest.
	Missing, Inside, Outside Served
	// Accepted are the VALID answers to requests that were sent after an acknowledged write had made the
	// key invalid. LateAcceptances are those of them that break the rule of that name.
	Accepted, LateAcceptances int
	// Revocations is the number of acknowledged writes that made a valid key invalid, times the number
	// of instances that gave answers.
	Revocations int
	// Lateness has, for each revocation and instance with an Accepted answer, the time from the
	// acknowledgement to the last request that was accepted. Sorted.
	Lateness []time.Duration
}

// Longest is the longest Lateness. Zero: no revoked key was accepted.
func (s *Score) Longest() time.Duration {
	if len(s.Lateness) == 0 {
		return 0
	}
	return s.Lateness[len(s.Lateness)-1]
}

// Served counts answers, and those that did not serve the client.
type Served struct {
	Answers, Unavailable int
	// WrongNos are refusals of keys that had been valid for longer than max_stale.
	WrongNos int
}

// Share is the share of answers that were neither UNAVAILABLE nor a wrong no; 1 without answers.
func (s Served) Share() float64 {
	if s.Answers == 0 {
		return 1
	}
	return 1 - float64(s.Unavailable+s.WrongNos)/float64(s.Answers)
}

// scoring collects a Score.
type scoring struct {
	score Score
	// accepted has the longest lateness of each revocation at each instance.
	accepted  map[acceptedOf]time.Duration
	instances map[string]struct{}
}

// acceptedOf identifies a revocation, by the time from which on the key was certainly invalid, and an
// instance.
type acceptedOf struct {
	key, instance string
	since         time.Time
}

// add adds an answer. The spans are those of its key.
func (s *scoring) add(a Answer, spans []span, maxStale time.Duration, inside bool) {
	if s.instances == nil {
		s.instances, s.accepted = map[string]struct{}{}, map[acceptedOf]time.Duration{}
	}
	s.instances[a.Instance] = struct{}{}
	served := &s.score.Outside
	switch {
	case isPossible(apikey.Unavailable, spans, window{a.Asked, a.Asked, a.Given}):
		served = &s.score.Missing
	case inside:
		served = &s.score.Inside
	}
	served.Answers++
	switch {
	case a.Code == apikey.Unavailable:
		served.Unavailable++
	case a.Code != apikey.Valid && wasOnlyValid(spans, window{a.Asked, a.Asked.Add(-maxStale), a.Given}):
		served.WrongNos++
	case a.Code == apikey.Valid:
		s.addValid(a, spans, maxStale)
	}
}

func (s *scoring) addValid(a Answer, spans []span, maxStale time.Duration) {
	since, invalid := invalidSince(spans, a)
	if !invalid {
		return
	}
	s.score.Accepted++
	if !isPossible(apikey.Valid, spans, window{a.Asked, a.Asked.Add(-maxStale), a.Given}) {
		s.score.LateAcceptances++
	}
	of := acceptedOf{a.Key, a.Instance, since}
	s.accepted[of] = max(s.accepted[of], a.Asked.Sub(since))
}

// wasOnlyValid reports whether the key can have had no state but VALID in the window.
func wasOnlyValid(spans []span, w window) bool {
	valid := false
	for _, s := range spans {
		if !s.overlaps(w) {
			continue
		}
		if s.state != apikey.Valid {
			return false
		}
		valid = true
	}
	return valid
}

// invalidSince reports whether the key was certainly invalid during a request, and since when: the
// acknowledgement of a write, or the expiry.
func invalidSince(spans []span, a Answer) (since time.Time, invalid bool) {
	for _, s := range spans {
		if s.state != apikey.Valid || s.from.After(a.Given) {
			continue
		}
		if s.overlaps(window{a.Asked, a.Asked, a.Given}) {
			return time.Time{}, false
		}
		end := s.to
		if end.IsZero() || !s.ends.IsZero() && s.ends.Before(end) {
			end = s.ends
		}
		if end.After(since) {
			since = end
		}
	}
	return since, true
}

// Score of the answers that have been checked.
func (h *History) Score() Score {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	result := h.score.score
	for _, writes := range h.writes {
		for i := range writes {
			if invalidates(writes, i) {
				result.Revocations += len(h.score.instances)
			}
		}
	}
	result.Lateness = slices.Sorted(maps.Values(h.score.accepted))
	return result
}
