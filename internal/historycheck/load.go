package historycheck

import (
	"context"
	"fmt"
	"math"
	"slices"
	"time"

	"github.com/keytail/keytail/internal/history"
)

// loader reads everything but the answers.
type loader struct {
	*judge
	header history.Header
	totals *Totals
	clocks []clockNote
}

// clockNote is a measurement of a clock, which is compared with the header's uncertainty.
type clockNote struct {
	line   int
	offset time.Duration
}

// load reads the records of a file, without the answers.
func (l *loader) load(ctx context.Context, name string, options history.Options) error {
	options.Skip = []string{"answer"}
	_, err := eachRecord(ctx, name, options, func(record history.Record, line int) error {
		if err := l.add(record, line); err != nil {
			return &history.LineError{Line: line, Problem: err}
		}
		return nil
	})
	if err != nil {
		return err
	}
	return l.finish()
}

func (l *loader) add(record history.Record, line int) error {
	switch r := record.(type) {
	case *history.Header:
		l.header = *r
	case *history.Write:
		l.write(r, line)
	case *history.Acknowledgement:
		l.totals.Acknowledgements++
		revision, _ := history.ParseRevision(r.Revision)
		l.acknowledgement(r, acknowledgement{line: line, at: instantOf(r.At, never), covers: instantOf(r.Covers, always), revision: revision})
	case *history.Fault:
		l.totals.Faults++
		l.faults = append(l.faults, fault{outage{line, instantOf(r.From, always), instantOf(r.To, never), r.Instance}, r.Name})
	case *history.Outage:
		l.outages = append(l.outages, outage{line, instantOf(r.From, always), instantOf(r.To, never), r.Instance})
	case *history.Initial:
		return l.timeline(r.Key).begin(r)
	case *history.Clock:
		if r.OffsetMS != nil {
			l.clocks = append(l.clocks, clockNote{line, history.Duration(math.Abs(*r.OffsetMS))})
		}
	}
	return nil
}

// begin sets the states before the first write, which joined files may have twice.
func (t *timeline) begin(r *history.Initial) error {
	if t.initial != nil && !slices.Equal(t.initial, r.States) {
		return fmt.Errorf("the states of %s before its first write are given twice, and differ: keep one of the records of type initial", r.Key)
	}
	t.initial = r.States
	return nil
}

// timeline is that of a key, which is made if there is none.
func (l *loader) timeline(key string) *timeline {
	t := l.keys[key]
	if t == nil {
		t = &timeline{}
		l.keys[key] = t
	}
	return t
}

func (l *loader) write(r *history.Write, line int) {
	l.totals.Writes++
	switch r.Outcome {
	case history.Failed:
		l.totals.Failed++
		return
	case history.Unknown:
		l.totals.Unknown++
	}
	revision, _ := history.ParseRevision(r.Revision)
	w := write{
		line: line, state: r.State, sent: instantOf(r.Sent, always), acknowledged: instantOf(r.Acknowledged, never),
		expires: instantOf(r.Expires, never), revision: revision, concern: r.Concern, known: r.Outcome == history.OK,
	}
	if w.convicting = w.known && (r.Concern == "" || r.Concern == history.Majority); w.known && !w.convicting {
		l.totals.NotMajority++
	}
	t := l.timeline(r.Key)
	t.writes = append(t.writes, w)
	t.revisions = t.revisions || w.convicting && revision != 0
}

func (l *loader) acknowledgement(r *history.Acknowledgement, a acknowledgement) {
	to := &l.fleet
	if r.Scope == history.Instance {
		if to = l.instances[r.Instance]; to == nil {
			to = &acknowledgements{}
			l.instances[r.Instance] = to
		}
	}
	to.all = append(to.all, a)
}

// resolutionOf is how coarse reported ages are: by default, that of keytail's HTTP API.
func resolutionOf(h *history.Header) time.Duration {
	if h.ResolutionMS == nil {
		return time.Millisecond
	}
	return history.Duration(*h.ResolutionMS)
}

// finish prepares what answers are compared with.
func (l *loader) finish() error {
	h := &l.header
	l.maxStale, l.uncertainty = history.Duration(h.MaxStaleMS), history.Duration(h.ClockUncertaintyMS)
	l.resolution = resolutionOf(h)
	l.vary = h.Requests == history.Vary
	for _, c := range l.clocks {
		if c.offset > l.uncertainty {
			return &history.LineError{Line: c.line, Problem: fmt.Errorf(
				"offset_ms is %v, and the header says that clocks differ by at most %v: raise its clock_uncertainty_ms", milliseconds(c.offset), milliseconds(l.uncertainty))}
		}
	}
	initial := h.Initial
	if initial == nil {
		initial = []string{history.NotFound}
	}
	for _, t := range l.keys {
		t.finish(initial, h.Fenced, l.uncertainty)
	}
	l.unwritten = &timeline{}
	l.unwritten.finish(initial, h.Fenced, l.uncertainty)
	l.fleet.finish()
	for _, a := range l.instances {
		a.finish()
	}
	return nil
}
