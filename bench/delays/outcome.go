package delays

import (
	"fmt"
	"time"

	"github.com/keytail/keytail/auth"
)

// Outcome is what a run has measured.
type Outcome struct {
	// MaxStale, For and Rate are those of Config.
	MaxStale, For time.Duration
	Rate          int
	Measurements  []*Measurement
}

// Measurement is what was measured of one fault. Without Rounds it was not possible.
type Measurement struct {
	// Fault and How are those of Fault.
	Fault, How string
	Rounds     int
	// Lasted is how long the faults lasted at most. Recovery is how long after their end the
	// daemon was live, with data from after the end, at the latest.
	Lasted, Recovery time.Duration
	// Losses is how many faults made the change stream lose its history.
	Losses int
	// Revocations counts the keys that were revoked and not refused before the fault, or
	// revoked until it had recovered. Late counts those that were accepted
	// after the acknowledgement.
	Revocations, Late int
	// Answers counts the requests for quiet keys from the beginning of the fault until a
	// moment after the recovery. Unavailable counts those that were answered so, and
	// Unanswered those that got no answer.
	Answers, Unavailable, Unanswered int
	// Violations are the first answers that break a guarantee, in words, and MoreViolations
	// is the number of those after them.
	Violations     []string `json:",omitempty"`
	MoreViolations int      `json:",omitempty"`
	// Histograms are the distributions, by the names of Distributions. Those without a
	// value are missing. They are saved in a file of their own.
	Histograms Histograms `json:"-"`
	from, to   time.Time
}

func (m *Measurement) String() string {
	if m.Rounds == 0 {
		return m.Fault + ": not measured: " + m.How
	}
	last := m.Histograms.max(LastAcceptance)
	return fmt.Sprintf("%s: %d revocations, last acceptance %v after the acknowledgement; %d of %d answers UNAVAILABLE, staleness up to %v",
		m.Fault, m.Revocations, last.Round(time.Millisecond), m.Unavailable, m.Answers, m.Histograms.max(Staleness).Round(time.Millisecond))
}

// Failures are the violations of all faults.
func (o *Outcome) Failures() []string {
	var all []string
	for _, m := range o.Measurements {
		for _, v := range m.Violations {
			all = append(all, m.Fault+": "+v)
		}
		if m.MoreViolations > 0 {
			all = append(all, fmt.Sprintf("%s: %d more answers broke a guarantee", m.Fault, m.MoreViolations))
		}
	}
	return all
}

// add adds what happened during one fault.
func (m *Measurement) add(e *episode, l *load, maxStale time.Duration) {
	if m.Rounds++; m.Rounds == 1 {
		m.from, m.Histograms = e.began, Histograms{}
	}
	m.to = e.recovered
	m.Lasted, m.Recovery = max(m.Lasted, e.ended.Sub(e.began)), max(m.Recovery, e.recovered.Sub(e.ended))
	if e.lost {
		m.Losses++
	}
	for _, v := range l.revocations {
		m.judge(v, maxStale)
		if !v.sent.After(e.recovered) && (v.refused.code == "" || v.refused.received.After(e.began)) {
			m.addRevocation(v)
		}
	}
	for _, a := range l.quiet {
		m.judgeQuiet(&a, maxStale)
		if a.received.After(e.began) {
			m.addQuiet(&a, e)
		}
	}
}

// mostViolations limits the violations of a fault that are listed.
const mostViolations = 5

func (m *Measurement) violation(format string, args ...any) {
	if len(m.Violations) == mostViolations {
		m.MoreViolations++
		return
	}
	m.Violations = append(m.Violations, fmt.Sprintf(format, args...))
}

// judge compares the answers about a revoked key with the guarantee. An answer was made
// between the times of its request and of its arrival, so only a request that was sent too
// late proves a violation.
func (m *Measurement) judge(v *revocation, maxStale time.Duration) {
	switch acknowledged := v.acknowledgedAt; {
	case v.wrong != "":
		m.violation("a revoked key got the answer %s", v.wrong)
	case acknowledged.IsZero():
		m.violation("a revocation was not acknowledged within %v", refusalTimeout)
	case v.refused.code == "":
		m.violation("a revoked key is not refused within %v", refusalTimeout)
	case v.accepted.sent.Sub(acknowledged) > maxStale:
		m.violation("a key was accepted %v after the acknowledgement of its revocation, more than max_stale", v.accepted.sent.Sub(acknowledged))
	case v.newest.After(acknowledged):
		m.violation("a revoked key was accepted by an answer that claims to contain all changes until %v after the acknowledgement", v.newest.Sub(acknowledged))
	}
}

// wireRounding is by how much a reported staleness is rounded up.
const wireRounding = time.Millisecond

// judgeQuiet checks an answer about a valid key.
func (m *Measurement) judgeQuiet(a *answer, maxStale time.Duration) {
	switch {
	case a.code != auth.Valid && a.code != auth.Unavailable && a.code != noAnswer:
		m.violation("a valid key got the answer %s", a.code)
	case a.hasAge && a.staleness > maxStale+wireRounding:
		m.violation("an answer reports a staleness of %v, more than max_stale", a.staleness)
	}
}

func (m *Measurement) addRevocation(v *revocation) {
	m.Revocations++
	if v.accepted.received.After(v.acknowledgedAt) {
		m.Late++
	}
	m.Histograms.record(FirstRefusal, v.refused.received.Sub(v.acknowledgedAt))
	m.Histograms.record(LastAcceptance, v.accepted.received.Sub(v.acknowledgedAt))
}

func (m *Measurement) addQuiet(a *answer, e *episode) {
	m.Answers++
	switch {
	case a.code == noAnswer:
		m.Unanswered++
	case a.code == auth.Unavailable:
		m.Unavailable++
		m.Histograms.record(UnavailableAfterBegin, a.received.Sub(e.began))
		if a.received.After(e.ended) {
			m.Histograms.record(UnavailableAfterEnd, a.received.Sub(e.ended))
		}
	case a.hasAge:
		m.Histograms.record(Staleness, a.staleness)
	}
}

// checkEffect returns an error if the daemon has not noticed the fault.
func (m *Measurement) checkEffect(f *Fault, long bool) error {
	switch {
	case f.Effect == Loss && m.Losses < m.Rounds:
		return fmt.Errorf("%s has not made the change stream lose its history, so nothing was measured", f.Name)
	case f.Effect == Outage && long && m.Unavailable == 0:
		return fmt.Errorf("no answer was UNAVAILABLE during %s, so keytail has not noticed it and nothing was measured", f.Name)
	}
	return nil
}
