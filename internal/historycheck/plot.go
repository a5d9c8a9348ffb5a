package historycheck

import (
	"context"
	"fmt"
	"io"
	"slices"
	"time"

	"github.com/keytail/keytail/internal/history"
)

// Plot writes a picture of a violation as SVG: the writes of its key, the states that were
// possible, the answers of each instance, and the faults. It reads the history again, so its
// errors are those of Check, and those of writing.
func Plot(ctx context.Context, in Input, v *Violation, to io.Writer) error {
	c, err := load(ctx, in)
	if err != nil {
		return err
	}
	p := &plot{checker: c, violation: v, timeline: c.timelineOf(v.Answer.Key)}
	p.limits()
	if err := c.each(ctx, p.collect); err != nil {
		return err
	}
	_, err = io.WriteString(to, p.draw())
	return err
}

// plot is what a picture shows.
type plot struct {
	*checker
	violation *Violation
	timeline  *timeline
	// wrong is the answer of the violation.
	wrong answer
	// from and to are the times at the edges.
	from, to instant
	// ticks are the answers about the key, by instance.
	ticks map[string][]tick
	// collected counts the answers in the times that are shown, and leftOut those of them that
	// are not drawn.
	collected, leftOut int
}

// tick is one answer in a picture.
type tick struct {
	at   instant
	code string
}

// ticksDrawn bounds the size of a picture.
const ticksDrawn = 3000

// limits chooses the times to show: those of the answer and of all that its explanation
// names.
func (p *plot) limits() {
	a := p.violation.Answer
	p.wrong = *answerOf(&a, p.violation.File, p.violation.Line)
	p.from, p.to = p.wrong.asked, p.wrong.given
	include := func(at instant) {
		if at != always && at != never {
			p.from, p.to = min(p.from, at), max(p.to, at)
		}
	}
	include(p.wrong.asOf)
	for _, w := range p.violation.Writes {
		include(instantOf(w.Write.Sent, always))
		include(instantOf(w.Write.Acknowledged, always))
	}
	if p.broken(BoundedStaleness) || p.to-p.from > instant(p.maxStale)/2 {
		include(p.staleFrom())
	}
	margin := max((p.to-p.from)/12, instant(time.Millisecond))
	p.from, p.to = p.from-margin, p.to+margin
}

func (p *plot) broken(rule Rule) bool {
	return slices.ContainsFunc(p.violation.Broken, func(b Broken) bool { return b.Rule == rule })
}

// staleFrom is the start of the max_stale window, or always without a max_stale.
func (p *plot) staleFrom() instant {
	if p.maxStale == 0 {
		return always
	}
	return p.wrong.asked.add(-p.maxStale)
}

// collect takes an answer about the key.
func (p *plot) collect(a *answer) {
	if p.ticks == nil {
		p.ticks = map[string][]tick{}
	}
	if a.Key != p.violation.Answer.Key || a.given < p.from || a.given > p.to {
		return
	}
	if p.collected++; p.collected > ticksDrawn {
		p.leftOut++
		return
	}
	p.ticks[a.Instance] = append(p.ticks[a.Instance], tick{a.given, a.Code})
}

// title is the first line of the text above the picture.
func (p *plot) title() string {
	a := &p.violation.Answer
	by := a.Instance
	if by == "" {
		by = "the answer"
	}
	return fmt.Sprintf("%s: %s was %s for %s at %s", lineIn(p.violation.Line, p.violation.File), plain(by), a.Code, plain(a.Key), a.Given.Format(stamp))
}

// lanes are the states to show, in a fixed order.
func (p *plot) lanes() (states []string) {
	shown := func(state string) bool {
		return state == p.violation.Answer.Code || slices.ContainsFunc(p.timeline.spans, func(s span) bool {
			return s.state == state && max(s.from, s.begins) <= p.to && min(s.to, s.ends) >= p.from
		})
	}
	for _, state := range append([]string{history.AnyState}, codesInOrder...) {
		if shown(state) {
			states = append(states, state)
		}
	}
	return states
}

// codesInOrder is the order of lanes and of the legend.
var codesInOrder = []string{
	history.Valid, history.Disabled, history.Expired, history.NotFound, history.Forbidden, history.InsufficientPermissions,
	history.Refused, history.Missing, history.Malformed, history.Unavailable,
}

// codes are those that the picture shows.
func (p *plot) codes() (shown []string) {
	seen := map[string]bool{p.violation.Answer.Code: true}
	for _, ticks := range p.ticks {
		for _, t := range ticks {
			seen[t.code] = true
		}
	}
	for _, state := range p.lanes() {
		seen[state] = true
	}
	for _, code := range codesInOrder {
		if seen[code] {
			shown = append(shown, code)
		}
	}
	return shown
}
