package keystore

import (
	"fmt"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// earliestPlausible and latestPlausible limit the dates that are no reason for a
// warning. Seconds that are read as milliseconds are in 1970, milliseconds that
// are read as seconds are in the year 50000.
var (
	earliestPlausible = time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC)
	latestPlausible   = time.Date(2201, 1, 1, 0, 0, 0, 0, time.UTC)
)

// SurveyDates describes the dates in the field of one role.
type SurveyDates struct {
	// Role is in words ("the expiry").
	Role, Field string
	// Form is how the dates are read.
	Form ExpiresForm
	// Present is how many documents have a value that is not null. Early are
	// those whose date is before the year 2000, Late those after 2200, and
	// Unreadable those whose value is not a date in this form. The others are
	// plausible.
	Present                 int
	Early, Late, Unreadable SurveyGroup
	// Plausible is how many of the values are plausible dates in each form.
	Plausible map[ExpiresForm]int

	decides bool
}

// dateFields returns the roles with dates that have a field.
func (s Schema) dateFields() []*SurveyDates {
	fields := []*SurveyDates{
		{Role: roleExpiry, Field: s.ExpiresAt, Form: s.ExpiresForm.orDefault(), decides: true},
		{Role: "the creation time", Field: s.CreatedAt, Form: ExpiresDate},
		{Role: "the last use", Field: s.LastUsed, Form: ExpiresDate},
	}
	if s.ActiveForm == ActiveNoDate {
		fields = append(fields, &SurveyDates{Role: "the time of revocation", Field: s.Active, Form: ExpiresDate})
	}
	var named []*SurveyDates
	for _, f := range fields {
		if f.Field != "" {
			f.Plausible = map[ExpiresForm]int{}
			named = append(named, f)
		}
	}
	return named
}

// see counts the value of one document.
func (d *SurveyDates) see(v bson.RawValue, id string) {
	if missing(v) {
		return
	}
	d.Present++
	for _, form := range ExpiresForms() {
		if at, problem := form.read(v); problem == "" && IsPlausibleDate(at) {
			d.Plausible[form]++
		}
	}
	switch at, problem := d.Form.read(v); {
	case problem != "":
		d.Unreadable.add(id)
	case isEarly(at):
		d.Early.add(id)
	case isLate(at):
		d.Late.add(id)
	}
}

// IsPlausibleDate reports whether a date is one that somebody may have written on
// purpose: it is neither before the year 2000 nor after 2200.
func IsPlausibleDate(at time.Time) bool { return !isEarly(at) && !isLate(at) }

func isEarly(at time.Time) bool { return at.Before(earliestPlausible) }
func isLate(at time.Time) bool  { return !at.Before(latestPlausible) }

// better returns the form in which most of the values are plausible, if none is
// in the form in use. Empty: there is no such form. Values that are not
// plausible in any form (0 and -1, for "never") must be fewer than the others.
func (d *SurveyDates) better() ExpiresForm {
	if d.Plausible[d.Form] > 0 {
		return ""
	}
	for _, form := range ExpiresForms() {
		if 2*d.Plausible[form] > d.Present {
			return form
		}
	}
	return ""
}

// wrongFormFrom is the part of the documents, one in so many, that must have an
// expiry in another form before a start is refused: a single wrong document in a
// large collection must not do that.
const wrongFormFrom = 10

// datesError is for an expiry in another form than the declared one. It is not
// for other roles: they have one form.
func (s *Survey) datesError() error {
	for _, d := range s.Dates {
		better := d.better()
		if !d.decides || better == "" || d.Present*wrongFormFrom < s.Documents {
			continue
		}
		return explained(ErrUnusable, "none of the %d values of %s (%s) in the %s is a plausible date as --map-expires-form=%s (%s), and %d are as %s: set --map-expires-form=%s, or correct these documents",
			d.Present, d.Field, d.Role, s.sampleText(), d.Form, d.counts(), d.Plausible[better], better, better)
	}
	return nil
}

// counts says how the dates are implausible, with ids.
func (d *SurveyDates) counts() string {
	var parts []string
	for _, group := range []struct {
		what string
		SurveyGroup
	}{{"before the year 2000", d.Early}, {"after the year 2200", d.Late}, {"unreadable", d.Unreadable}} {
		if group.Count > 0 {
			parts = append(parts, group.what+" in "+group.countAndIDs())
		}
	}
	return strings.Join(parts, "; ")
}

// dateWarnings returns a sentence for each role and kind of implausible dates.
func (s *Survey) dateWarnings() []string {
	var warnings []string
	for _, d := range s.Dates {
		for _, kind := range []struct {
			what, advice string
			SurveyGroup
		}{
			{"is before the year 2000", d.earlyAdvice(), d.Early},
			{"is after the year 2200", d.lateAdvice(), d.Late},
			{"cannot be read as " + string(d.Form), d.otherForm(), d.Unreadable},
		} {
			if kind.Count > 0 && kind.advice != "" {
				warnings = append(warnings, fmt.Sprintf("%s in %s %s in %d of the %s (%s): %s",
					d.Role, d.Field, kind.what, kind.Count, s.sampleText(), kind.ids(), kind.advice))
			}
		}
	}
	return warnings
}

func (d *SurveyDates) earlyAdvice() string {
	if !d.decides {
		return "probably seconds were stored where milliseconds belong; no verdict depends on it"
	}
	if other := d.otherForm(); d.Form == ExpiresUnixMilli && other != "" {
		return "these keys are EXPIRED; " + other
	}
	return "these keys are EXPIRED; 0 is a time in 1970 and not \"never\", for which you leave the field out or set it to null, and seconds that a program stored as milliseconds are in 1970, too"
}

func (d *SurveyDates) lateAdvice() string {
	if !d.decides {
		return "probably the unit is wrong; no verdict depends on it"
	}
	return "these keys practically never expire; if that is what the date means, nothing is wrong"
}

// otherForm names the form in which other values than those of the form in use
// are plausible. Empty: there is none. No value is plausible in two forms.
func (d *SurveyDates) otherForm() string {
	if !d.decides {
		return ""
	}
	for _, form := range ExpiresForms() {
		if n := d.Plausible[form]; form != d.Form && n > 0 {
			return fmt.Sprintf("%d of the %d values are plausible as --map-expires-form=%s, and %d as %s, but all documents must have one form",
				n, d.Present, form, d.Plausible[d.Form], d.Form)
		}
	}
	return ""
}
