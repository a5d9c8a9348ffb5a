package propose

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
)

// guesser assigns fields to roles, each field to one.
type guesser struct {
	*sample
	indexes indexes
	// found is where the hash of the known key stands. Nil: not known.
	found    *match
	taken    map[string]bool
	proposal Proposal
}

// guess proposes all roles. The order matters: a field that fits two roles gets
// the first.
func (g *guesser) guess() {
	g.taken = map[string]bool{}
	hash := g.hash()
	active := g.active()
	expiry := g.expiry()
	user := g.user()
	org := g.id("the organisation", "map_org_id", orgNames)
	project := g.id("the project", "map_project_id", projectNames)
	scopes := g.scopes()
	networks := g.networks()
	metadata, name, prefix, created, lastUsed, count := g.metadata(), g.name(), g.prefix(), g.created(), g.lastUsed(), g.usageCount()
	if user.Status == Missing {
		user = g.caller(user, &name)
	}
	g.proposal.Roles = []Role{hash, active, user, org, project, scopes, expiry, networks, name, metadata, prefix, created, lastUsed, count}
}

func (g *guesser) warn(format string, args ...any) {
	g.proposal.Warnings = append(g.proposal.Warnings, fmt.Sprintf(format, args...))
}

// candidate is a field whose name fits a role.
type candidate struct {
	field string
	rank  int
	// exact: the name is in the list, and does not only end like one.
	exact bool
	// fits are the documents in which its value fits, present those in which it
	// has one.
	fits, present share
}

// candidates are the fields that have no role yet and a name in the list, each
// with the documents in which its value fits.
func (g *guesser) candidates(list names, fits func(*value) bool) []candidate {
	var all []candidate
	for _, field := range g.fields {
		if rank := list.rank(field); rank != noMatch && !g.taken[field] {
			all = append(all, candidate{field, rank, list.exact(field) != noMatch, g.count(field, fits), g.count(field, (*value).present)})
		}
	}
	return all
}

// choose returns the best of the candidates that fit somewhere, and the others. A
// field that half as many of the newest documents have as the most frequent one is
// frequent enough to be chosen by its name.
func choose(all []candidate) (best candidate, others []candidate, ok bool) {
	fitting := slices.DeleteFunc(slices.Clone(all), func(c candidate) bool { return c.fits.sum() == 0 })
	if len(fitting) == 0 {
		return candidate{}, nil, false
	}
	frequency := func(c candidate) int { return c.fits.newer }
	most := slices.MaxFunc(fitting, func(a, b candidate) int { return cmp.Compare(frequency(a), frequency(b)) })
	if most.fits.newer == 0 {
		frequency = func(c candidate) int { return c.fits.older }
		most = slices.MaxFunc(fitting, func(a, b candidate) int { return cmp.Compare(frequency(a), frequency(b)) })
	}
	slices.SortStableFunc(fitting, func(a, b candidate) int {
		rare := func(c candidate) int {
			if frequency(c)*2 < frequency(most) {
				return 1
			}
			return 0
		}
		return cmp.Or(cmp.Compare(rare(a), rare(b)), cmp.Compare(a.rank, b.rank), cmp.Compare(b.fits.sum(), a.fits.sum()))
	})
	return fitting[0], fitting[1:], true
}

// take gives a field to a role.
func (g *guesser) take(r *Role, field string) {
	r.Field = field
	g.taken[field] = true
}

// alternatives is a sentence about fields that fit as well, or nothing.
func (g *guesser) alternatives(others []candidate) []string {
	var parts []string
	for _, c := range others {
		parts = append(parts, fmt.Sprintf("%s (%s)", c.field, g.inDocuments(c.fits)))
	}
	if parts == nil {
		return nil
	}
	return []string{"it could also be " + strings.Join(parts, ", or ")}
}

// documents is a count with its noun.
func documents(n int) string { return plural(n, "document") }
