package historycheck

import (
	"fmt"
	"strings"
	"time"

	"github.com/keytail/keytail/internal/history"
)

func revisionText(revision uint64) string { return fmt.Sprintf("%016x", revision) }

// explain says why the answer's code is not possible in the window of a finding, and
// returns the indexes of the writes that it names.
func (j *judge) explain(t *timeline, a *answer, f finding) (text string, writes []int) {
	v := verdict{judge: j, answer: a, timeline: t}
	last, next := v.nearest(f.broken)
	switch {
	case last != nil:
		text, writes = v.ended(last, f.broken)
	case next != nil:
		text = fmt.Sprintf("the first write that leads to %s (%s) was sent only %s after the answer", a.Code, j.lineOf(t.writes[next.write].line), apart(a.given, next.from))
		writes = []int{next.write}
	case len(t.writes) == 0:
		text = "no write of this key is recorded"
	default:
		text = "no write leads to " + a.Code
	}
	possible, more := v.possible(f.broken)
	return text + possible, append(writes, more...)
}

// nearest are the spans that explain the answer's code: the one that lasted longest of
// those that had begun, and the first one after the answer.
func (v *verdict) nearest(w window) (last, next *span) {
	begun := v.timeline.begunBy(w.to)
	for i := range v.timeline.spans {
		s := &v.timeline.spans[i]
		switch {
		case !v.explains(s.state):
		case i < begun && (last == nil || s.to >= last.to):
			last = s
		case i >= begun && next == nil:
			next = s
		}
	}
	return last, next
}

// ended says how a state ended, or that it did not begin.
func (v *verdict) ended(s *span, w window) (text string, writes []int) {
	t := v.timeline
	if s.write >= 0 {
		writes = append(writes, s.write)
	}
	switch {
	case s.begins > w.to:
		return fmt.Sprintf("the key expires only at %s (%s), %s after the answer", clock(s.begins), v.lineOf(t.writes[s.write].line), apart(v.given, s.begins)), writes
	case s.ends < w.asked:
		return fmt.Sprintf("the key had expired at %s (%s), %s before the request", clock(s.ends), v.lineOf(t.writes[s.write].line), apart(s.ends, v.asked)), writes
	case s.to < w.from:
		by := &t.writes[s.endedBy]
		return fmt.Sprintf("%s had ended with the write of %s (%s), acknowledged at %s: %s earlier than that, and %s the request",
			s.name(), v.lineOf(by.line), by.state, clock(s.to), apart(s.to, w.from), beforeOrAfter(s.to, v.asked)), append(writes, s.endedBy)
	}
	if s.revisedBy >= 0 {
		by := &t.writes[s.revisedBy]
		return fmt.Sprintf("%s had ended with the write of %s (%s), whose revision is %s", s.name(), v.lineOf(by.line), by.state, revisionText(by.revision)), append(writes, s.revisedBy)
	}
	return s.name() + " had ended", writes // not reached: a span that overlaps in all of this explains the answer
}

// name is the state for a sentence.
func (s *span) name() string {
	if s.state == history.AnyState {
		return "what it was before its first write"
	}
	return s.state
}

// beforeOrAfter is where a time is beside another one.
func beforeOrAfter(at, other instant) string {
	if at > other {
		return apart(other, at) + " after"
	}
	return apart(at, other) + " before"
}

// possibleNamed bounds a sentence.
const possibleNamed = 4

// possible lists the states that the key can have had in the window, latest first.
func (v *verdict) possible(w window) (text string, writes []int) {
	var states []string
	v.timeline.find(w, func(s *span) bool {
		switch {
		case !s.overlaps(w):
		case s.write < 0:
			states = append(states, s.state+" (before the first write)")
		default:
			by := &v.timeline.writes[s.write]
			text := s.state + " (" + v.lineOf(by.line)
			if !by.known {
				text += ", outcome unknown"
			}
			states, writes = append(states, text+")"), append(writes, s.write)
		}
		return len(states) == possibleNamed
	})
	if len(states) == 0 {
		return "", nil
	}
	return ". Possible in that time: " + strings.Join(states, ", "), writes
}

// apart is the time between two times.
func apart(from, to instant) string {
	d := time.Duration(to - from)
	switch {
	case d >= 10*time.Second:
		return d.Round(10 * time.Millisecond).String()
	case d >= 10*time.Millisecond:
		return d.Round(10 * time.Microsecond).String()
	}
	return history.Duration(history.Milliseconds(d)).String()
}
