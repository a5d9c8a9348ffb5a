package historycheck

import (
	"time"

	"github.com/keytail/keytail/internal/history"
)

// Report is the judgement of a history.
type Report struct {
	// OK: no answer breaks a rule.
	OK     bool   `json:"ok"`
	Totals Totals `json:"totals"`
	Rules  []Used `json:"rules"`
	// Wrong is the number of answers that break at least one rule, and Violations are the
	// first of them.
	Wrong      int         `json:"wrong_answers"`
	Violations []Violation `json:"violations"`
	// Notes say what of the history could not convict an answer.
	Notes []string `json:"notes,omitempty"`
	// Header is what the history says of itself.
	Header history.Header `json:"header"`
	// Lines is the number of lines that were read, and Took how long it took.
	Lines int           `json:"lines"`
	Took  time.Duration `json:"took_ns"`
}

// Totals count the records.
type Totals struct {
	Answers     int `json:"answers"`
	Unavailable int `json:"unavailable"`
	// Other are the lines of decision logs that are not about a key that was found.
	Other  int `json:"other,omitempty"`
	Keys   int `json:"keys"`
	Writes int `json:"writes"`
	// Unknown and Failed are outcomes; NotMajority are the writes with another write concern.
	Unknown          int `json:"unknown_writes"`
	Failed           int `json:"failed_writes"`
	NotMajority      int `json:"not_majority_writes"`
	Acknowledgements int `json:"acknowledgements"`
	Faults           int `json:"faults"`
}

// Used is how often a rule was applied to an answer, and how often it was broken.
type Used struct {
	Rule    Rule `json:"rule"`
	Applied int  `json:"applied"`
	Broken  int  `json:"broken"`
}

// Violation is an answer that breaks at least one rule.
type Violation struct {
	// File is empty if there is only one.
	File   string         `json:"file,omitempty"`
	Line   int            `json:"line"`
	Answer history.Answer `json:"answer"`
	Broken []Broken       `json:"broken"`
	// Writes are the writes of the key that explain and contradict the answer.
	Writes []WriteLine `json:"writes"`
	// Faults are the names of those that lasted meanwhile.
	Faults []string `json:"faults,omitempty"`
}

// Broken is a rule, and why the answer breaks it.
type Broken struct {
	Rule Rule   `json:"rule"`
	Why  string `json:"why"`
}

// WriteLine is a write and its line.
type WriteLine struct {
	File  string        `json:"file,omitempty"`
	Line  int           `json:"line"`
	Write history.Write `json:"write"`
}

// violationsKept bounds the memory for a history that is wrong everywhere.
const violationsKept = 1000

// add adds a violation.
func (r *Report) add(j *judge, a *answer, found []finding) {
	if r.Wrong++; len(r.Violations) == violationsKept {
		return
	}
	t := j.timelineOf(a.Key)
	v := Violation{File: a.file, Line: a.line, Answer: *a.Answer, Writes: []WriteLine{}}
	if a.StalenessMS != nil {
		v.Answer.StalenessMS = new(*a.StalenessMS)
	}
	named := map[int]bool{}
	from := a.asked
	for _, f := range found {
		why := f.because
		if f.broken != (window{}) {
			text, writes := j.explain(t, a, f)
			why += ", but " + text
			for _, i := range writes {
				named[i] = true
			}
			from = min(from, max(f.broken.from, a.asked.add(-j.maxStale)))
		}
		v.Broken = append(v.Broken, Broken{f.rule, why})
	}
	for i := range t.writes {
		if named[i] {
			v.Writes = append(v.Writes, WriteLine{j.writesFile, t.writes[i].line, t.writes[i].record(a.Key)})
		}
	}
	v.Faults = j.faultsBetween(from, a.given, a.Instance)
	r.Violations = append(r.Violations, v)
}

// faultsNamed bounds a line of text.
const faultsNamed = 5

func (j *judge) faultsBetween(from, to instant, instance string) (names []string) {
	for _, f := range j.faults {
		if f.from <= to && f.to >= from && (f.instance == "" || instance == "" || f.instance == instance) && len(names) < faultsNamed {
			names = append(names, f.name)
		}
	}
	return names
}

// record is the write as the history has it.
func (w *write) record(key string) history.Write {
	r := history.Write{Key: key, State: w.state, Sent: w.sent.time(), Outcome: history.Unknown, Concern: w.concern}
	if w.known {
		r.Outcome, r.Acknowledged = history.OK, w.acknowledged.time()
	}
	if w.expires != never {
		r.Expires = w.expires.time()
	}
	if w.revision != 0 {
		r.Revision = revisionText(w.revision)
	}
	return r
}

// finish counts what has been read.
func (r *Report) finish(l *loader) {
	r.OK, r.Header, r.Totals.Keys = r.Wrong == 0, l.header, len(l.keys)
	for _, rule := range Rules {
		r.Rules = append(r.Rules, Used{rule, l.judged[rule], l.violated[rule]})
	}
	note := func(wanted bool, text string) {
		if wanted {
			r.Notes = append(r.Notes, text)
		}
	}
	note(r.Totals.Writes == 0, "there are no writes: an answer can only be compared with the initial states")
	note(l.maxStale == 0, "no max_stale_ms is given: bounded staleness was not judged")
	note(r.Totals.Unavailable == r.Totals.Answers, "all answers are UNAVAILABLE, which is never wrong: nothing was judged")
	note(l.judged[ReportedStaleness] == 0, "no answer reports its age: reported staleness was not judged")
	note(r.Totals.NotMajority > 0, "writes with a write concern other than majority convict no answer, because they can be rolled back")
	note(r.Totals.Unknown > 0 && !l.header.Fenced, "the header does not say that writes are fenced: a write of unknown outcome explains answers until the end")
}
