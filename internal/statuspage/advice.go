package statuspage

import "strings"

// runbook is where the sections of docs/runbook.md are read.
const runbook = "https://github.com/keytail/keytail/blob/main/docs/runbook.md"

// Runbook is the section of the runbook about the state; empty if there is none.
func (d *Data) Runbook() string {
	if alert := alerts[d.Status.State]; alert != "" {
		return runbook + "#" + strings.ToLower(alert)
	}
	return ""
}

// alerts maps a state to the alert about it.
var alerts = map[string]string{"stale": "KeytailStale", "down": "KeytailDown", "connecting": "KeytailNotLive", "preloading": "KeytailNotLive"}

// steps maps a state to what a person does, in order, after what the cause advises.
var steps = map[string][]string{
	"stale": {
		"Look at the MongoDB servers on this page: the replica set needs a primary and a majority of its voting members, and keytail must reach them.",
		"Watch how long requests take and how much MongoDB has to do: each request is a linearizable read now.",
		"Do not restart keytail: it connects again by itself as soon as MongoDB answers, and a restart would throw the cache away.",
	},
	"down": {
		"Tell the owners of the services behind keytail that their requests fail with 503.",
		"Look at the MongoDB servers on this page: bring back a primary and a majority of the voting members, or the network between keytail and them.",
		"If other instances of the fleet are live, the network of this machine is the likely reason: move its traffic to them.",
		"Do not restart keytail: it recovers by itself within seconds when MongoDB answers, and cannot start while MongoDB does not.",
	},
	"connecting": {
		"Wait some seconds: this is normal after a start, and after a loss of history.",
		"If it lasts: check that the database user may read the change stream, and that the replica set has a primary.",
	},
	"preloading": {
		"Wait until the keys are loaded. Nothing is wrong.",
	},
}

// Steps are what a person does about the state.
func (d *Data) Steps() []string {
	var all []string
	if cause := d.Status.Cause; cause != nil && cause.Advice != "" {
		all = append(all, sentence(cause.Advice))
	}
	return append(all, steps[d.Status.State]...)
}

// Problem is something to repair that does not make the instance stale or down.
type Problem struct{ What, Do string }

// Problems are what needs attention in any state.
func (d *Data) Problems() []Problem {
	var all []Problem
	s := d.Status
	if s.IndexMissing != "" {
		all = append(all, Problem{"The unique index on the hash is missing.", sentence(s.IndexMissing)})
	}
	if u := s.Usage; u != nil && u.FailingMS != nil {
		all = append(all, Problem{
			"last_used and usage_count have not been written for " + longAge(milliseconds(*u.FailingMS)) + ".",
			d.usageAdvice(),
		})
	}
	if defects := s.Defects; defects != nil && defects.Disabled+defects.WithoutHash > 0 {
		all = append(all, Problem{
			number(defects.Disabled+defects.WithoutHash) + " documents cannot be read as keys.",
			"Correct them, or the mapping: see the defective documents on this page, and run keytail doctor.",
		})
	}
	return all
}

// usageAdvice must not send a person after the privileges while MongoDB is away.
func (d *Data) usageAdvice() string {
	if d.IsOutage() {
		return "This follows from the outage: they are written when MongoDB takes writes again. Verdicts do not depend on it."
	}
	return "Make sure that MongoDB answers in time and takes writes, and that the database user has the privilege update on the collection. Verdicts do not depend on it."
}

// sentence is a text of the log as a sentence of the page.
func sentence(text string) string {
	if text == "" {
		return ""
	}
	text = strings.ToUpper(text[:1]) + text[1:]
	if !strings.HasSuffix(text, ".") {
		text += "."
	}
	return text
}

// Sentence is sentence for a template.
func (d *Data) Sentence(text string) string { return sentence(text) }
