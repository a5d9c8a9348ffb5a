package propose

import (
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/keystore"
)

// unreadableOrAbsent is for a role whose absence makes keys valid for more.
func (g *guesser) unreadableOrAbsent(r Role, all []candidate, need, consequence string) Role {
	for _, c := range all {
		if !c.exact {
			continue
		}
		g.take(&r, c.field)
		if c.present.sum() == 0 {
			r.Status = Found
			r.Seen = []string{"null in all documents read that have it, so its form could not be seen"}
			return r
		}
		r.Status = Unreadable
		r.Seen = []string{fmt.Sprintf("it is %s: keytail reads %s, so these keys would be DISABLED with this line; with an empty name, %s", g.types(c.field), need, consequence)}
		return r
	}
	r.Status = Absent
	r.Seen = []string{"so " + consequence}
	return r
}

func isID(v *value) bool { return v.id != "" }

// user proposes the owner of the key.
func (g *guesser) user() Role {
	r := Role{Name: "the user", Key: "map_user_id"}
	all := g.candidates(userNames, isID)
	best, others, ok := choose(all)
	if !ok {
		r.Status = Missing
		r.Seen = []string{"no field is named like the id of a user or an owner: name the field that says for whom a key acts"}
		for _, c := range all {
			if c.present.sum() > 0 {
				r.Seen = append(r.Seen, fmt.Sprintf("%s is %s: keytail reads a string, ObjectId, UUID or integer", c.field, g.types(c.field)))
			}
		}
		return r
	}
	g.owner(&r, best)
	r.Seen = append(r.Seen, g.alternatives(others)...)
	return r
}

// owner takes the field for the user. Every document needs one.
func (g *guesser) owner(r *Role, c candidate) {
	r.Status = Found
	g.takeID(r, c)
	if missing := g.size().sum() - c.fits.sum(); missing > 0 {
		g.warn("%s is missing or no id in %s: these keys would be DISABLED, because each key needs a user", c.field, documents(missing))
	}
}

// caller is the user of a collection whose keys have no owner: what names the
// caller, even if that is the key's name.
func (g *guesser) caller(missing Role, name *Role) Role {
	free := *name
	delete(g.taken, name.Field)
	best, _, ok := choose(g.candidates(callerNames, isID))
	if !ok {
		g.taken[free.Field] = true
		return missing
	}
	r := Role{Name: missing.Name, Key: missing.Key}
	g.owner(&r, best)
	r.Seen = append(r.Seen, "no field is named like the id of a user or an owner, and keytail needs one: this is the nearest")
	g.warn("no field is named like the id of a user: %s was taken, so that it is what your API sees as the user of a request", best.field)
	if best.field == free.Field {
		*name = Role{Name: free.Name, Key: free.Key, Status: Absent, Seen: []string{"its field is used for the user"}}
	} else {
		g.taken[free.Field] = true
	}
	return r
}

// id proposes the field of an organisation or a project.
func (g *guesser) id(what, key string, list names) Role {
	r := Role{Name: what, Key: key}
	all := g.candidates(list, isID)
	best, others, ok := choose(all)
	if !ok {
		r.Status = Absent
		r.Seen = []string{"so no key is bound to one"}
		for _, c := range all {
			g.warn("%s looks like %s, but is %s, which is no id: keytail would not bind keys to it", c.field, what, g.types(c.field))
		}
		return r
	}
	r.Status = Found
	g.takeID(&r, best)
	r.Seen = append(r.Seen, "a key that has one is bound to it")
	r.Seen = append(r.Seen, g.alternatives(others)...)
	return r
}

// takeID takes a field that holds ids, and says of which types they are.
func (g *guesser) takeID(r *Role, c candidate) {
	g.take(r, c.field)
	form, n := majority(g.sample, c.field, keystore.IDForms(), func(v *value, f keystore.IDForm) bool { return v.id == f })
	if form != keystore.IDString {
		r.Forms = []Setting{{r.Key + "_form", string(form)}}
	}
	r.Seen = append(r.Seen, fmt.Sprintf("%s %s", idText[form], g.inDocuments(n)))
	if n != c.fits {
		r.Seen = append(r.Seen, fmt.Sprintf("it is %s: keytail reads all of these, and writes %s", g.types(c.field), idText[form]))
	}
}

var idText = map[keystore.IDForm]string{
	keystore.IDString: "a string", keystore.IDObjectID: "an ObjectId", keystore.IDUUID: "a UUID", keystore.IDInteger: "an integer",
}

func (g *guesser) scopes() Role {
	r := Role{Name: "the scopes", Key: "map_scopes"}
	all := g.candidates(scopeNames, func(v *value) bool { return v.is(isScopeList | isScopeText) })
	best, others, ok := choose(all)
	if !ok {
		r.Status = Absent
		r.Seen = []string{"so each key has the scopes of --default-scopes, which are none"}
		for _, c := range all {
			r.Seen = append(r.Seen, fmt.Sprintf("%s is %s, with elements or words that are no scopes", c.field, g.types(c.field)))
		}
		return r
	}
	r.Status = Found
	g.take(&r, best.field)
	lists, texts := g.count(best.field, func(v *value) bool { return v.is(isScopeList) }), g.count(best.field, func(v *value) bool { return v.is(isScopeText) })
	n := lists
	r.Seen = append(r.Seen, fmt.Sprintf("an array of strings %s", g.inDocuments(lists)))
	if texts.newer > lists.newer || lists.sum() == 0 {
		n = texts
		r.Forms = []Setting{{"map_scopes_form", string(keystore.ScopesText)}}
		r.Seen[0] = fmt.Sprintf("words with spaces between them %s", g.inDocuments(texts))
	}
	if broken := best.present.sum() - n.sum(); broken > 0 {
		g.warn("%s cannot be read in %s (it is %s): these keys would be DISABLED", best.field, documents(broken), g.types(best.field))
	}
	r.Seen = append(r.Seen, g.alternatives(others)...)
	return r
}

func (g *guesser) networks() Role {
	r := Role{Name: "the allowed IPs", Key: "map_allowed_ips"}
	all := g.candidates(networkNames, func(v *value) bool { return v.is(isNetworks) })
	best, _, ok := choose(all)
	if !ok {
		return g.unreadableOrAbsent(r, all, "an array of addresses and networks", "each key is valid from any address")
	}
	r.Status = Found
	g.take(&r, best.field)
	r.Seen = []string{fmt.Sprintf("an array of addresses and networks %s", g.inDocuments(best.fits))}
	if broken := best.present.sum() - best.fits.sum(); broken > 0 {
		g.warn("%s cannot be read in %s: these keys would be DISABLED", best.field, documents(broken))
	}
	return r
}

// simple proposes a role that decides nothing: at worst it is left out.
func (g *guesser) simple(what, key string, list names, form string, fits func(*value) bool) Role {
	r := Role{Name: what, Key: key}
	all := g.candidates(list, fits)
	best, others, ok := choose(all)
	if !ok {
		r.Status = Absent
		for _, c := range all {
			if c.present.sum() > 0 {
				r.Seen = []string{fmt.Sprintf("%s is %s, not %s", c.field, g.types(c.field), form)}
			}
		}
		return r
	}
	r.Status = Found
	g.take(&r, best.field)
	r.Seen = append([]string{fmt.Sprintf("%s %s", form, g.inDocuments(best.fits))}, g.alternatives(others)...)
	return r
}

func isText(v *value) bool { return v.kind == bson.TypeString }

func isNumber(v *value) bool { return v.kind == bson.TypeInt32 || v.kind == bson.TypeInt64 }

func (g *guesser) metadata() Role {
	r := g.simple("the metadata", "map_metadata", metadataNames, "an embedded document", func(v *value) bool { return v.kind == bson.TypeEmbeddedDocument })
	g.decodable(&r, func(v *value) bool { return v.kind == bson.TypeEmbeddedDocument })
	return r
}

func (g *guesser) name() Role {
	fits := func(v *value) bool { return isText(v) && v.is(isName) }
	r := g.simple("the name", "map_name", nameNames, "a string", fits)
	g.decodable(&r, fits)
	return r
}

// decodable warns of documents in which the field of an optional role would make
// the key unreadable.
func (g *guesser) decodable(r *Role, fits func(*value) bool) {
	if r.Field == "" {
		return
	}
	if n := g.count(r.Field, func(v *value) bool { return v.present() && !fits(v) }); n.sum() > 0 {
		g.warn("%s cannot be read in %s: these keys would be DISABLED; an empty name for the role avoids that", r.Field, documents(n.sum()))
	}
}

func (g *guesser) prefix() Role {
	return g.simple("the key's beginning", "map_key_prefix", prefixNames, "a string", isText)
}

func (g *guesser) created() Role {
	return g.simple("the creation time", "map_created_at", createdNames, "a date", isDate)
}

// lastUsed and usageCount are fields that keytail writes.
func (g *guesser) lastUsed() Role {
	r := g.simple("the last use", "map_last_used", lastUsedNames, "a date", isDate)
	g.written(&r, "the time of each use")
	return r
}

func (g *guesser) usageCount() Role {
	r := g.simple("the number of uses", "map_usage_count", countNames, "a number", isNumber)
	g.written(&r, "each use")
	return r
}

func (g *guesser) written(r *Role, what string) {
	if r.Field != "" {
		r.Seen = append(r.Seen, fmt.Sprintf("keytail writes %s there, unless --track-usage=false", what))
		return
	}
	for _, field := range g.fields {
		if rank := limiterNames.rank(field); rank != noMatch && !g.taken[field] {
			r.Seen = append(r.Seen, fmt.Sprintf("%s is left out, because keytail would write to it, and a rate limiter may use it", field))
			return
		}
	}
}
