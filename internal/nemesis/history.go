package nemesis

import (
	"maps"
	"slices"
	"sync"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// Write is one attempt to give a key a new state. The writes of one key do not
// overlap, and they are fenced: a write whose outcome is unknown cannot take effect
// after a later one was acknowledged.
type Write struct {
	Key string
	// State is the code that a request with the key gets once the write has taken
	// effect.
	State apikey.Code
	// Sent is a time before the write was sent, Acknowledged a time after a majority
	// acknowledged it. Zero Acknowledged: the outcome is unknown.
	Sent, Acknowledged time.Time
	// Expires is when a Valid key becomes Expired without another write. Zero: never.
	Expires time.Time
}

// Answer is one answer of keytail about a key.
type Answer struct {
	Key  string
	Code apikey.Code
	// Asked is a time before the request was sent, Given a time after the answer
	// arrived.
	Asked, Given time.Time
	// AsOf and Staleness are what the answer reports.
	AsOf      time.Time
	Staleness time.Duration
	// NoAge: the answer comes from a cache that reports no age. It is judged as if it reported
	// max_stale, the greatest age that is allowed.
	NoAge bool
	// Revision is the cluster time that the answer reports. No rule uses it; it is recorded.
	Revision uint64
	// Instance is the name of the instance that answered.
	Instance string
	// Cached: the answer came from the cache.
	Cached bool
	// Quiet: no client writes the key, so the cache should contain it.
	Quiet bool
}

// Fault is a span of time in which the test injected a fault.
type Fault struct {
	Kind string
	// To is zero while the fault lasts.
	From, To time.Time
}

// History records writes, answers and faults, and the violations found in them. It
// is safe for concurrent use.
type History struct {
	mutex   sync.Mutex
	writes  map[string][]Write
	answers []Answer
	faults  []Fault
	// losses are the losses of history of each instance, by name.
	losses map[string][]Loss
	// missing are the spans in which the collection did not exist.
	missing []Fault
	// delays are how long after a write that made a key invalid an instance still
	// answered VALID. No entry: it never did.
	delays map[delayOf]time.Duration
	// acknowledgements are sorted by time; acknowledgementCount also counts those that
	// AddAcknowledgement did not keep.
	acknowledgements     []acknowledgement
	acknowledgementCount int
	// unrecorded are keys whose writes are not recorded, with their possible answers.
	unrecorded map[string][]apikey.Code
	// register holds the answers for CheckRegister.
	register registerLog
	// counted and unavailable count all answers.
	counted, unavailable int
	// quiet counts answers about quiet keys, quietCached those of them from the cache.
	quiet, quietCached int
	// Results of CheckUntil, which drops the answers that it has checked.
	found        []Violation
	availability Availability
	outages      []Outage
	memories     map[string]*memory
	score        scoring
	// recorder writes the history into a file. Nil: it is not recorded.
	recorder *recorder
}

// NewHistory returns an empty history.
func NewHistory() *History {
	return &History{
		writes: map[string][]Write{}, losses: map[string][]Loss{}, memories: map[string]*memory{},
		delays: map[delayOf]time.Duration{}, unrecorded: map[string][]apikey.Code{},
	}
}

// AddWrite adds a write. The writes of one key are added in order, each before the
// next one is sent. The caller passes the time of the acknowledgement to the returned
// function, or does not call it if the outcome stays unknown.
func (h *History) AddWrite(key string, state apikey.Code, sent time.Time) (acknowledged func(time.Time)) {
	return h.AddExpiringWrite(key, state, sent, time.Time{})
}

// AddExpiringWrite is AddWrite for a key with an expiry (zero: none).
func (h *History) AddExpiringWrite(key string, state apikey.Code, sent, expires time.Time) (acknowledged func(time.Time)) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.writes[key] = append(h.writes[key], Write{Key: key, State: state, Sent: sent, Expires: expires})
	i := len(h.writes[key]) - 1
	return func(at time.Time) {
		h.mutex.Lock()
		defer h.mutex.Unlock()
		h.writes[key][i].Acknowledged = at
	}
}

// WritesOf returns the writes of a key, to explain a violation.
func (h *History) WritesOf(key string) []Write {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return slices.Clone(h.writes[key])
}

// AddAnswer adds an answer.
func (h *History) AddAnswer(a Answer) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.answers = append(h.answers, a)
	h.recorder.answer(&a)
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

// AddFault adds a fault that has ended.
func (h *History) AddFault(f Fault) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.faults = append(h.faults, f)
}

// BeginFault adds a fault that begins now and ends when the returned function is
// called.
func (h *History) BeginFault(kind string) (end func()) {
	h.AddFault(Fault{Kind: kind, From: time.Now()})
	h.mutex.Lock()
	i := len(h.faults) - 1
	h.mutex.Unlock()
	return func() {
		h.mutex.Lock()
		defer h.mutex.Unlock()
		h.faults[i].To = time.Now()
	}
}

// Faults returns the faults so far.
func (h *History) Faults() []Fault {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return slices.Clone(h.faults)
}

// BeginMissingCollection begins a span in which the collection does not exist. The
// returned function ends it; call it before the collection is created again. Only the
// first call counts.
func (h *History) BeginMissingCollection() (end func(time.Time)) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	h.missing = append(h.missing, Fault{From: time.Now()})
	i := len(h.missing) - 1
	return func(at time.Time) {
		h.mutex.Lock()
		defer h.mutex.Unlock()
		if h.missing[i].To.IsZero() {
			h.missing[i].To = at
		}
	}
}

// Loss is a loss of history as an instance reports it: the time and the reason.
type Loss struct {
	At     time.Time
	Reason string
}

// AddLoss adds a loss of history of an instance. A loss that is known already is
// ignored.
func (h *History) AddLoss(instance string, loss Loss) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	if !slices.ContainsFunc(h.losses[instance], func(l Loss) bool { return l.At.Equal(loss.At) }) {
		h.losses[instance] = append(h.losses[instance], loss)
	}
}

// Totals counts the contents of a history.
type Totals struct {
	Writes, UnknownWrites, Answers, Unavailable, Quiet, QuietCached, Losses, Acknowledgements int
	Faults                                                                                    map[string]int
}

// Totals returns the numbers so far.
func (h *History) Totals() Totals {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	t := Totals{Answers: h.counted, Unavailable: h.unavailable, Quiet: h.quiet, QuietCached: h.quietCached, Acknowledgements: h.acknowledgementCount, Faults: map[string]int{}}
	for _, w := range slices.Concat(slices.Collect(maps.Values(h.writes))...) {
		t.Writes++
		if w.Acknowledged.IsZero() {
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
