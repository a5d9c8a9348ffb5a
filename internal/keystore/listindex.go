package keystore

import (
	"context"
	"errors"
	"fmt"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
)

// ErrNoListIndex means that no index has the keys in the order of List, so the
// server sorts the collection for each page. The index is a recommendation: a
// list is complete without it.
var ErrNoListIndex = errors.New("there is no index for lists of keys")

// PrepareListIndex looks for an index that has the keys in the order of List.
// With ensure, it creates the index if there is none. Its error is a sentence
// for people; the caller can continue without the index.
func (s *Store) PrepareListIndex(ctx context.Context, ensure bool) error {
	if s.schema.CreatedAt == "" {
		return nil // every collection has an index on _id
	}
	indexes, err := s.indexes(ctx)
	if err != nil {
		return s.explain("listing the indexes of "+s.Namespace(), err)
	}
	for _, i := range indexes {
		if i.hasOrder(s.schema.newestFirst()) {
			return nil
		}
	}
	if !ensure {
		return explained(ErrNoListIndex, "%s has no index in the order of the admin API's lists, so the server sorts the collection for each page: create it with db.getCollection(%q).createIndex({%q: -1, _id: -1}) or with --ensure-schema",
			s.Namespace(), s.schema.Collection, s.schema.CreatedAt)
	}
	_, err = s.database.Collection(s.schema.Collection).Indexes().CreateOne(ctx, mongo.IndexModel{Keys: s.schema.newestFirst()})
	if err != nil {
		return s.explain(fmt.Sprintf("creating the index for lists of keys on %s of %s", s.schema.CreatedAt, s.Namespace()), err)
	}
	return nil
}

// hasOrder reports whether the index contains all documents in an order in
// which each field descends, or in the reverse order.
func (i index) hasOrder(descending bson.D) bool {
	elements, err := i.Key.Elements()
	if err != nil || len(elements) < len(descending) || i.Hidden || i.Partial != nil || i.hasCollation() || i.isSparse() {
		return false
	}
	var up, down int
	for n, want := range descending {
		direction, ok := elements[n].Value().AsFloat64OK()
		if !ok || elements[n].Key() != want.Key {
			return false
		}
		if direction < 0 {
			down++
		} else {
			up++
		}
	}
	return up == 0 || down == 0
}

func (i index) isSparse() bool {
	yes, ok := i.Sparse.BooleanOK()
	return ok && yes
}
