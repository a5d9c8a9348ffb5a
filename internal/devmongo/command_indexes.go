package devmongo

import (
	"slices"

	"go.mongodb.org/mongo-driver/v2/bson"
)

func listIndexes(o *op) (bson.D, error) {
	ns, err := o.target()
	if err != nil {
		return nil, err
	}
	batch, err := o.cursorOption()
	if err != nil {
		return nil, err
	}
	if err := o.a.finish(); err != nil {
		return nil, err
	}
	c := o.view.collections[ns]
	if c == nil {
		return nil, refuse(codeNamespaceNotFound, "ns does not exist: %s", ns)
	}
	docs := make([]bson.Raw, 1, len(c.indexes)+1)
	if docs[0], err = encode(idIndexSpec()); err != nil {
		return nil, err
	}
	for _, x := range c.indexes {
		raw, err := encode(x.spec)
		if err != nil {
			return nil, err
		}
		docs = append(docs, raw)
	}
	return o.openCursor(ns, docs, batch, false), nil
}

func createIndexes(o *op) (bson.D, error) {
	ns, err := o.target()
	if err != nil {
		return nil, err
	}
	specs := o.a.documents("indexes")
	if err := o.a.finish(); err != nil {
		return nil, err
	}
	if len(specs) == 0 {
		return nil, refuse(codeBadValue, "Must specify at least one index to create")
	}
	var list []*index
	for _, spec := range specs {
		x, err := compileIndex(spec)
		if err != nil {
			return nil, err
		}
		list = append(list, x)
	}
	created := o.s.applied.collections[ns] == nil
	c, err := o.writable(ns)
	if err != nil {
		return nil, err
	}
	before := len(c.indexes) + 1
	for _, x := range list {
		if err := c.createIndex(x); err != nil {
			return nil, err
		}
	}
	if len(c.indexes)+1 != before {
		o.s.record(&logEntry{kind: kindNoop})
	}
	return bson.D{
		{Key: "numIndexesBefore", Value: int32(before)},
		{Key: "numIndexesAfter", Value: int32(len(c.indexes) + 1)},
		{Key: "createdCollectionAutomatically", Value: created},
		{Key: "commitQuorum", Value: "votingMembers"},
		{Key: "ok", Value: 1.0},
	}, nil
}

// createIndex adds an index, or does nothing if it exists.
func (c *collection) createIndex(x *index) error {
	if compare(x.key, bson.D{{Key: "_id", Value: int32(1)}}) == 0 {
		return nil
	}
	for _, old := range c.indexes {
		switch {
		case compare(old.spec, x.spec) == 0:
			return nil
		case old.name == x.name:
			return refuse(codeIndexKeyConflict, "An existing index has the same name but another key or other options: %s", old.name)
		case compare(old.key, x.key) == 0:
			return refuse(codeIndexOptionsConflict, "An existing index has the same key but another name: %s", old.name)
		}
	}
	return c.addIndex(x)
}

// dropIndexes drops one index by its name.
func dropIndexes(o *op) (bson.D, error) {
	ns, err := o.target()
	if err != nil {
		return nil, err
	}
	name := o.a.str("index")
	if err := o.a.finish(); err != nil {
		return nil, err
	}
	if err := o.mayWrite(ns); err != nil {
		return nil, err
	}
	c := o.s.applied.collections[ns]
	switch {
	case c == nil:
		return nil, refuse(codeNamespaceNotFound, "ns not found %s", ns)
	case name == "*":
		return nil, unsupported(codeNotImplemented, "dropping all indexes")
	case name == "_id_":
		return nil, refuse(codeInvalidOptions, "cannot drop _id index")
	}
	was := len(c.indexes)
	c.indexes = slices.DeleteFunc(slices.Clone(c.indexes), func(x *index) bool { return x.name == name })
	if len(c.indexes) == was {
		return nil, refuse(codeIndexNotFound, "index not found with name [%s]", name)
	}
	o.s.record(&logEntry{kind: kindNoop})
	return bson.D{{Key: "nIndexesWas", Value: int32(was + 1)}, {Key: "ok", Value: 1.0}}, nil
}
