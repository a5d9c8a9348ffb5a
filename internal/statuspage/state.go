package statuspage

import (
	"fmt"
	"time"

	"github.com/keytail/keytail/api"
)

// Look is how a state is shown. No colour is the only signal: each has a sign and words.
type Look struct {
	// Class is that of the style, Sign a character that a screen reader skips.
	Class, Sign string
	// Summary says what the state means, in one sentence.
	Summary string
}

// looks maps a state to its look.
var looks = map[string]Look{
	"live":       {"good", "✓", "Keys are validated from memory, and changes of keys arrive."},
	"preloading": {"wait", "…", "keytail loads the keys into memory. Keys that are not there yet are read from MongoDB, so answers are right, and slower."},
	"connecting": {"wait", "…", "keytail has no change stream yet. Each request reads MongoDB: answers are right, and slower, as long as MongoDB answers."},
	"stale":      {"warn", "!", "Changes of keys do not arrive. Each request reads MongoDB: answers are right, and slower, as long as MongoDB answers."},
	"down":       {"bad", "✕", "keytail cannot validate keys: it neither receives changes nor reads MongoDB. Requests are answered with UNAVAILABLE (503)."},
}

// MaxStale is the maximum staleness of an answer from the cache.
func (d *Data) MaxStale() *int64 { return &d.Status.MaxStaleMS }

// Shown is how the state is shown.
func (d *Data) Shown() Look {
	if known, found := looks[d.Status.State]; found {
		return known
	}
	return Look{"warn", "?", "This page does not know this state."}
}

// IsOutage reports whether callers notice it, or will.
func (d *Data) IsOutage() bool { return d.Status.State == "stale" || d.Status.State == "down" }

// NotLive reports whether there is a cause to show.
func (d *Data) NotLive() bool { return d.Status.State != "live" }

// Scan says how far a scan of the collection is; empty if none is running.
func (d *Data) Scan() string {
	scan := d.Status.Scan
	if scan == nil {
		return ""
	}
	text := fmt.Sprintf("A scan of the collection has read %d keys", scan.KeysRead)
	if scan.KeysExpected != nil {
		text += fmt.Sprintf(" of about %d", *scan.KeysExpected)
	}
	text += fmt.Sprintf(", %d a second.", scan.KeysPerSecond)
	if scan.LeftMS != nil {
		text += " About " + longAge(milliseconds(*scan.LeftMS)) + " left."
	}
	return text
}

// InState is how long the instance has been in its state; empty if that is not known.
func (d *Data) InState() string { return d.since(d.Status.Since) }

// Outage is how long the outage has lasted; empty if there is none.
func (d *Data) Outage() string { return d.since(d.Status.OutageSince) }

// LastOutage says when the last outage ended and how long it took, in the terms of the log;
// empty if there was none.
func (d *Data) LastOutage() string {
	last := d.Status.LastOutage
	if last == nil {
		return ""
	}
	text := "The last outage ended at " + moment(last.EndedAt) + ". It took " + longAge(milliseconds(last.TookMS))
	if last.DownMS == 0 {
		return text + "; this instance was stale, and not down."
	}
	return text + "; for " + longAge(milliseconds(last.DownMS)) + " of it this instance was down."
}

func (d *Data) since(at *api.Timestamp) string {
	if at == nil {
		return ""
	}
	return longAge(d.Now.Sub(at.Time))
}

// Age is how long ago a time was, with the word.
func (d *Data) Age(at any) string {
	var then time.Time
	switch t := at.(type) {
	case time.Time:
		then = t
	case api.Timestamp:
		then = t.Time
	case *api.Timestamp:
		if t == nil {
			return "never"
		}
		then = t.Time
	}
	if then.IsZero() {
		return "never"
	}
	return longAge(d.Now.Sub(then)) + " ago"
}
