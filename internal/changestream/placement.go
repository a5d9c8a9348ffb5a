package changestream

import (
	"errors"
	"fmt"
	"time"

	"go.mongodb.org/mongo-driver/v2/mongo/readpref"
	"go.mongodb.org/mongo-driver/v2/x/mongo/driver/topology"

	"github.com/keytail/keytail/internal/mongoclient"
	"github.com/keytail/keytail/internal/timing"
)

const (
	// awayTime is how long the stream stays on the primary after a member was behind. A member
	// that is still behind then costs max_stale/3 of age, once in that time.
	awayTime = 10 * time.Minute
	// awayJitter spreads the return of a fleet that has left a member at the same time.
	awayJitter = 0.5
)

// errMovesBack ends a stream that has been on the primary for long enough. It is no failure.
var errMovesBack = errors.New("the change stream leaves the primary for the members that the read preference allows")

// errNoMember is why a stream cannot be opened where the primary is not what is missing.
var errNoMember = errors.New("no member that the read preference allows can be reached")

// placement decides on which member the stream is opened (DESIGN.md, "Which member serves the
// stream"). It belongs to the tail's goroutine.
type placement struct {
	// preference is the configured one. Nil: the primary.
	preference *readpref.ReadPref
	// awayUntil: until then the stream is on the primary, because it was on a member that was
	// behind. Zero: it is where preference allows.
	awayUntil time.Time
	// random is Config.Random.
	random func() float64
}

// current is the read preference with which the stream is to be opened.
func (p *placement) current() *readpref.ReadPref {
	if p.preference == nil || !p.awayUntil.IsZero() {
		return readpref.Primary()
	}
	return p.preference
}

// isMovable reports whether there is another place than where the stream is: the primary.
func (p *placement) isMovable() bool {
	return p.awayUntil.IsZero() && !mongoclient.IsPrimary(p.preference) && mongoclient.AllowsPrimary(p.preference)
}

// failed notes why a stream ended, and reports whether the next one is on another member for that
// reason: heartbeats are acknowledged and do not arrive, or no answer does. A connection that
// breaks is no such reason. The driver chooses the next member then, and all instances would move
// to the primary whenever a secondary restarts.
func (p *placement) failed(err error, now time.Time) bool {
	behind := errors.Is(err, errFreshnessMiss) || errors.Is(err, errWatchdog) || errors.Is(err, errCatchUpTooSlow)
	if !behind || !p.isMovable() {
		return false
	}
	p.awayUntil = now.Add(timing.JitterBy(p.random, awayTime, awayJitter))
	return true
}

// returns reports whether it is time to leave the primary, and notes that the stream does.
func (p *placement) returns(now time.Time) bool {
	if p.awayUntil.IsZero() || now.Before(p.awayUntil) {
		return false
	}
	p.awayUntil = time.Time{}
	return true
}

// explain adds errNoMember to the error of a stream for which the driver has found no member.
func (p *placement) explain(err error) error {
	var selection topology.ServerSelectionError
	if mongoclient.IsPrimary(p.current()) || !errors.As(err, &selection) {
		return err
	}
	return fmt.Errorf("%w (%s): %w", errNoMember, p.current(), err)
}
