package keystore

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// index is what listIndexes says of one.
type index struct {
	Name string
	Key  bson.Raw
	// Unique is true, or 1 in indexes made long ago.
	Unique    bson.RawValue
	Sparse    bson.RawValue
	Hidden    bool
	Partial   bson.Raw `bson:"partialFilterExpression"`
	Collation struct{ Locale string }
}

// checkIndexes finds a unique index on the hash among those of the collection.
// It must make the hash a name of one document, and serve a find by it:
//
//   - its key is the hash alone, in either direction (a hashed or text index
//     cannot be unique, a compound one makes the pair unique)
//   - sparse is fine: documents without a hash are found by nobody
//   - partial is not, since documents outside it may share a hash, unless all
//     that it leaves out are documents without one: {hash: {$exists: true}}
//   - it is not hidden: that still refuses duplicates, but reads everything
//   - neither it nor the collection has a collation, under which different
//     hashes, or different ids, could be the same
//
// some: there is an index on the hash, fit or not.
func (s *Store) checkIndexes(ctx context.Context) (some bool, err error) {
	indexes, err := s.indexes(ctx)
	if err != nil {
		return false, err
	}
	return s.judgeIndexes(indexes)
}

func (s *Store) judgeIndexes(indexes []index) (some bool, err error) {
	if err := s.checkCollation(indexes); err != nil {
		return false, err
	}
	for _, i := range indexes {
		if !i.on(s.schema.Hash) {
			continue
		}
		some = true
		if err = s.unfit(i); err == nil {
			return true, nil
		}
	}
	if some {
		return true, err
	}
	return false, refuse(ErrNoUniqueIndex, "%s has no unique index on %s: create it, by %s or by --ensure-schema",
		s.namespace(), s.schema.Hash, s.createCommand())
}

// createCommand makes the unique index in mongosh.
func (s *Store) createCommand() string {
	return fmt.Sprintf("db.getCollection(%q).createIndex({%q: 1}, {unique: true})", s.schema.Collection, s.schema.Hash)
}

// checkCollation looks at the index on _id, which has the collation of the
// collection. (listCollections would say it only to a user who may list all.)
func (s *Store) checkCollation(indexes []index) error {
	for _, i := range indexes {
		if i.on(idField) && i.collated() {
			return refuse(ErrCollation, "%s has a default collation (locale %q), by which different hashes or ids may be equal: keep the keys in a collection without one",
				s.namespace(), i.Collation.Locale)
		}
	}
	return nil
}

// indexes lists those of the collection. A collection has one at least, on _id: none
// means that it does not exist.
func (s *Store) indexes(ctx context.Context) ([]index, error) {
	var indexes []index
	cursor, err := s.database.Collection(s.schema.Collection).Indexes().List(ctx)
	if err == nil {
		err = cursor.All(ctx, &indexes)
	}
	if err != nil {
		return nil, s.explain("listing the indexes of "+s.namespace(), err)
	}
	return indexes, nil
}

// unfit says why an index on the hash will not do, or nil.
func (s *Store) unfit(i index) error {
	again := "drop it and create a plain unique one"
	switch {
	case !i.unique():
		return refuse(ErrNoUniqueIndex, "%s has an index on %s (%s), but it is not unique: %s", s.namespace(), s.schema.Hash, i.Name, again)
	case i.collated():
		return refuse(ErrNoUniqueIndex, "%s has a unique index on %s (%s), but with a collation, which a look-up cannot use: %s", s.namespace(), s.schema.Hash, i.Name, again)
	case i.Partial != nil && !existsAlone(i.Partial, s.schema.Hash):
		return refuse(ErrNoUniqueIndex, "%s has a unique index on %s (%s), but it is partial, so documents outside it may share a hash: %s", s.namespace(), s.schema.Hash, i.Name, again)
	case i.Hidden:
		return refuse(ErrNoUniqueIndex, "%s has a unique index on %s (%s), but it is hidden, so a look-up reads the whole collection: unhide it", s.namespace(), s.schema.Hash, i.Name)
	}
	return nil
}

// on reports whether the index is on this field alone, in order.
func (i index) on(field string) bool {
	elements, err := i.Key.Elements()
	if err != nil || len(elements) != 1 || elements[0].Key() != field {
		return false
	}
	return elements[0].Value().IsNumber()
}

func (i index) unique() bool {
	if yes, ok := i.Unique.BooleanOK(); ok {
		return yes
	}
	number, ok := i.Unique.AsFloat64OK()
	return ok && number != 0
}

func (i index) collated() bool {
	return i.Collation.Locale != "" && i.Collation.Locale != "simple"
}

// existsAlone recognises the filter {field: {$exists: true}}.
func existsAlone(filter bson.Raw, field string) bool {
	want, err := bson.Marshal(bson.D{{Key: field, Value: bson.D{{Key: "$exists", Value: true}}}})
	return err == nil && string(filter) == string(want)
}

// createIndex makes the index. The name is the server's default, so that an
// index that somebody else made is the same one.
func (s *Store) createIndex(ctx context.Context) error {
	_, err := s.database.Collection(s.schema.Collection).Indexes().CreateOne(ctx, mongo.IndexModel{
		Keys:    bson.D{{Key: s.schema.Hash, Value: 1}},
		Options: options.Index().SetUnique(true),
	})
	if hasCode(err, codeDuplicateKey) {
		// The server's own words hold the hash, which helps nobody
		return refuse(ErrNoUniqueIndex, "%s cannot have a unique index on %s because documents share a value of it (or several lack it): remove all but one of each",
			s.namespace(), s.schema.Hash)
	}
	if err != nil {
		return s.explain("creating the unique index on "+s.schema.Hash+" of "+s.namespace(), err)
	}
	return nil
}
