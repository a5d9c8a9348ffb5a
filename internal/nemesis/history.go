package nemesis

import (
	"maps"
	"slices"
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
	// Expires is when a Valid key becomes Expired by itself. Zero: never.
	Expires time.Time
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
	// Cached: the answer came from memory.
	Cached bool
	// Quiet: nobody writes the key, so that it should be held in memory.
	Quiet bool
}

// Fault is a span of time in which something was broken on purpose.
type Fault struct {
	Kind string
	// To is zero while the fault lasts.
	From, To time.Time
}

// History is what happened, and what has been found in it. It is safe for
// concurrent use.
type History struct {
	mutex   sync.Mutex
	writes  map[string][]Write
	answers []Answer
	faults  []Fault
	// losses are the times at which an instance forgot everything, by its name.
	losses map[string][]Loss
	// missing are the spans in which there was no collection.
	missing []Fault
	// delays are how long after a write that took VALID away an instance has
	// answered VALID. Not there: not once.
	delays map[delayOf]time.Duration
	// receipts are sorted by their time; receipted counts all of them.
	receipts  []receipt
	receipted int
	// loose are keys whose writes are not recorded, with their possible answers.
	loose map[string][]apikey.Code
	// register is what is held against a register, besides the rules.
	register registerLog
	// counted are the answers of all time.
	counted, unavailable int
	// quiet are those about quiet keys, quietCached those of them from memory.
	quiet, quietCached int
	// What Judge has found and dropped the answers of.
	found        []Violation
	availability Availability
	outages      []Outage
	memories     map[string]*memory
}

// NewHistory is empty.
func NewHistory() *History {
	return &History{
		writes: map[string][]Write{}, losses: map[string][]Loss{}, memories: map[string]*memory{},
		delays: map[delayOf]time.Duration{}, loose: map[string][]apikey.Code{},
	}
}

// Wrote adds a write. Those of one key are added in their order, each before
// the next is sent, but the record of one under way may be completed later by
// the function returned: called with the time of the acknowledgement.
func (h *History) Wrote(key string, state apikey.Code, sent time.Time) (acked func(time.Time)) {
	return h.WroteExpiring(key, state, sent, time.Time{})
}

// WroteExpiring is Wrote for a key that expires by itself (zero: it does not).
func (h *History) WroteExpiring(key string, state apikey.Code, sent, expires time.Time) (acked func(time.Time)) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.writes[key] = append(h.writes[key], Write{Key: key, State: state, Sent: sent, Expires: expires})
	i := len(h.writes[key]) - 1
	return func(at time.Time) {
		h.mutex.Lock()
		defer h.mutex.Unlock()
		h.writes[key][i].Acked = at
	}
}

// WritesOf is a key's writes, as evidence.
func (h *History) WritesOf(key string) []Write {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return slices.Clone(h.writes[key])
}

// Answered adds an answer.
func (h *History) Answered(a Answer) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.answers = append(h.answers, a)
	h.counted++
	if a.Code == apikey.Unavailable {
		h.unavailable++
	}
	if a.Quiet {
		h.quiet++
		if a.Cached {
			h.quietCached++
		}
	}
}

// Broke adds a fault that is over.
func (h *History) Broke(f Fault) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.faults = append(h.faults, f)
}

// Breaks adds a fault that begins now and lasts until the function returned is
// called.
func (h *History) Breaks(kind string) (over func()) {
	h.Broke(Fault{Kind: kind, From: time.Now()})
	h.mutex.Lock()
	i := len(h.faults) - 1
	h.mutex.Unlock()
	return func() {
		h.mutex.Lock()
		defer h.mutex.Unlock()
		h.faults[i].To = time.Now()
	}
}

// Missing begins a span in which there is no collection; the function returned
// ends it, before anybody makes one again.
func (h *History) Missing() (over func()) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.missing = append(h.missing, Fault{From: time.Now()})
	i := len(h.missing) - 1
	return func() {
		h.mutex.Lock()
		defer h.mutex.Unlock()
		h.missing[i].To = time.Now()
	}
}

// Loss is when an instance forgot everything, and why, in its own words.
type Loss struct {
	At     time.Time
	Reason string
}

// Lost notes that the instance of that name forgot everything. A loss that is
// known already is ignored.
func (h *History) Lost(by string, loss Loss) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if !slices.ContainsFunc(h.losses[by], func(l Loss) bool { return l.At.Equal(loss.At) }) {
		h.losses[by] = append(h.losses[by], loss)
	}
}

// Totals counts what happened.
type Totals struct {
	Writes, UnknownWrites, Answers, Unavailable, Quiet, QuietCached, Losses, Receipts int
	Faults                                                                            map[string]int
}

// Totals of the history so far.
func (h *History) Totals() Totals {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	t := Totals{Answers: h.counted, Unavailable: h.unavailable, Quiet: h.quiet, QuietCached: h.quietCached, Receipts: h.receipted, Faults: map[string]int{}}
	for _, w := range slices.Concat(slices.Collect(maps.Values(h.writes))...) {
		t.Writes++
		if w.Acked.IsZero() {
			t.UnknownWrites++
		}
	}
	for _, f := range h.faults {
		t.Faults[f.Kind]++
	}
	for _, losses := range h.losses {
		t.Losses += len(losses)
	}
	return t
}
