package api

import "time"

// Time is a point in time as JSON has it: RFC 3339 in UTC, with as many digits
// of the second as needed.
type Time struct{ time.Time }

// The first and the last instant that RFC 3339 can write. MongoDB's dates reach
// far past both.
var (
	firstInstant = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
	lastInstant  = time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC)
)

// String is t, or the nearest instant that RFC 3339 can write.
func (t Time) String() string {
	at := t.UTC()
	if at.Before(firstInstant) {
		at = firstInstant
	}
	if at.After(lastInstant) {
		at = lastInstant
	}
	return at.Format(time.RFC3339Nano)
}

// MarshalJSON writes String in quotes.
func (t Time) MarshalJSON() ([]byte, error) { return []byte(`"` + t.String() + `"`), nil }

// TimeOrNil is nil, which is null in JSON, for the zero time.
func TimeOrNil(at time.Time) *Time {
	if at.IsZero() {
		return nil
	}
	return &Time{at}
}

// Timestamp is a point in time as JSON has it: RFC 3339 in UTC, with exactly
// three digits of the second. It is truncated and not rounded, because as_of must
// not be later than the data.
type Timestamp struct{ time.Time }

// String is t with three digits of the second.
func (t Timestamp) String() string { return t.UTC().Format("2006-01-02T15:04:05.000Z07:00") }

// MarshalJSON writes String in quotes.
func (t Timestamp) MarshalJSON() ([]byte, error) { return []byte(`"` + t.String() + `"`), nil }
