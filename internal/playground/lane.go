package playground

import (
	"time"

	"github.com/keytail/keytail/internal/apikey"
)

// lanes of a key.
const (
	// laneMongoDB is what the database holds.
	laneMongoDB = iota
	laneKeytail
	laneTTL
	laneCount
)

// Answer is what a lane says about a key.
type Answer struct {
	Code apikey.Code
	// Age is how old the data of the answer are. It means nothing for Unavailable.
	Age time.Duration
	// Asked: MongoDB was read for this answer.
	Asked bool
}

// segment is a time with one answer. It ends where the next one begins.
type segment struct {
	from time.Time
	code apikey.Code
}

// lane is what was answered about a key.
type lane struct {
	// segments are in the order of time.
	segments []segment
	last     Answer
	// reads is how often MongoDB was read.
	reads int
	// busy: a question is on its way. There is one at a time, so that answers are seen in
	// the order in which they were given.
	busy bool
}

// see adds an answer, and reports whether it differs from the one before.
func (l *lane) see(at time.Time, answer Answer) bool {
	if answer.Asked {
		l.reads++
	}
	l.last = answer
	if n := len(l.segments); n > 0 && l.segments[n-1].code == answer.Code {
		return false
	}
	l.segments = append(l.segments, segment{at, answer.Code})
	if len(l.segments) > maxSpans {
		l.segments = l.segments[1:]
	}
	return true
}

// forget removes segments that ended before a time.
func (l *lane) forget(before time.Time) {
	for len(l.segments) > 1 && !l.segments[1].from.After(before) {
		l.segments = l.segments[1:]
	}
}

// code is the last answer. False: there is none yet.
func (l *lane) code() (apikey.Code, bool) { return l.last.Code, len(l.segments) > 0 }

// key is a key on the page. The mutex of the Playground guards it.
type key struct {
	// number is from 1 to MaxKeys, and free again when the key leaves the page.
	number           int
	id, text, prefix string
	made             time.Time
	lanes            [laneCount]lane
	// changes are the last ones, the newest last.
	changes []*change
	// writing: a write waits for MongoDB.
	writing bool
	// writes is how many have ended. A read that began before one ended may be older.
	writes int
}

// name is that of the key for people.
func (k *key) name() string { return "Key " + string(rune('A'+k.number-1)) }

// current is the last change. Nil: there was none.
func (k *key) current() *change {
	if len(k.changes) == 0 {
		return nil
	}
	return k.changes[len(k.changes)-1]
}
