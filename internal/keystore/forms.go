package keystore

import (
	"fmt"
	"math"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

// ActiveForm is how a document switches its key on and off.
type ActiveForm string

// The forms of the switch. A boolean is required, because the key is on only if
// the field's value is true. In the forms that mark a key as off, a key without
// the mark (absent or null) is on: programs write such a field when they turn a
// key off, and query it with {disabled: {$ne: true}}. A value of any other type
// is a defect.
const (
	// ActiveBoolean: true is on, false is off. Absent and null are defects.
	ActiveBoolean ActiveForm = "boolean"
	// ActiveNegated: true is off; false, absent and null are on.
	ActiveNegated ActiveForm = "negated"
	// ActiveNoDate: a date is off, even one in the future; absent and null are
	// on.
	ActiveNoDate ActiveForm = "no-date"
	// ActiveAlways: there is no switch. A key ends when its document is deleted
	// or expires.
	ActiveAlways ActiveForm = "always"
)

// ActiveForms returns all forms. The first is the default.
func ActiveForms() []ActiveForm {
	return []ActiveForm{ActiveBoolean, ActiveNegated, ActiveNoDate, ActiveAlways}
}

// orDefault returns the form that the zero value means.
func (f ActiveForm) orDefault() ActiveForm {
	if f == "" {
		return ActiveBoolean
	}
	return f
}

// required reports whether the document must have the field.
func (f ActiveForm) required() bool { return f.orDefault() == ActiveBoolean }

func (f ActiveForm) read(v bson.RawValue) (bool, string) {
	switch {
	case f.required():
		return readBoolean(v)
	case v.Type == bson.TypeNull:
		return true, ""
	case f == ActiveNoDate:
		if _, ok := v.DateTimeOK(); !ok {
			return false, wrongType(v, "a date")
		}
		return false, ""
	}
	off, problem := readBoolean(v)
	return !off && problem == "", problem
}

// ScopesForm is how a document stores its list of scopes.
type ScopesForm string

// The forms of the scopes.
const (
	ScopesArray ScopesForm = "array"
	// ScopesText is a string of scopes that are separated by spaces, as in
	// OAuth's scope parameter (RFC 6749, section 3.3). An empty string contains
	// no scope. Other white space is a defect.
	ScopesText ScopesForm = "text"
)

// ScopesForms returns all forms. The first is the default.
func ScopesForms() []ScopesForm { return []ScopesForm{ScopesArray, ScopesText} }

func (f ScopesForm) read(m *memory, v bson.RawValue) ([]string, string) {
	if f != ScopesText {
		return readScopes(m, v)
	}
	text, ok := textBytes(v)
	if !ok {
		return nil, wrongType(v, "a string")
	}
	scopes := []string{}
	for scope := range strings.SplitSeq(m.text(text), " ") {
		if scope == "" {
			continue
		}
		if err := apikey.ValidScope(scope); err != nil {
			return nil, fmt.Sprintf("word %d cannot be read: %v", len(scopes), err)
		}
		scopes = append(scopes, scope)
	}
	return slices.Clip(scopes), ""
}

// ExpiresForm is how a document stores the time at which its key expires.
type ExpiresForm string

// The forms of the expiry. One of the two number forms is declared and keytail
// never guesses: the same number is a time in 1970 in one form and in the year
// 50000 in the other.
const (
	ExpiresDate ExpiresForm = "date"
	// ExpiresUnix is whole seconds, and ExpiresUnixMilli whole milliseconds,
	// since 1970: an int32, an int64 or a double. A time outside the years 1 to
	// 9999 is a defect; milliseconds that are read as seconds are outside.
	ExpiresUnix      ExpiresForm = "unix"
	ExpiresUnixMilli ExpiresForm = "unix-ms"
)

// ExpiresForms returns all forms. The first is the default.
func ExpiresForms() []ExpiresForm {
	return []ExpiresForm{ExpiresDate, ExpiresUnix, ExpiresUnixMilli}
}

// orDefault returns the form that the zero value means.
func (f ExpiresForm) orDefault() ExpiresForm {
	if f == "" {
		return ExpiresDate
	}
	return f
}

func (f ExpiresForm) read(v bson.RawValue) (time.Time, string) {
	switch f {
	case ExpiresUnix:
		return readUnix(v, "seconds", time.Time.Unix, func(n int64) time.Time { return time.Unix(n, 0) })
	case ExpiresUnixMilli:
		return readUnix(v, "milliseconds", time.Time.UnixMilli, time.UnixMilli)
	case ExpiresDate:
	}
	return readExpiry(v)
}

// stored returns the value of a time, rounded down to the unit of the form: a key
// never lives longer than requested.
func (f ExpiresForm) stored(at time.Time) any {
	switch f {
	case ExpiresUnix:
		return at.Unix()
	case ExpiresUnixMilli:
		return at.UnixMilli()
	case ExpiresDate:
	}
	return bson.NewDateTimeFromTime(at)
}

// readUnix reads a number of units since 1970. count converts a time into such
// a number, and at converts it back.
func readUnix(v bson.RawValue, units string, count func(time.Time) int64, at func(int64) time.Time) (time.Time, string) {
	n, problem := wholeNumber(v)
	switch {
	case problem != "":
		return time.Time{}, problem
	case n > count(latestExpiry):
		return time.Time{}, "is past the year 9999, read as " + units
	case n <= count(time.Time{}):
		return time.Time{}, "is before the year 1, read as " + units
	}
	return at(n).UTC(), ""
}

func wholeNumber(v bson.RawValue) (int64, string) {
	switch v.Type {
	case bson.TypeInt32, bson.TypeInt64:
		if n, ok := v.AsInt64OK(); ok {
			return n, ""
		}
	case bson.TypeDouble:
		if f, ok := v.DoubleOK(); ok {
			if f != math.Trunc(f) || f < -twoTo63 || f >= twoTo63 {
				return 0, "is a double that is not a whole number"
			}
			return int64(f), ""
		}
	}
	return 0, wrongType(v, "a whole number")
}

// valid returns an error, which lists all forms, if a form is not one of them.
// The zero value is the first form.
func valid[T ~string](flag string, form T, all []T) error {
	if form == "" || slices.Contains(all, form) {
		return nil
	}
	names := make([]string, len(all))
	for i, name := range all {
		names[i] = string(name)
	}
	return fmt.Errorf("--%s must be one of %s, not %q", flag, strings.Join(names, ", "), form)
}
