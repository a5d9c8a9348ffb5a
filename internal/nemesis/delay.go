package nemesis

import (
	"fmt"
	"slices"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// delayOf identifies one write, by its index among the writes of its key, and an
// instance.
type delayOf struct {
	key      string
	write    int
	instance string
}

// invalidates reports whether the write was acknowledged and made a valid key
// invalid.
func invalidates(writes []Write, i int) bool {
	return i > 0 && !writes[i].Acknowledged.IsZero() && writes[i].State != apikey.Valid && writes[i-1].State == apikey.Valid
}

// delay records a VALID that was given after an acknowledged write had made the key
// invalid, and before a write was sent that may have made it valid again.
func (h *History) delay(a Answer) {
	if a.Code != apikey.Valid {
		return
	}
	writes := h.writes[a.Key]
	for i := len(writes) - 1; i >= 0; i-- {
		switch w := writes[i]; {
		case !w.Sent.Before(a.Given):
			// Sent after the answer.
		case w.State == apikey.Valid:
			return
		case invalidates(writes, i):
			of := delayOf{a.Key, i, a.Instance}
			h.delays[of] = max(h.delays[of], a.Given.Sub(w.Acknowledged))
			return
		}
	}
}

// Delays summarizes how long instances answered VALID after the acknowledgement of a
// write that made the key invalid: one value for each write and instance, zero if the
// instance never did.
type Delays struct {
	// Count counts all values, Late those above zero.
	Count, Late   int
	Median, Worst time.Duration
}

func (d Delays) String() string {
	return fmt.Sprintf("median %v, worst %v, of %d (VALID after the acknowledgement: %d)",
		d.Median.Round(100*time.Microsecond), d.Worst.Round(100*time.Microsecond), d.Count, d.Late)
}

// Delays of the writes so far, from the answers that have been checked. inside has
// the writes with a fault, or Grace after one, between the sending and the last VALID.
func (h *History) Delays(instances []string) (outside, inside Delays) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	var healthy, faulty []time.Duration
	for key, writes := range h.writes {
		for i, w := range writes {
			if !invalidates(writes, i) {
				continue
			}
			for _, instance := range instances {
				d := h.delays[delayOf{key, i, instance}]
				if h.faultBetween(w.Sent, w.Acknowledged.Add(d)) {
					faulty = append(faulty, d)
				} else {
					healthy = append(healthy, d)
				}
			}
		}
	}
	return delaysOf(healthy), delaysOf(faulty)
}

// faultBetween reports whether a fault, or Grace after one, overlaps a span.
func (h *History) faultBetween(from, to time.Time) bool {
	return slices.ContainsFunc(h.faults, func(f Fault) bool {
		return !f.From.After(to) && (f.To.IsZero() || !f.To.Add(Grace).Before(from))
	})
}

func delaysOf(all []time.Duration) Delays {
	if len(all) == 0 {
		return Delays{}
	}
	slices.Sort(all)
	d := Delays{Count: len(all), Median: all[len(all)/2], Worst: all[len(all)-1]}
	late, _ := slices.BinarySearch(all, 1)
	d.Late = len(all) - late
	return d
}
