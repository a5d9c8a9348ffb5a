package history

import (
	"bytes"
	"errors"
	"fmt"
	"math"
	"regexp"
	"slices"
	"strings"
	"time"
)

var (
	states  = []string{Valid, NotFound, Disabled, Expired, Forbidden, InsufficientPermissions, Unavailable}
	answers = append([]string{Missing, Malformed, Refused}, states...)
)

// check reports what a record lacks, or what contradicts itself in it.
func check(r Record) error {
	switch r := r.(type) {
	case *Header:
		return r.check()
	case *Write:
		return r.check()
	case *Answer:
		return r.check()
	case *Acknowledgement:
		return r.check()
	case *Fault:
		return first(named("name", r.Name), span(r.From, r.To))
	case *Outage:
		return span(r.From, r.To)
	case *Initial:
		return first(keyName(r.Key), initialStates("states", r.States))
	case *Clock:
		return r.check()
	}
	return fmt.Errorf("%T is no record", r)
}

func (h *Header) check() error {
	for name, ms := range map[string]*float64{"max_stale_ms": &h.MaxStaleMS, "clock_uncertainty_ms": &h.ClockUncertaintyMS, "resolution_ms": h.ResolutionMS} {
		if ms != nil && !(*ms >= 0 && *ms <= maxMS) {
			return fmt.Errorf("%s must be from 0 to %d", name, int64(maxMS))
		}
	}
	if h.Requests != "" && h.Requests != Same && h.Requests != Vary {
		return fmt.Errorf("requests must be %q (the default) or %q", Same, Vary)
	}
	if h.Initial == nil {
		return nil
	}
	return initialStates("initial", h.Initial)
}

func (w *Write) check() error {
	if err := first(keyName(w.Key), oneOf("state", w.State, states), moment("sent", w.Sent), optional("expires", w.Expires), revision("revision", w.Revision)); err != nil {
		return err
	}
	switch w.Outcome {
	case OK:
		if w.Acknowledged.IsZero() {
			return errors.New(`a write with the outcome "ok" needs the time at which it was acknowledged: the field acknowledged`)
		}
		return first(moment("acknowledged", w.Acknowledged), ordered("acknowledged", w.Acknowledged, "sent", w.Sent))
	case Unknown, Failed:
		if !w.Acknowledged.IsZero() {
			return fmt.Errorf("a write with the outcome %q has no acknowledged", w.Outcome)
		}
		return nil
	}
	return fmt.Errorf("outcome must be %q, %q (it certainly had no effect) or %q", OK, Failed, Unknown)
}

func (a *Answer) check() error {
	err := first(keyName(a.Key), oneOf("code", a.Code, answers), moment("asked", a.Asked), moment("given", a.Given),
		ordered("given", a.Given, "asked", a.Asked), optional("as_of", a.AsOf), revision("revision", a.Revision), revision("min_revision", a.MinRevision))
	if err == nil && a.StalenessMS != nil && !(*a.StalenessMS >= 0 && *a.StalenessMS <= maxMS) {
		return fmt.Errorf("staleness_ms must be from 0 to %d", int64(maxMS))
	}
	return err
}

func (a *Acknowledgement) check() error {
	switch {
	case a.Scope != Fleet && a.Scope != Instance:
		return fmt.Errorf("scope must be %q or %q", Fleet, Instance)
	case (a.Scope == Instance) != (a.Instance != ""):
		return fmt.Errorf("the scope %q and the field instance belong together: %q has none", Instance, Fleet)
	case a.Revision == "" && a.Covers.IsZero():
		return errors.New("an acknowledgement needs what it covers: revision, or covers (a time before which everything acknowledged is applied)")
	}
	if err := first(moment("at", a.At), optional("covers", a.Covers), revision("revision", a.Revision)); err != nil || a.Covers.IsZero() {
		return err
	}
	return ordered("at", a.At, "covers", a.Covers)
}

func (c *Clock) check() error {
	if c.OffsetMS != nil && !(math.Abs(*c.OffsetMS) <= maxMS) {
		return fmt.Errorf("offset_ms must be from -%d to %[1]d", int64(maxMS))
	}
	return moment("at", c.At)
}

// maxMS is a year.
const maxMS = 366 * 24 * 3600 * 1000

func first(errs ...error) error {
	for _, err := range errs {
		if err != nil {
			return err
		}
	}
	return nil
}

func named(field, value string) error {
	if value == "" {
		return fmt.Errorf("the field %s is missing or empty", field)
	}
	return nil
}

// likeKey is the form of keytail's own keys, within a text.
var likeKey = regexp.MustCompile(`(?:^|[^A-Za-z0-9])[A-Za-z0-9]{1,16}_[A-Za-z0-9]{49}(?:[^A-Za-z0-9]|$)`)

// hasKey reports whether the text of a key is in a text. It does not miss one, but for an
// unusual prefix.
func hasKey(text []byte) bool {
	return len(text) > 49 && bytes.IndexByte(text, '_') >= 0 && likeKey.Match(text)
}

// secret is about a field with the text of a key, and does not repeat it.
func secret(field string) error {
	return fmt.Errorf("the field %s has what looks like the text of an API key: record a name or a hash of it instead, and treat this file as a secret", field)
}

func keyName(key string) error {
	if hasKey([]byte(key)) {
		return secret("key")
	}
	return named("key", key)
}

func oneOf(field, value string, allowed []string) error {
	if slices.Contains(allowed, value) {
		return nil
	}
	return fmt.Errorf("%s must be one of %s", field, strings.Join(allowed, ", "))
}

func initialStates(field string, list []string) error {
	if len(list) == 1 && list[0] == AnyState {
		return nil
	}
	if len(list) == 0 {
		return fmt.Errorf("%s must have at least one state, or be [%q] for any", field, AnyState)
	}
	for _, state := range list {
		if err := oneOf(field, state, states); err != nil {
			return err
		}
	}
	return nil
}

// moment checks a time that must be given. Times are compared as nanoseconds since 1970.
func moment(field string, t time.Time) error {
	if t.IsZero() {
		return fmt.Errorf("the field %s is missing", field)
	}
	return optional(field, t)
}

func optional(field string, t time.Time) error {
	if !t.IsZero() && (t.Year() < 1970 || t.Year() > 2200) {
		return fmt.Errorf("%s must be between the years 1970 and 2200", field)
	}
	return nil
}

func ordered(later string, b time.Time, earlier string, a time.Time) error {
	if b.Before(a) {
		return fmt.Errorf("%s is before %s: take both from one clock that is never set back", later, earlier)
	}
	return nil
}

func span(from, to time.Time) error {
	if err := first(moment("from", from), optional("to", to)); err != nil || to.IsZero() {
		return err
	}
	return ordered("to", to, "from", from)
}

// revision checks the form of a revision: "" or 16 hexadecimal digits in lower case.
func revision(field, text string) error {
	if text == "" {
		return nil
	}
	if _, ok := ParseRevision(text); !ok {
		return fmt.Errorf("%s must be 16 hexadecimal digits in lower case, as keytail prints it", field)
	}
	return nil
}

// ParseRevision returns a revision as a number that orders like it. "" is zero.
func ParseRevision(text string) (value uint64, ok bool) {
	if text == "" {
		return 0, true
	}
	if len(text) != 16 {
		return 0, false
	}
	for i := range len(text) {
		digit := text[i]
		switch {
		case digit >= '0' && digit <= '9':
			digit -= '0'
		case digit >= 'a' && digit <= 'f':
			digit -= 'a' - 10
		default:
			return 0, false
		}
		value = value<<4 | uint64(digit)
	}
	return value, true
}

func roundToInt(f float64) int64 { return int64(math.Round(f)) }
