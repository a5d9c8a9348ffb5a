package devmongo

import (
	"cmp"
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// document is one stored document. seq is the order of insertion. version changes with
// each write, to find conflicts of transactions.
type document struct {
	seq     uint64
	version uint64
	key     string // canonical _id
	raw     bson.Raw
	removed bool
}

// collection holds documents in insertion order and by _id, and its indexes.
type collection struct {
	ns      namespace
	uuid    [16]byte
	docs    []*document // deleted ones remain until there are too many
	byID    map[string]*document
	indexes []*index // without the index on _id, which is byID
	next    uint64
}

func newCollection(ns namespace, uuid [16]byte) *collection {
	return &collection{ns: ns, uuid: uuid, byID: map[string]*document{}}
}

// put inserts or replaces the document with an _id, or returns a duplicate key error.
func (c *collection) put(d bson.D, raw bson.Raw, version uint64) error {
	key := canonical(field(d, "_id"))
	doc, exists := c.byID[key]
	fresh, err := c.checkedKeys(d, doc)
	if err != nil {
		return err
	}
	if exists {
		c.unindex(doc)
		doc.raw, doc.version = raw, version
	} else {
		c.next++
		doc = &document{seq: c.next, version: version, key: key, raw: raw}
		c.docs, c.byID[key] = append(c.docs, doc), doc
	}
	for i, x := range c.indexes {
		x.add(fresh[i], doc)
	}
	return nil
}

// checkedKeys returns the document's keys in each index, or a duplicate key error.
func (c *collection) checkedKeys(d bson.D, self *document) ([][]indexKey, error) {
	all := make([][]indexKey, len(c.indexes))
	for i, x := range c.indexes {
		keys, err := x.keys(d)
		if err != nil {
			return nil, err
		}
		if k, found := x.conflict(keys, self); found {
			return nil, duplicate(c.ns, x.name, x.key, k.values)
		}
		all[i] = keys
	}
	return all, nil
}

func (c *collection) unindex(doc *document) {
	if len(c.indexes) == 0 {
		return
	}
	d := doc.decode()
	for _, x := range c.indexes {
		keys, _ := x.keys(d) // cannot fail: the document is in the index
		x.remove(keys, doc)
	}
}

func (c *collection) remove(key string) {
	doc, ok := c.byID[key]
	if !ok {
		return
	}
	c.unindex(doc)
	delete(c.byID, key)
	doc.removed = true
	if len(c.docs) > 64 && len(c.docs) > 2*len(c.byID) {
		c.docs = slices.DeleteFunc(slices.Clone(c.docs), func(d *document) bool { return d.removed })
	}
}

// addIndex builds an index on the documents, or returns a duplicate key error.
func (c *collection) addIndex(x *index) error {
	x.entries = map[string][]*document{}
	for _, doc := range c.docs {
		if doc.removed {
			continue
		}
		keys, err := x.keys(doc.decode())
		if err != nil {
			return err
		}
		if k, found := x.conflict(keys, doc); found {
			return duplicate(c.ns, x.name, x.key, k.values)
		}
		x.add(keys, doc)
	}
	c.indexes = append(c.indexes, x)
	return nil
}

// clone returns a copy that shares nothing that a write changes.
func (c *collection) clone() *collection {
	n := newCollection(c.ns, c.uuid)
	n.next = c.next
	for _, doc := range c.docs {
		if !doc.removed {
			copied := *doc
			n.docs, n.byID[doc.key] = append(n.docs, &copied), &copied
		}
	}
	for _, x := range c.indexes {
		y := *x
		_ = n.addIndex(&y) // cannot conflict: the original did not
	}
	return n
}

// decode decodes a stored document, which was validated before it was stored.
func (d *document) decode() bson.D {
	doc, _ := decode(d.raw)
	return doc
}

// candidates returns the documents that a filter can match, in insertion order: all of
// them, or those that an index finds for an equality in the filter.
func (c *collection) candidates(filter bson.D) []*document {
	for _, e := range equalities(filter) {
		if e.path == "_id" {
			return c.byKeys(e.values, func(k string) []*document {
				if d, ok := c.byID[k]; ok {
					return []*document{d}
				}
				return nil
			})
		}
		for _, x := range c.indexes {
			if x.isWhole() && len(x.key) == 1 && x.key[0].Key == e.path {
				return c.byKeys(e.values, func(k string) []*document { return x.entries[k] })
			}
		}
	}
	return c.docs
}

func (c *collection) byKeys(values []any, find func(string) []*document) []*document {
	seen, out := map[*document]bool{}, []*document(nil)
	for _, v := range values {
		for _, d := range find(canonical(v)) {
			if !seen[d] {
				seen[d], out = true, append(out, d)
			}
		}
	}
	slices.SortFunc(out, func(a, b *document) int { return cmp.Compare(a.seq, b.seq) })
	return out
}
