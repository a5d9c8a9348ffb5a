package playground

import (
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// maxChanges is how many changes of a key the page shows.
const maxChanges = 3

// action is what a person does with a key.
type action int

const (
	revoke action = iota
	restore
	remove
	// elsewhere: another program has changed the key, or a write that was given up.
	elsewhere
)

// change is one change of a key, and how long it took until it was noticed.
type change struct {
	action action
	// valid: the key is valid after it.
	valid bool
	// at is when MongoDB acknowledged it. Zero: it has not.
	at time.Time
	// ended is when the next change began. Zero: there is none.
	ended time.Time
	// notices maps a lane to how it noticed. That of laneMongoDB is not used.
	notices [laneCount]notice
}

// notice is when a lane first answered as the change wants.
type notice struct {
	// at is zero if it has not.
	at   time.Time
	code apikey.Code
	// already: it answered so before the change.
	already bool
}

// wants reports whether an answer is one that may be given after the change. UNAVAILABLE
// lets nobody in.
func (c *change) wants(code apikey.Code) bool { return (code == apikey.Valid) == c.valid }

// begin adds a change, which ends the one before.
func (k *key) begin(c *change, now time.Time) {
	if last := k.current(); last != nil {
		last.ended = now
	}
	for i := range k.lanes {
		if code, known := k.lanes[i].code(); known && code != apikey.Unavailable && c.wants(code) {
			c.notices[i] = notice{at: now, code: code, already: true}
		}
	}
	k.changes = append(k.changes, c)
	if len(k.changes) > maxChanges {
		k.changes = k.changes[1:]
	}
}

// acknowledge notes that MongoDB has acknowledged a change. Who answers UNAVAILABLE then lets
// nobody in; what it answered before that means nothing, because it may come back first.
func (k *key) acknowledge(c *change, now time.Time) {
	c.at = now
	for i := range k.lanes {
		if code, known := k.lanes[i].code(); known && c.notices[i].at.IsZero() && c.wants(code) {
			c.notices[i] = notice{at: now, code: code, already: true}
		}
	}
}

// undo removes a change that MongoDB did not acknowledge.
func (k *key) undo(c *change) {
	if k.current() != c {
		return
	}
	k.changes = k.changes[:len(k.changes)-1]
	if last := k.current(); last != nil {
		last.ended = time.Time{}
	}
}

// see notes that a lane has answered. It returns whether it has noticed the last change by
// this answer.
func (k *key) see(which int, at time.Time, answer Answer) bool {
	k.lanes[which].see(at, answer)
	c := k.current()
	if c == nil || !c.notices[which].at.IsZero() || !c.wants(answer.Code) || c.at.IsZero() && answer.Code == apikey.Unavailable {
		return false
	}
	c.notices[which] = notice{at: at, code: answer.Code}
	return true
}

// delay is from the acknowledgement to the notice. Zero: it was noticed before the
// acknowledgement arrived.
func (c *change) delay(which int) time.Duration { return max(0, c.notices[which].at.Sub(c.at)) }
