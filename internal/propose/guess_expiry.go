package propose

import (
	"fmt"

	"github.com/keytail/keytail/internal/keystore"
)

// timeForms are the forms of an expiry, with what a value in that form shows.
var timeForms = map[keystore.ExpiresForm]trait{
	keystore.ExpiresDate: isTime, keystore.ExpiresUnix: isSeconds, keystore.ExpiresUnixMilli: isMillis,
}

// expiry proposes the time at which keys expire. A field that keytail cannot read
// is proposed nevertheless: to leave it out would make expired keys valid.
func (g *guesser) expiry() Role {
	r := Role{Name: "the expiry", Key: "map_expires_at"}
	all := g.candidates(expiryNames, func(v *value) bool { return v.is(isTime | isSeconds | isMillis) })
	best, others, ok := choose(all)
	r.Status = Found
	if !ok {
		absent := g.unreadableOrAbsent(r, all, "a date, or seconds or milliseconds since 1970", "no key expires")
		if best, others, ok = choose(g.future()); !ok || absent.Status != Absent {
			return absent
		}
		r.Status = Undecided
		r.Seen = []string{"no field is named like it, but " + best.field + " has times to come " + g.inDocuments(best.fits) + ": is it the expiry? With an empty name, no key expires"}
	}
	g.take(&r, best.field)
	form, n := majority(g.sample, best.field, keystore.ExpiresForms(), func(v *value, f keystore.ExpiresForm) bool { return v.is(timeForms[f]) })
	if form != keystore.ExpiresDate {
		r.Forms = []Setting{{"map_expires_form", string(form)}}
	}
	r.Seen = append(r.Seen, plausible(form)+" "+g.inDocuments(n))
	g.otherTimes(&r, form, best.present.sum()-n.sum())
	r.Seen = append(r.Seen, g.alternatives(others)...)
	return r
}

// future are the fields of any name with times to come: an expiry has them, and a time of creation or
// of use has not, whatever a wrong clock wrote. Among numbers only those count that are times in every document.
func (g *guesser) future() []candidate {
	var all []candidate
	for _, field := range g.fields {
		if g.taken[field] || isForeign(plainName(field)) || createdNames.rank(field) != noMatch || lastUsedNames.rank(field) != noMatch {
			continue
		}
		present := g.count(field, (*value).present)
		isTimeAlways := g.count(field, func(v *value) bool { return v.is(isTime | isSeconds | isMillis) }) == present
		fits := g.count(field, func(v *value) bool { return v.is(isFuture) && (isTimeAlways || v.is(isTime)) })
		all = append(all, candidate{field: field, fits: fits, present: present})
	}
	return all
}

var expiryText = map[keystore.ExpiresForm]string{
	keystore.ExpiresDate: "a date", keystore.ExpiresUnix: "seconds since 1970", keystore.ExpiresUnixMilli: "milliseconds since 1970",
}

// plausible describes the values that fit a form: a date is one, however far it is.
func plausible(form keystore.ExpiresForm) string {
	if form == keystore.ExpiresDate {
		return expiryText[form]
	}
	return expiryText[form] + " between the years 2000 and 2200"
}

// otherTimes tells of values that are none of this form.
func (g *guesser) otherTimes(r *Role, form keystore.ExpiresForm, others int) {
	if others == 0 {
		return
	}
	if zeros := g.count(r.Field, func(v *value) bool { return v.is(isZero) }).sum(); zeros > 0 {
		r.Seen = append(r.Seen, "0 in "+documents(zeros))
		g.warn("%s is 0 in %s: keytail reads 0 as 1970, so these keys would be EXPIRED; remove the field, or set null, for keys that never expire", r.Field, documents(zeros))
		others -= zeros
	}
	if others <= 0 {
		return
	}
	r.Seen = append(r.Seen, fmt.Sprintf("another time, or something else, in %s; the field is %s", documents(others), g.types(r.Field)))
	g.warn("%s does not hold %s in %s: such keys would be EXPIRED or DISABLED, or expire at another time than you expect", r.Field, plausible(form), documents(others))
}
