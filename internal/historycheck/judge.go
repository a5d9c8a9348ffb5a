package historycheck

import (
	"fmt"
	"slices"
	"time"

	"github.com/keytail/keytail/internal/history"
)

// judge has what is known besides the answers, and judges one answer after the other.
type judge struct {
	maxStale, uncertainty, resolution time.Duration
	vary                              bool
	keys                              map[string]*timeline
	// unwritten is the timeline of a key that no record but answers names.
	unwritten        *timeline
	fleet            acknowledgements
	instances        map[string]*acknowledgements
	outages          []outage
	faults           []fault
	judged, violated map[Rule]int
	// writesFile is the name of the file that all lines but those of answers are in, if it
	// is another one.
	writesFile string
}

// outage and fault are spans of time. instance is empty for all of them.
type outage struct {
	line     int
	from, to instant
	instance string
}

type fault struct {
	outage
	name string
}

// answer is one answer, with the times that it reports.
type answer struct {
	*history.Answer
	file         string // empty: the only one
	line         int
	asked, given instant
	asOf         instant // always: not reported
	staleness    time.Duration
	hasStaleness bool
}

// finding is a rule that an answer breaks.
type finding struct {
	rule Rule
	// broken is the window in which the answer's code was not possible. Its zero value: the
	// answer contradicts itself, and because says how.
	broken  window
	because string
}

// judge returns the rules that an answer breaks.
func (j *judge) judge(a *answer) []finding {
	v := verdict{judge: j, answer: a, timeline: j.timelineOf(a.Key)}
	if a.Code != history.Unavailable {
		v.state()
	}
	v.outage()
	for _, f := range v.found {
		j.violated[f.rule]++
	}
	return v.found
}

// state applies the rules about the state of the key.
func (v *verdict) state() {
	if v.timeline.expires {
		v.judged[ExactExpiry]++
	}
	if v.isUnknownKey() {
		v.judged[UnknownKey]++
	}
	base := window{asked: v.asked.add(-v.uncertainty), to: v.given.add(v.uncertainty)}
	v.bounded(base)
	v.reported(base)
	if v.maxStale == 0 && !v.hasAge() {
		v.ageless(base)
	}
	v.acknowledged(base)
	v.revisions(base)
}

func (j *judge) timelineOf(key string) *timeline {
	if t := j.keys[key]; t != nil {
		return t
	}
	return j.unwritten
}

// verdict collects what is wrong with one answer.
type verdict struct {
	*judge
	*answer
	timeline *timeline
	found    []finding
}

// must applies a rule: the answer must be a state of the key in the window.
func (v *verdict) must(rule Rule, w window, because func() string) {
	v.judged[rule]++
	if v.timeline.find(w, func(s *span) bool { return s.overlaps(w) && v.explains(s.state) }) != nil {
		return
	}
	// Only now, because it takes longer and is rare.
	apartFromRevision := w
	apartFromRevision.revision = 0
	lasted := func(s *span) bool {
		return s.overlaps(apartFromRevision) && v.explains(s.state) && v.timeline.mayHaveLasted(s, w.revision, v.explains)
	}
	if w.revision != 0 && v.timeline.find(w, lasted) != nil {
		return
	}
	switch {
	case rule != BoundedStaleness && rule != ReportedStaleness:
	case v.timeline.find(w, func(s *span) bool { return s.overlapsWithoutExpiry(w) && v.explains(s.state) }) != nil:
		rule = ExactExpiry
	case v.isUnknownKey():
		rule = UnknownKey
	}
	v.add(finding{rule, w, because()})
}

// hasAge reports whether the answer says how old its data are.
func (v *verdict) hasAge() bool { return v.asOf != always || v.hasStaleness }

// ageless applies what must hold for data of any age. An answer that has a bound, or
// reports its age, is compared with more.
func (v *verdict) ageless(base window) {
	base.from = always
	possible := func(s *span) bool { return v.explains(s.state) && s.overlaps(base) }
	expired := func(s *span) bool { return v.explains(s.state) && s.overlapsWithoutExpiry(base) }
	switch {
	case v.timeline.find(base, possible) != nil:
	case v.timeline.find(base, expired) != nil:
		v.add(finding{ExactExpiry, base, "whatever the age of its data, it must not ignore an expiry"})
	case v.isUnknownKey():
		v.add(finding{UnknownKey, base, "whatever the age of its data, a key without a write is " + history.NotFound})
	}
}

// isUnknownKey reports whether nothing has ever created the key.
func (v *verdict) isUnknownKey() bool {
	return len(v.timeline.writes) == 0 && len(v.timeline.spans) == 1 && v.timeline.spans[0].state == history.NotFound
}

// add adds a finding, unless the rule is broken already.
func (v *verdict) add(f finding) {
	if !slices.ContainsFunc(v.found, func(g finding) bool { return g.rule == f.rule }) {
		v.found = append(v.found, f)
	}
}

// explains reports whether a key in a state gets the code of the answer.
func (v *verdict) explains(state string) bool {
	switch {
	case state == v.Code || state == history.AnyState:
		return true
	case v.Code == history.Refused:
		return state != history.Valid && state != history.Unavailable
	case v.vary:
		return state == history.Valid && (v.Code == history.Forbidden || v.Code == history.InsufficientPermissions)
	}
	return false
}

// reported applies what the answer says about its age.
func (v *verdict) reported(base window) {
	from := v.asOf.add(-v.uncertainty - v.resolution)
	switch {
	case !v.hasAge():
		return
	case v.asOf > v.given.add(v.uncertainty+v.resolution):
		v.judged[ReportedStaleness]++
		v.add(finding{rule: ReportedStaleness, because: "it says that it has all changes up to as_of, which is " + apart(v.given, v.asOf) + " after it was given"})
		return
	case v.asOf == always:
		from = v.asked.add(-v.staleness - v.resolution)
	case v.hasStaleness:
		// The answer was made after the request.
		if age := time.Duration(v.asked - v.asOf); v.staleness+2*v.resolution+v.uncertainty < age {
			v.judged[ReportedStaleness]++
			v.add(finding{rule: ReportedStaleness, because: "it says that its data are " + milliseconds(v.staleness) +
				" old, but at the time of the request as_of was already " + milliseconds(age) + " ago"})
			return
		}
	}
	base.from = from
	v.must(ReportedStaleness, base, func() string {
		return "by its own report it ignores no write that was acknowledged before " + clock(from)
	})
}

// bounded applies max_stale.
func (v *verdict) bounded(base window) {
	if v.maxStale == 0 {
		return
	}
	base.from = v.asked.add(-v.maxStale - v.uncertainty)
	v.must(BoundedStaleness, base, func() string {
		return "with max_stale " + v.maxStale.String() + " it must not ignore a write that was acknowledged before " + clock(base.from)
	})
	if v.hasStaleness && v.staleness > v.maxStale+v.resolution {
		v.add(finding{rule: BoundedStaleness, because: "it reports a staleness of " + milliseconds(v.staleness) + ", and max_stale is " + v.maxStale.String()})
	}
	// The answer was made after the request. A staleness that contradicts its as_of breaks
	// another rule.
	if age := time.Duration(v.asked - v.asOf); v.asOf != always && !v.hasStaleness && age > v.maxStale+v.resolution+v.uncertainty {
		v.add(finding{rule: BoundedStaleness, because: "its as_of was " + milliseconds(age) + " before the request, and max_stale is " + v.maxStale.String()})
	}
}

// acknowledged applies what the fleet and the instance had reported before the request.
func (v *verdict) acknowledged(base window) {
	before := base.asked
	for _, of := range []struct {
		rule Rule
		all  *acknowledgements
	}{{FleetAcknowledged, &v.fleet}, {InstanceAcknowledged, v.instances[v.Instance]}} {
		covers, revision := of.all.before(before)
		if covers != nil {
			w := base
			w.from = covers.covers.add(-v.uncertainty)
			v.must(of.rule, w, func() string { return v.synced(covers) + "all that was acknowledged before " + clock(covers.covers) })
		}
		if revision != nil {
			w := base
			w.from, w.revision = always, revision.revision
			v.must(of.rule, w, func() string { return v.synced(revision) + fmt.Sprintf("all up to revision %016x", revision.revision) })
		}
	}
}

func (v *verdict) synced(a *acknowledgement) string {
	return "synced was reported at " + clock(a.at) + " (" + v.lineOf(a.line) + ") for "
}

// revisions applies the revisions that the request required and the answer reports.
func (v *verdict) revisions(base window) {
	required, _ := history.ParseRevision(v.MinRevision)
	if reported, _ := history.ParseRevision(v.Revision); required != 0 && reported != 0 {
		if v.judged[RequiredRevision]++; reported < required {
			v.add(finding{rule: RequiredRevision, because: "the request required revision " + v.MinRevision + ", and it reports " + v.Revision})
		}
	}
	for _, of := range []struct {
		rule           Rule
		text, sentence string
	}{
		{RequiredRevision, v.MinRevision, "the request required all changes up to revision "},
		{ReportedRevision, v.Revision, "it says that it has all changes up to revision "},
	} {
		if revision, _ := history.ParseRevision(of.text); revision != 0 && v.timeline.revisions {
			base.from, base.revision = always, revision
			v.must(of.rule, base, func() string { return of.sentence + of.text })
		}
	}
}

// outage applies the spans in which the instance knew that it had nothing to answer from.
func (v *verdict) outage() {
	for i := range v.outages {
		o := &v.outages[i]
		if o.instance != "" && o.instance != v.Instance || o.from >= v.asked.add(-v.uncertainty) || o.to < v.given.add(v.uncertainty) {
			continue
		}
		v.judged[OutageIsNoRefusal]++
		if v.Code == history.NotFound {
			v.add(finding{rule: OutageIsNoRefusal, because: "from " + clock(o.from) + " to " + clock(o.to) + " (" + v.lineOf(o.line) + ") there was nothing to answer from, which it knew"})
			return
		}
	}
}
