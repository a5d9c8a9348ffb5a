package trends

import (
	"cmp"
	"maps"
	"math"
	"slices"
	"time"
)

// Snapshot is what a Recorder remembers. Nothing changes it.
type Snapshot struct {
	// Staleness has a point each second of the last ten minutes, the oldest first.
	Staleness []Point
	// FirstMinute is when the first of the minutes in Verdicts began. Zero: the metrics were
	// not read yet.
	FirstMinute time.Time
	// Verdicts are those of the last hour by code, the most frequent first. Codes without a
	// verdict are not in it.
	Verdicts []Verdicts
	// Delays is how late changes of keys were applied in the last hour.
	Delays Delays
	// Losses are those of history since the start, by reason, with those that never happened
	// left out.
	Losses []Losses
}

// Point is the staleness at a time.
type Point struct {
	At time.Time
	// Staleness is negative if it was not known.
	Staleness time.Duration
}

// Verdicts counts the verdicts with one code.
type Verdicts struct {
	Code  string
	Total uint64
	// PerMinute has one number for each of the 60 minutes.
	PerMinute []uint64
}

// Delays counts changes by their delay.
type Delays struct {
	Total uint64
	// Buckets are by rising bound.
	Buckets []Bucket
}

// Bucket counts delays up to its bound and above that of the bucket before.
type Bucket struct {
	// UpTo is the bound in seconds; +Inf for the last bucket.
	UpTo  float64
	Count uint64
}

// Losses counts the losses of history for one reason.
type Losses struct {
	Reason string
	Total  uint64
}

// Snapshot is what there is to remember now.
func (r *Recorder) Snapshot() Snapshot {
	r.mutex.Lock()
	defer r.mutex.Unlock()
	s := Snapshot{Staleness: slices.Concat(r.staleness[r.next:], r.staleness[:r.next])}
	for _, reason := range slices.Sorted(maps.Keys(r.losses)) {
		if total := r.losses[reason]; total > 0 {
			s.Losses = append(s.Losses, Losses{reason, total})
		}
	}
	if r.gathered.IsZero() {
		return s
	}
	first := r.minute - minutes + 1
	s.FirstMinute = time.Unix(first*int64(time.Minute/time.Second), 0).UTC()
	s.Verdicts, s.Delays = r.verdicts(first), r.delays()
	return s
}

// verdicts are those of the ring, whose oldest minute is first.
func (r *Recorder) verdicts(first int64) []Verdicts {
	byCode := map[string]*Verdicts{}
	for i := range minutes {
		for code, n := range r.ring[(first+int64(i))%minutes].verdicts {
			if n == 0 {
				continue
			}
			v := byCode[code]
			if v == nil {
				v = &Verdicts{Code: code, PerMinute: make([]uint64, minutes)}
				byCode[code] = v
			}
			v.PerMinute[i] += n
			v.Total += n
		}
	}
	var all []Verdicts
	for _, v := range byCode {
		all = append(all, *v)
	}
	slices.SortFunc(all, func(a, b Verdicts) int {
		return cmp.Or(-cmp.Compare(a.Total, b.Total), cmp.Compare(a.Code, b.Code))
	})
	return all
}

func (r *Recorder) delays() Delays {
	var d Delays
	for i := range r.total.delays {
		bucket := Bucket{UpTo: math.Inf(1)}
		if i < len(r.total.bounds) {
			bucket.UpTo = r.total.bounds[i]
		}
		for m := range r.ring {
			if i < len(r.ring[m].delays) {
				bucket.Count += r.ring[m].delays[i]
			}
		}
		d.Total += bucket.Count
		d.Buckets = append(d.Buckets, bucket)
	}
	return d
}
