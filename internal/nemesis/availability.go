package nemesis

import (
	"fmt"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// Grace is how long after a fault its traces are forgiven: time-outs that have
// begun, the driver's and the tail's backoff.
const Grace = 5 * time.Second

// lossMargin is how exactly the time of a loss is known.
const lossMargin = 250 * time.Millisecond

// Share counts answers, and those of them that were UNAVAILABLE.
type Share struct{ Answers, Unavailable int }

func (s *Share) add(a Answer) {
	s.Answers++
	if a.Code == apikey.Unavailable {
		s.Unavailable++
	}
}

// Available is the part that was answered, 1 when nothing was asked.
func (s Share) Available() float64 {
	if s.Answers == 0 {
		return 1
	}
	return 1 - float64(s.Unavailable)/float64(s.Answers)
}

func (s Share) String() string {
	return fmt.Sprintf("%.4f %% of %d", 100*s.Available(), s.Answers)
}

// Availability of judged answers, by when they were given and asked for. Quiet
// are those about quiet keys within faults: memory alone can answer them.
type Availability struct{ Outside, Inside, After, Quiet Share }

// Availability of the answers that have been judged.
func (h *History) Availability() Availability {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return h.availability
}

// count takes an answer into the availability.
func (h *History) count(a Answer) {
	during, after := false, false
	for _, f := range h.faults {
		began := !f.From.After(a.Given)
		during = during || began && (f.To.IsZero() || !f.To.Before(a.Asked))
		after = after || began && !f.To.Add(Grace).Before(a.Asked)
	}
	switch {
	case during:
		h.availability.Inside.add(a)
		if a.Quiet {
			h.availability.Quiet.add(a)
		}
	case after:
		h.availability.After.add(a)
	default:
		h.availability.Outside.add(a)
	}
	if a.Code == apikey.Unavailable && !during {
		h.outage(a, after)
	}
}

// Outage is UNAVAILABLE answers of one instance in one second in which nothing
// was broken.
type Outage struct {
	By      string
	From    time.Time
	Answers int
	// After: within Grace after a fault.
	After bool
}

func (o Outage) String() string {
	when := "outside faults"
	if o.After {
		when = "after a fault"
	}
	return fmt.Sprintf("%s: %s did not answer %d times, %s", clock(o.From), o.By, o.Answers, when)
}

// outagesKept bounds the memory of a run that goes wrong.
const outagesKept = 1000

func (h *History) outage(a Answer, after bool) {
	second := a.Given.Truncate(time.Second)
	for i := len(h.outages) - 1; i >= 0 && i >= len(h.outages)-20; i-- {
		if o := &h.outages[i]; o.By == a.By && o.After == after && o.From.Equal(second) {
			o.Answers++
			return
		}
	}
	if len(h.outages) < outagesKept {
		h.outages = append(h.outages, Outage{By: a.By, From: second, Answers: 1, After: after})
	}
}

// Outages of the answers that have been judged, the first of them.
func (h *History) Outages() []Outage {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return append([]Outage(nil), h.outages...)
}

// memory is what is known from its answers of what an instance remembers.
type memory struct {
	// shown are the answers from memory that moved its age up, the last of them.
	shown []shown
	// held are the times of the last answers from memory, by quiet key.
	held map[string]time.Time
}

// shown is an answer from memory: when it was given, and its age.
type shown struct{ given, asOf time.Time }

// shownKept is far more than there are heartbeats in max_stale.
const shownKept = 256

func (m *memory) show(a Answer) {
	if n := len(m.shown); n == 0 || m.shown[n-1].asOf.Before(a.AsOf) {
		m.shown = append(m.shown[max(0, n-shownKept):], shown{a.Given, a.AsOf})
	}
}

// asOf is an age that memory had at that time at the latest.
func (m *memory) asOf(at time.Time) time.Time {
	for i := len(m.shown) - 1; i >= 0; i-- {
		if m.shown[i].given.Before(at) {
			return m.shown[i].asOf
		}
	}
	return time.Time{}
}

// remember finds answers that were withheld: the instance had shown that the key
// was in its memory, had lost nothing since, and had shown in another answer that
// its memory was young enough. Answers come in the order in which they were given.
func (h *History) remember(a Answer, maxStale time.Duration) (Violation, bool) {
	m := h.memories[a.By]
	if m == nil {
		m = &memory{held: map[string]time.Time{}}
		h.memories[a.By] = m
	}
	if a.Cached {
		m.show(a)
		if a.Quiet {
			m.held[a.Key] = a.Given
		}
	}
	if a.Code != apikey.Unavailable || !a.Quiet {
		return Violation{}, false
	}
	held, ok := m.held[a.Key]
	asOf := m.asOf(a.Asked)
	if !ok || held.After(a.Asked) || a.Given.Sub(asOf) >= maxStale || h.lostSince(a.By, held, a.Given) {
		return Violation{}, false
	}
	return Violation{Answer: a, Rule: Withheld, Why: fmt.Sprintf("it was held at %s, and memory was known to be as of %s", clock(held), clock(asOf))}, true
}

func (h *History) lostSince(by string, from, to time.Time) bool {
	for _, loss := range h.losses[by] {
		if at := loss.At; !at.Before(from.Add(-lossMargin)) && !at.After(to.Add(lossMargin)) {
			return true
		}
	}
	return false
}
