package propose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/keystore"
)

// toggle is a field that could switch keys on and off.
type toggle struct {
	field string
	form  keystore.ActiveForm
	// fits are the documents in which the value has the form's type.
	fits share
	// off is whether a value switches the key off.
	off func(*value) bool
}

func isBoolean(v *value) bool { return v.kind == bson.TypeBoolean }

func isDate(v *value) bool { return v.kind == bson.TypeDateTime }

// active proposes the switch. A field that is named like one and has another type
// is proposed nevertheless: to leave it out would make every key that is off valid.
func (g *guesser) active() Role {
	r := Role{Name: "the switch", Key: "map_active", Status: Found}
	toggles, unusable := g.toggles()
	switch {
	case len(toggles) > 0:
		g.toggle(&r, toggles, unusable)
	case len(unusable) > 0:
		r.Status = Unreadable
		g.take(&r, unusable[0])
		if keystore.NameMeansOff(r.Field) {
			r.Forms = []Setting{{"map_active_form", string(keystore.ActiveNegated)}}
		}
		r.Seen = []string{
			fmt.Sprintf("%s is %s: keytail reads a boolean or a date, so all keys would be DISABLED with this line", r.Field, g.types(r.Field)),
			"add a boolean to each document, and let the code that switches keys off write it, too",
		}
	default:
		r.Forms = []Setting{{"map_active_form", string(keystore.ActiveAlways)}}
		r.Seen = []string{
			"no field is named like a switch (active, revoked, disabledAt, …), so a key ends when its document is deleted or expires",
			"if your code writes such a field when it revokes a key, name it here: then documents without it are keys that are on",
		}
	}
	return r
}

// toggle chooses one of the fields and tells of the others.
func (g *guesser) toggle(r *Role, toggles []toggle, unusable []string) {
	best := toggles[0]
	g.take(r, best.field)
	if best.form != keystore.ActiveBoolean {
		r.Forms = []Setting{{"map_active_form", string(best.form)}}
	}
	off := g.count(best.field, best.off)
	r.Seen = append(r.Seen, g.toggleText(best)+"; "+g.offIn(off))
	if best.form == keystore.ActiveBoolean && best.fits.sum() < g.size().sum() {
		g.warn("%s is missing or no boolean in %s: these keys would be DISABLED", best.field, documents(g.size().sum()-best.fits.sum()))
	}
	for _, other := range toggles[1:] {
		g.taken[other.field] = true
		g.contradiction(r, best, other)
	}
	for _, field := range unusable {
		r.Seen = append(r.Seen, fmt.Sprintf("%s also looks like a switch, but is %s, which keytail does not read", field, g.types(field)))
		g.warn("%s looks like a switch that keytail does not read: a key that only it switches off would be VALID; let the code that writes it write %s, too", field, best.field)
	}
}

// offIn says how many keys are off.
func (g *guesser) offIn(off share) string {
	if off.sum() == 0 && g.size().sum() == 1 {
		return "on in it"
	}
	return "off " + g.inDocuments(off)
}

func (g *guesser) toggleText(t toggle) string {
	switch t.form {
	case keystore.ActiveNegated:
		return "true means off; a boolean " + g.inDocuments(t.fits)
	case keystore.ActiveNoDate:
		return "a date means off; a date " + g.inDocuments(t.fits)
	case keystore.ActiveBoolean, keystore.ActiveAlways:
	}
	return "true means on; a boolean " + g.inDocuments(t.fits)
}

// contradiction tells of keys that another field switches off.
func (g *guesser) contradiction(r *Role, best, other toggle) {
	n := g.countDocuments(func(d document) bool {
		mine, theirs := d[best.field], d[other.field]
		return other.off(&theirs) && !best.off(&mine) && (best.form != keystore.ActiveBoolean || mine.is(isTrue))
	})
	if n.sum() == 0 {
		r.Seen = append(r.Seen, fmt.Sprintf("%s also looks like a switch: no document read is off by it and on by %s", other.field, best.field))
		return
	}
	r.Status = Undecided
	are, they := "are", "they"
	if n.sum() == 1 {
		are, they = "is", "it"
	}
	r.Seen = append(r.Seen, fmt.Sprintf("%s %s off by %s and on by %s %s: keytail reads one field, so %s would be VALID; let the code that writes %s write %s, too",
		documents(n.sum()), are, other.field, best.field, g.parts(n), they, other.field, best.field))
}

// toggles are the fields that are named like a switch, the best first, and those
// of them whose type keytail cannot read.
func (g *guesser) toggles() (usable []toggle, unusable []string) {
	for _, field := range g.fields {
		if g.taken[field] || isForeign(plainName(field)) {
			continue
		}
		t, named := g.toggleOf(field)
		switch {
		case t.form != "":
			usable = append(usable, t)
		case named && g.count(field, isScalar).sum() > 0:
			unusable = append(unusable, field)
		}
	}
	slices.SortStableFunc(usable, func(a, b toggle) int {
		return cmp.Or(cmp.Compare(g.class(a), g.class(b)), cmp.Compare(b.fits.newer, a.fits.newer), cmp.Compare(len(a.field), len(b.field)))
	})
	return usable, unusable
}

// toggleOf returns the form in which a field is a switch, empty if it is none.
// named: its name says that it is one.
func (g *guesser) toggleOf(field string) (t toggle, named bool) {
	booleans, dates := g.count(field, isBoolean), g.count(field, isDate)
	switch {
	case keystore.NameMeansOn(field):
		if booleans.sum() > 0 {
			return toggle{field, keystore.ActiveBoolean, booleans, func(v *value) bool { return v.kind == bson.TypeBoolean && !v.is(isTrue) }}, true
		}
		return toggle{}, dates.sum() == 0
	case keystore.NameMeansOff(field):
		if dates.newer > booleans.newer || booleans.sum() == 0 && (dates.sum() > 0 || g.onlyNull(field) && namesTime(field)) {
			return toggle{field, keystore.ActiveNoDate, dates, isDate}, true
		}
		if booleans.sum() > 0 || g.onlyNull(field) {
			return toggle{field, keystore.ActiveNegated, booleans, func(v *value) bool { return v.is(isTrue) }}, true
		}
		return toggle{}, true
	}
	return toggle{}, statusNames.exact(field) != noMatch
}

// class orders switches: a boolean that (nearly) all of the newest documents have,
// a boolean or a date that marks a key as off, and the rest.
func (g *guesser) class(t toggle) int {
	const most = 0.9
	switch {
	case t.form == keystore.ActiveNegated:
		return 1
	case t.form == keystore.ActiveNoDate:
		return 2
	case float64(t.fits.newer) >= most*float64(g.size().newer):
		return 0
	}
	return 3
}

func isScalar(v *value) bool {
	return v.present() && v.kind != bson.TypeArray && v.kind != bson.TypeEmbeddedDocument
}

// onlyNull reports whether documents have the field, and all of them null.
func (g *guesser) onlyNull(field string) bool {
	return g.count(field, (*value).present).sum() == 0 && g.count(field, func(v *value) bool { return v.kind == bson.TypeNull }).sum() > 0
}

// namesTime reports whether a name is that of a time: revokedAt, disabled_on.
func namesTime(field string) bool {
	plain := plainName(field)
	return slices.ContainsFunc([]string{"at", "on", "date", "time"}, func(end string) bool { return strings.HasSuffix(plain, end) })
}

// types describes which types the values of a field have.
func (g *guesser) types(field string) string {
	counts := map[bson.Type]int{}
	for _, d := range g.documents {
		if v := d[field]; v.present() {
			counts[v.kind]++
		}
	}
	var kinds []bson.Type
	for kind := range counts {
		kinds = append(kinds, kind)
	}
	slices.SortFunc(kinds, func(a, b bson.Type) int { return cmp.Or(cmp.Compare(counts[b], counts[a]), cmp.Compare(a, b)) })
	var parts []string
	for _, kind := range kinds {
		parts = append(parts, fmt.Sprintf("%s in %d", kind, counts[kind]))
	}
	return "of type " + strings.Join(parts, ", ") + " of the documents read"
}
