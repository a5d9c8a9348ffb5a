package keystore

import (
	"context"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
)

// index is one index as listIndexes reports it.
type index struct {
	Name string
	Key  bson.Raw
	// Unique is true, or 1 in old indexes.
	Unique    bson.RawValue
	Sparse    bson.RawValue
	Hidden    bool
	Partial   bson.Raw `bson:"partialFilterExpression"`
	Collation struct{ Locale string }
}

// checkIndexes looks for a unique index on the hash among the indexes of the
// collection. The index must ensure that each hash has at most one document,
// and a find by the hash must be able to use it:
//
//   - its key is the hash alone, in either direction (a hashed or text index
//     cannot be unique, a compound index makes only the combination unique)
//   - it may be sparse: no lookup finds documents without a hash
//   - it must not be partial, because documents outside it may share a hash,
//     unless it leaves out only documents without a hash: {hash: {$exists:
//     true}}
//   - it must not be hidden: a hidden index still rejects duplicates, but a
//     find reads the whole collection
//   - neither the index nor the collection has a collation, under which
//     different hashes, or different ids, could be equal
//
// exists: there is an index on the hash, usable or not.
func (s *Store) checkIndexes(ctx context.Context) (exists bool, err error) {
	indexes, err := s.indexes(ctx)
	if err != nil {
		return false, err
	}
	return s.evaluateIndexes(indexes)
}

func (s *Store) evaluateIndexes(indexes []index) (exists bool, err error) {
	if err := s.checkCollation(indexes); err != nil {
		return false, err
	}
	for _, i := range indexes {
		if !i.on(s.schema.Hash) {
			continue
		}
		exists = true
		if err = s.checkUsable(i); err == nil {
			return true, nil
		}
	}
	if exists {
		return true, err
	}
	return false, explained(ErrNoUniqueIndex, "%s has no unique index on %s: create it with %s or with --ensure-schema",
		s.Namespace(), s.schema.Hash, s.createCommand())
}

// createCommand returns the mongosh command that creates the unique index.
func (s *Store) createCommand() string {
	return fmt.Sprintf("db.getCollection(%q).createIndex({%q: 1}, {unique: true})", s.schema.Collection, s.schema.Hash)
}

// checkCollation checks the index on _id, which has the collation of the
// collection. (listCollections shows the collation only to a user who may list
// all collections.)
func (s *Store) checkCollation(indexes []index) error {
	for _, i := range indexes {
		if i.on(idField) && i.hasCollation() {
			return explained(ErrCollation, "%s has a default collation (locale %q), by which different hashes or ids may be equal: keep the keys in a collection without one",
				s.Namespace(), i.Collation.Locale)
		}
	}
	return nil
}

// indexes lists the indexes of the collection. A collection has at least the
// one on _id: an empty list means that it does not exist.
func (s *Store) indexes(ctx context.Context) ([]index, error) {
	var indexes []index
	cursor, err := s.database.Collection(s.schema.Collection).Indexes().List(ctx)
	if err == nil {
		err = cursor.All(ctx, &indexes)
	}
	if err != nil {
		return nil, s.explain("listing the indexes of "+s.Namespace(), err)
	}
	return indexes, nil
}

// checkUsable returns why keytail cannot use an index on the hash, or nil.
func (s *Store) checkUsable(i index) error {
	again := "drop it and create a plain unique one"
	switch {
	case !i.isUnique():
		return explained(ErrNoUniqueIndex, "%s has an index on %s (%s), but it is not unique: %s", s.Namespace(), s.schema.Hash, i.Name, again)
	case i.hasCollation():
		return explained(ErrNoUniqueIndex, "%s has a unique index on %s (%s), but with a collation, which a lookup cannot use: %s", s.Namespace(), s.schema.Hash, i.Name, again)
	case i.Partial != nil && !existsAlone(i.Partial, s.schema.Hash):
		return explained(ErrNoUniqueIndex, "%s has a unique index on %s (%s), but it is partial, so documents outside it may share a hash: %s", s.Namespace(), s.schema.Hash, i.Name, again)
	case i.Hidden:
		return explained(ErrNoUniqueIndex, "%s has a unique index on %s (%s), but it is hidden, so a lookup reads the whole collection: unhide it", s.Namespace(), s.schema.Hash, i.Name)
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

func (i index) isUnique() bool {
	if yes, ok := i.Unique.BooleanOK(); ok {
		return yes
	}
	number, ok := i.Unique.AsFloat64OK()
	return ok && number != 0
}

func (i index) hasCollation() bool {
	return i.Collation.Locale != "" && i.Collation.Locale != "simple"
}

// existsAlone reports whether the filter is {field: {$exists: true}}.
func existsAlone(filter bson.Raw, field string) bool {
	want, err := bson.Marshal(bson.D{{Key: field, Value: bson.D{{Key: "$exists", Value: true}}}})
	return err == nil && string(filter) == string(want)
}

// createIndex creates the index. The name is the server's default, so that an
// index that another client created at the same time is the same index.
func (s *Store) createIndex(ctx context.Context) error {
	_, err := s.database.Collection(s.schema.Collection).Indexes().CreateOne(ctx, mongo.IndexModel{
		Keys:    bson.D{{Key: s.schema.Hash, Value: 1}},
		Options: options.Index().SetUnique(true),
	})
	if hasCode(err, codeDuplicateKey) {
		// The server's message contains the hash, which does not help and is
		// secret
		return explained(ErrNoUniqueIndex, "%s cannot have a unique index on %s because documents share a value of it, or several lack it: remove all but one of those that share it; if some have no hash, or null, remove the null and create a sparse index with db.getCollection(%q).createIndex({%q: 1}, {unique: true, sparse: true})",
			s.Namespace(), s.schema.Hash, s.schema.Collection, s.schema.Hash)
	}
	if err != nil {
		return s.explain("creating the unique index on "+s.schema.Hash+" of "+s.Namespace(), err)
	}
	return nil
}
