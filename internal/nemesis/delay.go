package nemesis

import (
	"fmt"
	"slices"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// delayOf names one write by its place among those of its key, and an instance.
type delayOf struct {
	key   string
	write int
	by    string
}

// takesAway reports whether the write was acknowledged and took VALID away.
func takesAway(writes []Write, i int) bool {
	return i > 0 && !writes[i].Acked.IsZero() && writes[i].State != apikey.Valid && writes[i-1].State == apikey.Valid
}

// delay notes a VALID that came after the write that took it away had been
// acknowledged, and before any other was sent that may have given it back.
func (h *History) delay(a Answer) {
	if a.Code != apikey.Valid {
		return
	}
	writes := h.writes[a.Key]
	for i := len(writes) - 1; i >= 0; i-- {
		switch w := writes[i]; {
		case !w.Sent.Before(a.Given):
			// Later than the answer.
		case w.State == apikey.Valid:
			return
		case takesAway(writes, i):
			of := delayOf{a.Key, i, a.By}
			h.delays[of] = max(h.delays[of], a.Given.Sub(w.Acked))
			return
		}
	}
}

// Delays sums up how long after the acknowledgements of writes that took VALID
// away VALID was still answered: one number for each write and instance, zero if
// it was not.
type Delays struct {
	// Count has all, Late those above zero.
	Count, Late   int
	Median, Worst time.Duration
}

func (d Delays) String() string {
	return fmt.Sprintf("median %v, worst %v, of %d (VALID after the acknowledgement: %d)",
		d.Median.Round(100*time.Microsecond), d.Worst.Round(100*time.Microsecond), d.Count, d.Late)
}

// Delays of the writes so far, by the answers that have been judged. Inside are
// those with a fault, or Grace after one, between the sending and the last VALID.
func (h *History) Delays(instances []string) (outside, inside Delays) {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	var well, ill []time.Duration
	for key, writes := range h.writes {
		for i, w := range writes {
			if !takesAway(writes, i) {
				continue
			}
			for _, by := range instances {
				d := h.delays[delayOf{key, i, by}]
				if h.faulty(w.Sent, w.Acked.Add(d)) {
					ill = append(ill, d)
				} else {
					well = append(well, d)
				}
			}
		}
	}
	return delaysOf(well), delaysOf(ill)
}

// faulty reports whether there was a fault, or Grace after one, in a span.
func (h *History) faulty(from, to time.Time) bool {
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
