package nemesis

import (
	"sync"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// Write is one attempt to give a key a new state. The writes of one key do not
// overlap, and are fenced: one whose outcome is unknown cannot take effect after
// a later one was acknowledged.
type Write struct {
	Key string
	// State is what a request for the key is answered with once the write has
	// taken effect.
	State apikey.Code
	// Sent is before the write left, Acked after it was acknowledged by a
	// majority. Zero Acked: the outcome is not known.
	Sent, Acked time.Time
}

// Answer is one answer about a key.
type Answer struct {
	Key  string
	Code apikey.Code
	// Asked is before the question left, Given after the answer came.
	Asked, Given time.Time
	// AsOf and Staleness are the answer's own words.
	AsOf      time.Time
	Staleness time.Duration
	// By names who answered.
	By string
}

// Fault is a span of time in which something was broken on purpose.
type Fault struct {
	Kind     string
	From, To time.Time
}

// History is what happened. It is safe for concurrent use.
type History struct {
	mutex   sync.Mutex
	writes  map[string][]Write
	answers []Answer
	faults  []Fault
}

// NewHistory is empty.
func NewHistory() *History { return &History{writes: map[string][]Write{}} }

// Wrote adds a write. Those of one key are added in their order, each before
// the next is sent, but the record of one under way may be completed later by
// the function returned: called with the time of the acknowledgement.
func (h *History) Wrote(key string, state apikey.Code, sent time.Time) (acked func(time.Time)) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.writes[key] = append(h.writes[key], Write{Key: key, State: state, Sent: sent})
	i := len(h.writes[key]) - 1
	return func(at time.Time) {
		h.mutex.Lock()
		defer h.mutex.Unlock()
		h.writes[key][i].Acked = at
	}
}

// Answered adds an answer.
func (h *History) Answered(a Answer) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.answers = append(h.answers, a)
}

// Broke adds a fault that is over.
func (h *History) Broke(f Fault) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.faults = append(h.faults, f)
}

// Totals counts what happened.
type Totals struct {
	Writes, UnknownWrites, Answers, Unavailable int
	Faults                                      map[string]int
}

// Totals of the history so far.
func (h *History) Totals() Totals {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	t := Totals{Answers: len(h.answers), Faults: map[string]int{}}
	for _, writes := range h.writes {
		t.Writes += len(writes)
		for _, w := range writes {
			if w.Acked.IsZero() {
				t.UnknownWrites++
			}
		}
	}
	for _, a := range h.answers {
		if a.Code == apikey.Unavailable {
			t.Unavailable++
		}
	}
	for _, f := range h.faults {
		t.Faults[f.Kind]++
	}
	return t
}
