package historycheck

import (
	"math"
	"slices"
	"sort"
	"time"

	"github.com/keytail/keytail/internal/history"
)

// instant is a time in nanoseconds since 1970.
type instant int64

const (
	always instant = math.MinInt64 // before all times
	never  instant = math.MaxInt64 // after all times
)

// instantOf is a time of a record, or absent if the record has none.
func instantOf(t time.Time, absent instant) instant {
	if t.IsZero() {
		return absent
	}
	return instant(t.UnixNano())
}

func (i instant) time() time.Time { return time.Unix(0, int64(i)).UTC() }

// add does not overflow: the times of records are 200 years from the ends.
func (i instant) add(d time.Duration) instant {
	if i == always || i == never {
		return i
	}
	return i + instant(d)
}

// write is a record of type write that may have had an effect.
type write struct {
	line              int
	state             string
	sent              instant
	acknowledged      instant // never: unless the outcome is ok
	expires           instant // never: it does not expire
	revision          uint64  // zero: not known
	concern           string
	known, convicting bool // acknowledged at all, and with majority
}

// span is a time in which a key may have had a state.
type span struct {
	state string
	// The state began after from, and had ended by to.
	from, to instant
	// What depends on the clock alone: an expiry.
	begins, ends instant
	// endRevision is the lowest revision of a write that certainly ended the state. Zero:
	// none is known.
	endRevision uint64
	// write made the state, endedBy ended it, and revisedBy has the endRevision: indexes of
	// the timeline's writes, or -1.
	write, endedBy, revisedBy int
}

// timeline is what is known about one key.
type timeline struct {
	initial []string // nil: what the header says
	writes  []write
	// revisions: some write that convicts has one.
	revisions bool
	// expires: some write has an expiry.
	expires bool
	// spans are sorted by from, each with the latest to of it and all before it.
	spans []span
	until []instant
}

// finish makes the spans of all writes. fenced and uncertainty are the header's.
func (t *timeline) finish(initial []string, fenced bool, uncertainty time.Duration) {
	if t.initial != nil {
		initial = t.initial
	}
	sort.SliceStable(t.writes, func(i, j int) bool { return t.writes[i].sent < t.writes[j].sent })
	ends := newEndings(t.writes)
	first := ends.after(always)
	for _, state := range initial {
		t.spans = append(t.spans, span{
			state: state, from: always, to: first.at, begins: always, ends: never, write: -1,
			endRevision: first.revision, endedBy: first.write, revisedBy: first.revisedBy,
		})
	}
	for i := range t.writes {
		w := &t.writes[i]
		// A write certainly follows this one if it was sent after this one had taken effect.
		e := none
		switch {
		case fenced:
			e = ends.following(i)
		case w.known:
			e = ends.after(w.acknowledged.add(uncertainty))
		}
		s := span{
			state: w.state, from: w.sent, to: e.at, begins: always, ends: w.expires, write: i,
			endRevision: e.revision, endedBy: e.write, revisedBy: e.revisedBy,
		}
		t.spans = append(t.spans, s)
		if w.expires != never {
			t.expires = true
			s.state, s.begins, s.ends = history.Expired, w.expires, never
			t.spans = append(t.spans, s)
		}
	}
	slices.SortStableFunc(t.spans, func(a, b span) int {
		switch {
		case a.from < b.from:
			return -1
		case a.from > b.from:
			return 1
		}
		return 0
	})
	last := always
	for _, s := range t.spans {
		last = max(last, s.to)
		t.until = append(t.until, last)
	}
}

// ending is the first acknowledgement among some writes, and the lowest revision among them.
type ending struct {
	at        instant
	write     int
	revision  uint64
	revisedBy int
}

var none = ending{at: never, write: -1, revisedBy: -1}

// endings has, for each write, the ending of it and all later ones. Only writes that were
// acknowledged with majority end a state.
type endings struct {
	writes []write // sorted by sent
	from   []ending
}

func newEndings(writes []write) *endings {
	e := &endings{writes: writes, from: make([]ending, len(writes)+1)}
	e.from[len(writes)] = none
	for i, w := range slices.Backward(writes) {
		next := e.from[i+1]
		if w.convicting {
			if w.acknowledged <= next.at {
				next.at, next.write = w.acknowledged, i
			}
			if w.revision != 0 && (next.revision == 0 || w.revision < next.revision) {
				next.revision, next.revisedBy = w.revision, i
			}
		}
		e.from[i] = next
	}
	return e
}

// after is the ending of the writes that were sent later than a time. At the same time is not
// later: a clock may be coarse, so that a write is acknowledged when it was sent.
func (e *endings) after(at instant) ending {
	return e.from[sort.Search(len(e.writes), func(i int) bool { return e.writes[i].sent > at })]
}

// following is the ending of the writes behind one.
func (e *endings) following(i int) ending { return e.from[i+1] }

// window is the time in which an answer must be a state of its key: between from and to,
// and, for what depends on the clock alone, between asked and to. Changes up to revision
// must be in the answer. All ends have the uncertainty of clocks in them.
type window struct {
	asked, from, to instant
	revision        uint64
}

// overlaps reports whether a span that find has passed, so that it begins before the end
// of the window, may overlap it.
func (s *span) overlaps(w window) bool {
	return s.overlapsWithoutExpiry(w) && s.begins <= w.to && s.ends >= w.asked
}

func (s *span) overlapsWithoutExpiry(w window) bool {
	return s.to >= w.from && (s.endRevision == 0 || s.endRevision > w.revision)
}

// mayHaveLasted reports whether the state of a span may have lasted up to a revision, because
// each later write up to it may have changed nothing. The server gives such a write the
// revision of what anybody wrote last, so an answer from before it was sent can have that, too.
func (t *timeline) mayHaveLasted(s *span, revision uint64, explains func(state string) bool) bool {
	for s != nil && s.endRevision != 0 && s.endRevision <= revision {
		s = t.unchangedBy(s.revisedBy, s, explains)
	}
	return s != nil
}

// unchangedBy is the span of a write that may have found its own state. Nil: it changed the
// state of the span before it.
func (t *timeline) unchangedBy(write int, before *span, explains func(state string) bool) *span {
	w := &t.writes[write]
	first := sort.Search(len(t.spans), func(i int) bool { return t.spans[i].from >= w.sent })
	for i := first; i < len(t.spans) && t.spans[i].from == w.sent; i++ {
		s := &t.spans[i]
		switch {
		case s.write != write:
		case s.state == before.state && s.ends == before.ends,
			before.state == history.AnyState && explains(s.state),
			w.state == history.Expired && before.ends <= w.acknowledged: // it expired meanwhile
			return s
		}
	}
	return nil
}

// find returns the latest span that the test accepts, among those that have begun by the
// end of the window and may have lasted until its start.
func (t *timeline) find(w window, test func(*span) bool) *span {
	for i := t.begunBy(w.to) - 1; i >= 0 && t.until[i] >= w.from; i-- {
		if test(&t.spans[i]) {
			return &t.spans[i]
		}
	}
	return nil
}

// begunBy is the number of spans that have begun by a time.
func (t *timeline) begunBy(at instant) int {
	return sort.Search(len(t.spans), func(i int) bool { return t.spans[i].from > at })
}
