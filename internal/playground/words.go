package playground

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// line is a sentence with a look. No colour is the only signal.
type line struct {
	// Class is that of the style, Sign a character that a screen reader skips.
	Class, Sign, Text string
}

var (
	good = line{Class: "good", Sign: "✓"}
	warn = line{Class: "warn", Sign: "!"}
	bad  = line{Class: "bad", Sign: "✕"}
	wait = line{Class: "wait", Sign: "…"}
)

func (l line) with(format string, args ...any) line {
	l.Text = fmt.Sprintf(format, args...)
	return l
}

// shortTime is a duration for people: the smaller, the more precise.
func shortTime(d time.Duration) string {
	switch {
	case d < time.Millisecond:
		return "less than 1 ms"
	case d < time.Second:
		return fmt.Sprintf("%d ms", d.Milliseconds())
	case d < 10*time.Second && d%time.Second >= 100*time.Millisecond:
		return fmt.Sprintf("%.1f s", d.Truncate(100*time.Millisecond).Seconds())
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", d/time.Second)
	case d%time.Minute < time.Second:
		return fmt.Sprintf("%d min", d/time.Minute)
	}
	return fmt.Sprintf("%d min %d s", d/time.Minute, d%time.Minute/time.Second)
}

// wholeSeconds is shortTime for a time that grows while a person looks at it.
func wholeSeconds(d time.Duration) string {
	if d < time.Second {
		return "less than 1 s"
	}
	return shortTime(d.Truncate(time.Second))
}

// done is what has been done to the key.
func (a action) done() string {
	switch a {
	case revoke:
		return "revoked"
	case restore:
		return "restored"
	case remove:
		return "deleted"
	case elsewhere:
	}
	return "changed outside of this page"
}

// noun is what waits for MongoDB.
func (a action) noun() string {
	switch a {
	case revoke:
		return "revocation"
	case restore:
		return "restoration"
	case remove:
		return "deletion"
	case elsewhere:
	}
	return "change"
}

func subject(which int) string {
	if which == laneKeytail {
		return "keytail"
	}
	return "The TTL cache"
}

// words says whether, and how fast, a lane has noticed a change. answers is its last answer.
func (c *change) words(which int, answers apikey.Code, now time.Time, maxStale time.Duration) line {
	n := c.notices[which]
	switch {
	case n.already:
		return c.alreadyWords(which, n.code)
	case n.at.IsZero():
		return c.missedWords(which, answers, now)
	case c.at.IsZero():
		return good.with("%s answers %s, before MongoDB has acknowledged the write.", subject(which), n.code)
	case n.code == apikey.Unavailable && which == laneKeytail:
		return warn.with("keytail let it in for another %s, and then answered UNAVAILABLE: it may not answer from data older than max_stale (%s).", shortTime(c.delay(which)), shortTime(maxStale))
	case n.code == apikey.Unavailable:
		return warn.with("%s let it in for another %s, and then answered UNAVAILABLE: its copy had expired.", subject(which), shortTime(c.delay(which)))
	}
	verb, look := "refused", good
	if c.valid {
		verb = "accepted"
	}
	if c.delay(which) > time.Second {
		look = warn
	}
	return look.with("%s %s it after %s.", subject(which), verb, shortTime(c.delay(which)))
}

func (c *change) alreadyWords(which int, code apikey.Code) line {
	if c.action == elsewhere {
		return good.with("%s had noticed it before this page did: %s.", subject(which), code)
	}
	if c.valid {
		return warn.with("%s answered VALID all the time: it had not noticed the change before.", subject(which))
	}
	return good.with("%s did not let it in before, either: %s.", subject(which), code)
}

func (c *change) missedWords(which int, answers apikey.Code, now time.Time) line {
	verb := "lets it in"
	if c.valid {
		verb = "does not let it in"
	}
	switch {
	case c.at.IsZero() && c.ended.IsZero():
		return wait.with("%s answers %s.", subject(which), answers)
	case !c.ended.IsZero():
		return warn.with("%s had not noticed it %s later, when the next change came.", subject(which), shortTime(c.ended.Sub(c.at)))
	}
	return bad.with("%s still %s, %s later.", subject(which), verb, wholeSeconds(now.Sub(c.at)))
}

// words are the news of a fault.
func (f Fault) words() string {
	switch f {
	case Cut:
		return "The network between the services and MongoDB is cut. Keys can still be revoked, from the other side."
	case Frozen:
		return "The primary is frozen. It answers nobody, and what is written now waits."
	case None:
	}
	return "MongoDB is well again."
}

// short names the fault on the timeline.
func (f Fault) short() string {
	switch f {
	case Cut:
		return "network cut"
	case Frozen:
		return "primary frozen"
	case None:
	}
	return ""
}

// failure is why a write failed, and what to do.
func failure(err error, advice string) string {
	why := ""
	if !errors.Is(err, context.DeadlineExceeded) && !errors.Is(err, context.Canceled) {
		why = " (" + err.Error() + ")"
	}
	return "MongoDB did not acknowledge the write" + why + ". " + advice
}

// stateNews tells of a change of keytail's state.
func stateNews(state string, maxStale time.Duration) string {
	switch state {
	case "stale":
		return "keytail is stale: it has heard nothing from MongoDB for " + shortTime(maxStale) + "."
	case "down":
		return "keytail is down: it answers UNAVAILABLE, neither yes nor no."
	}
	return "keytail is " + state + "."
}

// explanation says what a state of keytail means for an answer.
func explanation(state string) string {
	switch state {
	case "live":
		return "Changes arrive. Answers come from memory."
	case "stale":
		return "Nothing has been heard for max_stale. Nothing is answered from memory: each request asks MongoDB."
	case "down":
		return "Nothing has been heard for max_stale, and MongoDB does not answer. Requests get UNAVAILABLE: neither yes nor no."
	}
	return "The change stream is being opened. Each request asks MongoDB."
}
