package devmongo

import (
	"cmp"
	"slices"
)

// namespace is the name of a collection, or of a database when coll is empty.
type namespace struct{ db, coll string }

// String is the form in messages and cursors: db.coll.
func (n namespace) String() string { return n.db + "." + n.coll }

// catalog is one view of all collections.
type catalog struct{ collections map[namespace]*collection }

func newCatalog() *catalog { return &catalog{collections: map[namespace]*collection{}} }

func (c *catalog) clone() *catalog {
	n := newCatalog()
	for ns, coll := range c.collections {
		n.collections[ns] = coll.clone()
	}
	return n
}

// of returns the collections of a database, sorted by name.
func (c *catalog) of(db string) []*collection {
	var out []*collection
	for ns, coll := range c.collections {
		if ns.db == db {
			out = append(out, coll)
		}
	}
	slices.SortFunc(out, func(a, b *collection) int { return cmp.Compare(a.ns.coll, b.ns.coll) })
	return out
}
