package historycheck

import (
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/keytail/keytail/internal/history"
)

// violationsPrinted is how many violations Print explains.
const violationsPrinted = 20

// Print writes the report for people.
func (r *Report) Print(to io.Writer) error {
	p := printer{to: to}
	p.head(r)
	for i := range r.Violations[:min(len(r.Violations), violationsPrinted)] {
		p.violation(i+1, &r.Violations[i])
	}
	if more := r.Wrong - violationsPrinted; more > 0 {
		p.line("")
		p.line("… and %s more answers that break a promise", grouped(more))
	}
	p.line("")
	if r.OK {
		p.line("no answer of %s breaks a promise", grouped(r.Totals.Answers))
	} else {
		p.line("%s of %s answers break a promise", grouped(r.Wrong), grouped(r.Totals.Answers))
	}
	return p.failed
}

// printer remembers the first error.
type printer struct {
	to     io.Writer
	failed error
}

func (p *printer) line(format string, args ...any) {
	if p.failed == nil {
		_, p.failed = fmt.Fprintln(p.to, strings.TrimRight(fmt.Sprintf(format, args...), " "))
	}
}

func (p *printer) head(r *Report) {
	h, t := &r.Header, &r.Totals
	for _, row := range [][2]string{{"history", h.Description}, {"topology", h.Topology}, {"clock", h.Clock}} {
		if row[1] != "" {
			p.line("%-12s  %s", row[0], plain(row[1]))
		}
	}
	p.line("%-12s  %s in %s, %s a second", "lines", grouped(r.Lines), r.Took.Round(time.Millisecond), grouped(int(float64(r.Lines)/max(r.Took, 1).Seconds())))
	p.line("%-12s  %s, of them UNAVAILABLE %s", "answers", grouped(t.Answers), grouped(t.Unavailable))
	if t.Other > 0 {
		p.line("%-12s  %s: unknown keys, outages, requests without a key", "not judged", grouped(t.Other))
	}
	p.line("%-12s  %s of %s keys, of unknown outcome %s", "writes", grouped(t.Writes), grouped(t.Keys), grouped(t.Unknown))
	p.line("%-12s  %s, and %s faults", "synced", grouped(t.Acknowledgements), grouped(t.Faults))
	p.line("%-12s  max_stale %v, clocks differ by at most %v, as_of and staleness are exact to %v", "bounds",
		history.Duration(h.MaxStaleMS), history.Duration(h.ClockUncertaintyMS), resolutionOf(h))
	for _, note := range r.Notes {
		p.line("%-12s  %s", "note", note)
	}
	p.line("")
	p.line("%-38s  %12s  %s", "promise", "applied to", "broken by")
	var others []string
	for _, u := range r.Rules {
		if u.Applied > 0 || u.Broken > 0 {
			p.line("%-38s  %12s  %s", u.Rule, grouped(u.Applied), grouped(u.Broken))
		} else {
			others = append(others, string(u.Rule))
		}
	}
	if len(others) > 0 {
		p.line("applied to none: %s", strings.Join(others, ", "))
	}
}

func (p *printer) violation(number int, v *Violation) {
	a := &v.Answer
	p.line("")
	by := "the answer"
	if a.Instance != "" {
		by = plain(a.Instance)
	}
	p.line("%d. %s: %s was %s for %s at %s", number, lineIn(v.Line, v.File), by, a.Code, plain(a.Key), a.Given.Format(stamp))
	p.line("   %s", reportedAge(a))
	for _, b := range v.Broken {
		p.line("   %s: %s", strings.ToUpper(string(b.Rule)), plain(b.Why))
	}
	for _, w := range v.Writes {
		p.line("   %s: %s", lineIn(w.Line, w.File), writeText(&w.Write))
	}
	if len(v.Faults) > 0 {
		p.line("   meanwhile: %s", plain(strings.Join(v.Faults, ", ")))
	}
}

// stamp is the form of a time that people compare with a log.
const stamp = "2006-01-02 15:04:05.000000"

func reportedAge(a *history.Answer) string {
	text := "asked " + a.Given.Sub(a.Asked).String() + " before"
	if a.Source != "" {
		text += ", from " + plain(a.Source)
	}
	if !a.AsOf.IsZero() {
		text += ", as of " + a.AsOf.Format("15:04:05.000000")
	}
	if a.StalenessMS != nil {
		text += ", staleness " + milliseconds(history.Duration(*a.StalenessMS))
	}
	if a.Revision != "" {
		text += ", revision " + a.Revision
	}
	if a.MinRevision != "" {
		text += ", required " + a.MinRevision
	}
	return text
}

func writeText(w *history.Write) string {
	text := fmt.Sprintf("write of %s, sent %s, outcome %s", w.State, w.Sent.Format("15:04:05.000000"), w.Outcome)
	if !w.Acknowledged.IsZero() {
		text += ", acknowledged " + w.Acknowledged.Format("15:04:05.000000")
	}
	if w.Concern != "" {
		text += ", w " + plain(w.Concern)
	}
	if !w.Expires.IsZero() {
		text += ", expires " + w.Expires.Format("15:04:05.000000")
	}
	if w.Revision != "" {
		text += ", revision " + w.Revision
	}
	return text
}

// plain replaces what could change a terminal: a history may be from anywhere.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r >= 0x202a && r <= 0x202e || r >= 0x2066 && r <= 0x2069 {
			return '\uFFFD'
		}
		return r
	}, text)
}

// grouped is a number with a comma after each three digits.
func grouped(n int) string {
	text := fmt.Sprint(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "," + text[i:]
	}
	return text
}
