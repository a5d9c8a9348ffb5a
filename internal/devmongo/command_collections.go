package devmongo

import (
	"fmt"
	"slices"
	"strings"

	"go.mongodb.org/mongo-driver/v2/bson"
)

// makeCollection adds an empty collection. This moves the log without an event, because
// streams report creations only with showExpandedEvents, which is not supported.
func (s *Server) makeCollection(ns namespace) *collection {
	c := newCollection(ns, newUUID())
	s.applied.collections[ns] = c
	s.record(&logEntry{kind: kindNoop})
	return c
}

func listCollections(o *op) (bson.D, error) {
	filter, nameOnly, batch, err := o.listArgs()
	if err != nil {
		return nil, err
	}
	match, err := compileFilter(filter)
	if err != nil {
		return nil, err
	}
	var docs []bson.Raw
	for _, c := range o.view.of(o.db) {
		d := c.describe()
		ok, err := match(d)
		if err != nil {
			return nil, err
		}
		if !ok {
			continue
		}
		if nameOnly {
			d = d[:2]
		}
		raw, err := encode(d)
		if err != nil {
			return nil, err
		}
		docs = append(docs, raw)
	}
	return o.openCursor(namespace{o.db, "$cmd.listCollections"}, docs, batch, false), nil
}

func (o *op) listArgs() (filter bson.D, nameOnly bool, batch int64, err error) {
	filter, nameOnly = o.a.document("filter"), o.a.boolean("nameOnly")
	o.a.boolean("authorizedCollections")
	batch, err = o.cursorOption()
	if err == nil {
		err = o.a.finish()
	}
	return filter, nameOnly, batch, err
}

// cursorOption reads {cursor: {batchSize: n}}.
func (o *op) cursorOption() (int64, error) {
	a := newArgs(o.name+".cursor", o.a.document("cursor"))
	batch := a.integer("batchSize", defaultBatch)
	if batch < 0 {
		return 0, refuse(codeBadValue, "BSON field 'batchSize' value must be >= 0")
	}
	return batch, a.finish()
}

func (c *collection) describe() bson.D {
	uuid := bson.Binary{Subtype: 4, Data: slices.Clone(c.uuid[:])}
	return bson.D{
		{Key: "name", Value: c.ns.coll},
		{Key: "type", Value: "collection"},
		{Key: "options", Value: bson.D{}},
		{Key: "info", Value: bson.D{{Key: "readOnly", Value: false}, {Key: "uuid", Value: uuid}}},
		{Key: "idIndex", Value: idIndexSpec()},
	}
}

func idIndexSpec() bson.D {
	return bson.D{{Key: "v", Value: int32(2)}, {Key: "key", Value: bson.D{{Key: "_id", Value: int32(1)}}}, {Key: "name", Value: "_id_"}}
}

func create(o *op) (bson.D, error) {
	ns, err := o.target()
	if err != nil {
		return nil, err
	}
	if err := o.a.finish(); err != nil { // options such as capped, viewOn and validator are not supported
		return nil, err
	}
	if err := o.mayWrite(ns); err != nil {
		return nil, err
	}
	if o.s.applied.collections[ns] != nil {
		return nil, refuse(codeNamespaceExists, "Collection %s already exists.", ns)
	}
	o.s.makeCollection(ns)
	return okReply(), nil
}

func drop(o *op) (bson.D, error) {
	ns, err := o.target()
	if err != nil {
		return nil, err
	}
	if err := o.a.finish(); err != nil {
		return nil, err
	}
	if err := o.mayWrite(ns); err != nil {
		return nil, err
	}
	c := o.s.applied.collections[ns]
	if c == nil {
		return okReply(), nil // not an error since MongoDB 7.0
	}
	o.s.dropCollection(c)
	return bson.D{{Key: "nIndexesWas", Value: int32(len(c.indexes) + 1)}, {Key: "ns", Value: ns.String()}, {Key: "ok", Value: 1.0}}, nil
}

func (s *Server) dropCollection(c *collection) {
	delete(s.applied.collections, c.ns)
	s.closeCursors(c.ns)
	s.record(&logEntry{kind: kindDrop, ns: c.ns, uuid: c.uuid})
}

// closeCursors closes the cursors of a dropped or renamed collection. Change streams
// end with their own events.
func (s *Server) closeCursors(ns namespace) {
	for id, c := range s.cursors {
		if c.ns == ns && c.stream == nil {
			s.killCursor(id)
		}
	}
}

func renameCollection(o *op) (bson.D, error) {
	from, err := o.fullName(o.name)
	if err != nil {
		return nil, err
	}
	to, err := o.fullName("to")
	if err != nil {
		return nil, err
	}
	dropTarget := o.a.boolean("dropTarget")
	if err := o.a.finish(); err != nil {
		return nil, err
	}
	if err := o.mayWrite(to); err != nil {
		return nil, err
	}
	if from.db != to.db {
		return nil, unsupported(codeNotImplemented, "renaming to another database")
	}
	return okReply(), o.s.rename(from, to, dropTarget)
}

func (s *Server) rename(from, to namespace, dropTarget bool) error {
	c := s.applied.collections[from]
	switch {
	case c == nil:
		return refuse(codeNamespaceNotFound, "Source collection %s does not exist", from)
	case from == to:
		return refuse(codeIllegalOperation, "Can't rename a collection to itself")
	case s.applied.collections[to] != nil && !dropTarget:
		return refuse(codeNamespaceExists, "target namespace exists")
	}
	s.closeCursors(from)
	s.closeCursors(to)
	delete(s.applied.collections, from)
	c.ns = to
	s.applied.collections[to] = c
	s.record(&logEntry{kind: kindRename, ns: from, to: to, uuid: c.uuid})
	return nil
}

func (o *op) fullName(key string) (namespace, error) {
	s, ok := o.a.value(key).(string)
	db, coll, found := strings.Cut(s, ".")
	if !ok || !found {
		return namespace{}, refuse(codeInvalidNamespace, "'%s' must be a full namespace, not %s", key, fmt.Sprintf("%q", s))
	}
	return checkNamespace(db, coll)
}
