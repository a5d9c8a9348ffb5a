package nemesis

import (
	"fmt"
	"slices"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// Grace is how long after a fault its effects are expected: timeouts that are
// running, the backoff of the driver and of the tail.
const Grace = 5 * time.Second

// lossMargin is the precision of the time of a loss.
const lossMargin = 250 * time.Millisecond

// Share counts answers and how many of them were UNAVAILABLE.
type Share struct{ Answers, Unavailable int }

func (s *Share) add(a Answer) {
	s.Answers++
	if a.Code == apikey.Unavailable {
		s.Unavailable++
	}
}

// Available is the fraction of answers that were not UNAVAILABLE; 1 without answers.
func (s Share) Available() float64 {
	if s.Answers == 0 {
		return 1
	}
	return 1 - float64(s.Unavailable)/float64(s.Answers)
}

func (s Share) String() string {
	return fmt.Sprintf("%.4f %% of %d", 100*s.Available(), s.Answers)
}

// Availability groups the checked answers: Outside faults, Inside a fault, and within
// Grace After one. Quiet are the answers about quiet keys inside faults, which the
// cache alone can give.
type Availability struct{ Outside, Inside, After, Quiet Share }

// Availability of the answers that have been checked.
func (h *History) Availability() Availability {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return h.availability
}

// during reports whether a fault overlaps the request.
func (h *History) during(a Answer) bool {
	return slices.ContainsFunc(h.faults, func(f Fault) bool {
		return !f.From.After(a.Given) && (f.To.IsZero() || !f.To.Before(a.Asked))
	})
}

// count adds an answer to the availability.
func (h *History) count(a Answer) {
	during, after := h.during(a), false
	for _, f := range h.faults {
		after = after || !f.From.After(a.Given) && !f.To.Add(Grace).Before(a.Asked)
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

// Outage is the UNAVAILABLE answers of one instance in one second without a fault.
type Outage struct {
	Instance string
	From     time.Time
	Answers  int
	// After: within Grace after a fault.
	After bool
}

func (o Outage) String() string {
	when := "outside faults"
	if o.After {
		when = "after a fault"
	}
	return fmt.Sprintf("%s: %s answered UNAVAILABLE %d times, %s", clock(o.From), o.Instance, o.Answers, when)
}

// outagesKept bounds the memory that a failing run needs.
const outagesKept = 1000

func (h *History) outage(a Answer, after bool) {
	second := a.Given.Truncate(time.Second)
	for i := len(h.outages) - 1; i >= 0 && i >= len(h.outages)-20; i-- {
		if o := &h.outages[i]; o.Instance == a.Instance && o.After == after && o.From.Equal(second) {
			o.Answers++
			return
		}
	}
	if len(h.outages) < outagesKept {
		h.outages = append(h.outages, Outage{Instance: a.Instance, From: second, Answers: 1, After: after})
	}
}

// Outages returns the first outages among the answers that have been checked.
func (h *History) Outages() []Outage {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	return append([]Outage(nil), h.outages...)
}
