package keystore

import (
	"context"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/mongoclient"
)

// maxShared bounds how many documents FindAllByHash returns: with the unique
// index there is at most one. The rest would stay as it is, so this is more than
// any collection has.
const maxShared = 100_000

// CheckRevocable returns an error, which is ErrCannotStore, if keys of this
// collection cannot be switched off.
func (s Schema) CheckRevocable() error {
	off := false
	return s.encodeActive(&edit{}, &off, time.Time{})
}

// FindAllByHash reads all documents with this hash, by the rule of
// FindLinearizable: an empty result is certain. ctx must have a deadline.
func (s *Store) FindAllByHash(ctx context.Context, hash apikey.Hash) ([]Details, error) {
	session, err := s.client.StartSession(options.Session().SetCausalConsistency(false))
	if err != nil {
		return nil, s.explain("reading a key", err)
	}
	defer session.EndSession(ctx)
	found, err := s.findDetails(mongo.NewSessionContext(ctx, session), s.linearizable, s.byHash(hash), maxShared)
	for i := range found {
		if err := s.checkHash(hash, s.schema.Decode(found[i].raw)); err != nil {
			return nil, err
		}
	}
	return found, err
}

// FindDetails reads the documents with these _ids, in the session of ctx. It
// returns those that exist, in any order. ctx must have a deadline.
func (s *Store) FindDetails(ctx context.Context, ids []apikey.DocID) ([]Details, error) {
	filter, err := byIDs(ids)
	if err != nil {
		return nil, err
	}
	return s.findDetails(ctx, s.keys, filter, len(ids))
}

func (s *Store) findDetails(ctx context.Context, keys *mongo.Collection, filter bson.D, limit int) ([]Details, error) {
	find := options.Find().SetLimit(int64(limit))
	if err := withMaxTime(ctx, find); err != nil {
		return nil, err
	}
	cursor, err := keys.Find(ctx, filter, mongoclient.WithComment(ctx, find))
	if err != nil {
		return nil, s.explain("reading keys", err)
	}
	var found []bson.Raw
	if err := cursor.All(ctx, &found); err != nil {
		return nil, s.explain("reading keys", err)
	}
	all := make([]Details, len(found))
	for i, raw := range found {
		all[i] = s.schema.Details(raw)
	}
	return all, nil
}

// ChangeAll makes several edits by one command, in the session of ctx, which must
// have a transaction: an error leaves it half done. If a document is not as it
// was read, the error is ErrChanged. No edit may be empty.
func (s *Store) ChangeAll(ctx context.Context, edits []Edit) error {
	updates := make([]mongo.WriteModel, len(edits))
	for i, e := range edits {
		filter, err := s.schema.unchangedFilter(e.was)
		if err != nil {
			return err
		}
		updates[i] = mongo.NewUpdateOneModel().SetFilter(filter).SetUpdate(e.edit.update())
	}
	result, err := s.keys.BulkWrite(ctx, updates)
	switch {
	case err != nil:
		return s.explainWrite("changing keys", err)
	case result.MatchedCount != int64(len(edits)):
		return ErrChanged
	}
	return nil
}
