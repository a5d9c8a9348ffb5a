package nemesis

import (
	"io"
	"maps"
	"slices"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/history"
)

// recorder writes a History in the format of package history.
type recorder struct {
	to *history.Writer
	// base joins the two clocks: elapsed times are those of the monotonic clock, as in the
	// rules of this package, and the file has times of day.
	base   time.Time
	failed error
}

// Record writes each answer from now on, in the format of package history. Call it before
// anything is added, and EndRecord at the end: writes are written when their outcomes are
// known.
func (h *History) Record(to io.Writer, header history.Header) error {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	base := time.Now()
	header.Recorded = base
	header.Fenced = true
	header.ResolutionMS = new(0.0) // in the process
	w, err := history.NewWriter(to, header)
	h.recorder = &recorder{to: w, base: base}
	return err
}

// EndRecord writes what is left. Nothing may be added later. It returns the first error of
// the recording.
func (h *History) EndRecord() error {
	h.mutex.Lock()
	defer h.mutex.Unlock()
	r := h.recorder
	if h.recorder = nil; r == nil {
		return nil
	}
	for _, key := range slices.Sorted(maps.Keys(h.unrecorded)) {
		r.add(&history.Initial{Key: key, States: names(h.unrecorded[key])})
	}
	for _, key := range slices.Sorted(maps.Keys(h.writes)) {
		for _, w := range h.writes[key] {
			r.write(w)
		}
	}
	for _, f := range h.faults {
		r.add(&history.Fault{Name: f.Kind, From: r.at(f.From), To: r.at(f.To)})
	}
	for _, instance := range slices.Sorted(maps.Keys(h.losses)) {
		for _, gone := range h.missing {
			r.outages(instance, gone, h.losses[instance])
		}
	}
	return r.failed
}

// add is called with the lock of the history. A nil recorder records nothing.
func (r *recorder) add(record history.Record) {
	if r != nil && r.failed == nil {
		r.failed = r.to.Add(record)
	}
}

// at is the time of day of a time of this process.
func (r *recorder) at(t time.Time) time.Time {
	if t.IsZero() {
		return t
	}
	return r.base.Add(t.Sub(r.base)).UTC().Round(0)
}

func (r *recorder) answer(a *Answer) {
	if r == nil {
		return
	}
	to := history.Answer{
		Key: a.Key, Code: a.Code.String(), Asked: r.at(a.Asked), Given: r.at(a.Given), AsOf: r.at(a.AsOf), Instance: a.Instance,
	}
	if !a.AsOf.IsZero() {
		to.StalenessMS = new(history.Milliseconds(a.Staleness))
	}
	if a.Revision != 0 {
		to.Revision = clustertime.Time(a.Revision).String()
	}
	if a.Cached {
		to.Source = apikey.SourceCache.String()
	}
	r.add(&to)
}

func (r *recorder) write(w Write) {
	to := history.Write{
		Key: w.Key, State: w.State.String(), Sent: r.at(w.Sent), Acknowledged: r.at(w.Acknowledged), Outcome: history.OK, Expires: r.at(w.Expires),
	}
	if w.Acknowledged.IsZero() {
		to.Outcome = history.Unknown
	}
	r.add(&to)
}

// outages writes when an instance knew that the collection did not exist.
func (r *recorder) outages(instance string, gone Fault, losses []Loss) {
	for _, loss := range losses {
		since := knownSince(loss)
		if slices.Contains(byDrop, loss.Reason) && since.After(gone.From) && (gone.To.IsZero() || since.Before(gone.To)) {
			r.add(&history.Outage{Instance: instance, From: r.at(since), To: r.at(gone.To)})
		}
	}
}

func names(codes []apikey.Code) (all []string) {
	for _, code := range codes {
		all = append(all, code.String())
	}
	return all
}
