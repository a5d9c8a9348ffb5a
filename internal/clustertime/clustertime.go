// Package clustertime represents a position in a replica set's oplog without depending on a
// MongoDB driver, so that the cache can compare positions in plain Go.
package clustertime

import (
	"errors"
	"fmt"
	"strconv"
)

// Time is a MongoDB cluster time: seconds since 1970 in the upper 32 bits, the server's increment
// within that second in the lower 32. Times are ordered like integers. Zero means "unknown" and
// comes before every real time.
//
// Source: the BSON timestamp type of the BSON specification.
type Time uint64

// ErrRevisionAhead means that the deployment has not reached a revision yet, so no
// answer can have returned it: it is a mistake of the caller.
var ErrRevisionAhead = errors.New("the revision is ahead of the database: no answer of keytail can have returned it")

// New joins the two halves of a BSON timestamp.
func New(seconds, increment uint32) Time {
	return Time(uint64(seconds)<<32 | uint64(increment))
}

// Seconds is the whole-second part, in seconds since 1970.
func (t Time) Seconds() uint32 { return uint32(t >> 32) }

// Increment is the ordinal within the second.
func (t Time) Increment() uint32 { return uint32(t) }

// Before is the last time that is strictly earlier (one tick before), or zero for zero. One tick
// before an increment of zero is the highest increment of the previous second, which is how a
// server would compare it.
func (t Time) Before() Time {
	if t == 0 {
		return 0
	}
	return t - 1
}

// String is the wire form of a revision: 16 lower-case hex digits, which sort as text in the order
// of the times.
func (t Time) String() string { return fmt.Sprintf("%016x", uint64(t)) }

// Parse reads what String wrote. Anything but 16 hex digits is an error.
func Parse(text string) (Time, error) {
	if len(text) != 16 {
		return 0, fmt.Errorf("a revision has 16 hex digits, this one has %d characters", len(text))
	}
	value, err := strconv.ParseUint(text, 16, 64)
	if err != nil {
		return 0, fmt.Errorf("a revision has 16 hex digits: %w", err)
	}
	return Time(value), nil
}
