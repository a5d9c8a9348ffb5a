package keystore

import (
	"context"
	"errors"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/apikey"
)

// Errors of the writes and of looking for a key by its id.
var (
	// ErrNoSuchKey: no document has this id, or it is another owner's.
	ErrNoSuchKey = errors.New("there is no such key")
	// ErrAmbiguousID: two documents have an _id of this text, by different types.
	ErrAmbiguousID = errors.New("two keys have this id, one by another type")
	// ErrDuplicateHash: another document has this hash already.
	ErrDuplicateHash = errors.New("another key has this hash")
	// ErrChanged: somebody else has changed the document since it was read.
	ErrChanged = errors.New("the key has been changed meanwhile")
)

// NewKey is what a new document is to say.
type NewKey struct {
	Hash apikey.Hash
	// KeyPrefix and CreatedAt are kept where the mapping has a field for them.
	KeyPrefix string
	CreatedAt time.Time
	Fields
}

// Draft is a document that has its _id and is not stored yet, so that the id is
// known whatever becomes of the write.
type Draft struct {
	document bson.D
	// KeyID is the document's id in text.
	KeyID string
}

// Draft writes a new document in the forms of the schema. The error is
// ErrCannotHold to errors.Is.
func (s Schema) Draft(n NewKey) (Draft, error) {
	if n.Active == nil {
		on := true
		n.Active = &on
	}
	e, err := s.encode(n.Fields, n.CreatedAt)
	if err != nil {
		return Draft{}, err
	}
	d := s.draft(n.Hash, n.KeyPrefix, n.CreatedAt)
	d.document = append(d.document, e.set...)
	return d, nil
}

// Successor writes a new document that takes another one's place: it says what
// that one says, also in the fields that no mapping knows, with a hash of its
// own.
func (s Schema) Successor(old Shown, hash apikey.Hash, keyPrefix string, createdAt time.Time) (Draft, error) {
	elements, err := elements(old.raw)
	if err != nil {
		return Draft{}, err
	}
	d := s.draft(hash, keyPrefix, createdAt)
	own := []string{idField, s.Hash, s.KeyPrefix, s.CreatedAt, s.LastUsed, s.UsageCount, rotatedFromField}
	for _, e := range elements {
		if !slices.Contains(own, e.Key()) {
			d.document = append(d.document, bson.E{Key: e.Key(), Value: e.Value()})
		}
	}
	d.document = append(d.document, bson.E{Key: rotatedFromField, Value: old.raw.Lookup(idField)})
	return d, nil
}

// draft has what no document shares with another one.
func (s Schema) draft(hash apikey.Hash, keyPrefix string, createdAt time.Time) Draft {
	id := bson.NewObjectID()
	document := bson.D{{Key: idField, Value: id}, {Key: s.Hash, Value: s.HashStored(hash)}}
	if s.KeyPrefix != "" && keyPrefix != "" {
		document = append(document, bson.E{Key: s.KeyPrefix, Value: keyPrefix})
	}
	if s.CreatedAt != "" {
		document = append(document, bson.E{Key: s.CreatedAt, Value: bson.NewDateTimeFromTime(createdAt)})
	}
	return Draft{document, id.Hex()}
}

// Insert stores a new document in the session of ctx. ErrDuplicateHash is one of
// its errors.
func (s *Store) Insert(ctx context.Context, d Draft) (Shown, error) {
	if _, err := s.written.InsertOne(ctx, d.document); err != nil {
		if hasCode(err, codeDuplicateKey) {
			return Shown{}, &sentence{"another key has this hash", ErrDuplicateHash, nil}
		}
		return Shown{}, s.explain("writing a key", err)
	}
	raw, err := bson.Marshal(d.document)
	return s.schema.Show(raw), err
}

// FindNamed reads the key whose id has this text, in the session of ctx. With an
// owner it must be that user's, else it is ErrNoSuchKey like one that is not
// there.
func (s *Store) FindNamed(ctx context.Context, id, owner string) (Shown, error) {
	cursor, err := s.keys.Find(ctx, bson.D{{Key: idField, Value: bson.D{{Key: "$in", Value: idCandidates(id)}}}}, options.Find().SetLimit(2))
	if err != nil {
		return Shown{}, s.explain("reading a key", err)
	}
	var found []bson.Raw
	if err := cursor.All(ctx, &found); err != nil {
		return Shown{}, s.explain("reading a key", err)
	}
	var theirs []Shown
	for _, raw := range found {
		if shown := s.schema.Show(raw); owner == "" || shown.Record.UserID == owner {
			theirs = append(theirs, shown)
		}
	}
	switch len(theirs) {
	case 0:
		return Shown{}, ErrNoSuchKey
	case 1:
		return theirs[0], nil
	}
	return Shown{}, ErrAmbiguousID
}

// Change writes fields of a document that still is as it was read, in the session
// of ctx, and returns it as it is then. ErrChanged: it is not. Nothing to write is
// nothing written.
func (s *Store) Change(ctx context.Context, was Shown, f Fields, now time.Time) (Shown, error) {
	e, err := s.schema.encode(f, now)
	if err != nil {
		return Shown{}, err
	}
	update := e.update()
	if update == nil {
		return was, nil
	}
	filter, err := s.schema.unchanged(was)
	if err != nil {
		return Shown{}, err
	}
	raw, err := s.written.FindOneAndUpdate(ctx, filter, update, options.FindOneAndUpdate().SetReturnDocument(options.After)).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return Shown{}, ErrChanged
	}
	if err != nil {
		return Shown{}, s.explain("changing a key", err)
	}
	return s.schema.Show(raw), nil
}

// Delete removes a document that still is as it was read.
func (s *Store) Delete(ctx context.Context, was Shown) error {
	filter, err := s.schema.unchanged(was)
	if err != nil {
		return err
	}
	result, err := s.written.DeleteOne(ctx, filter)
	switch {
	case err != nil:
		return s.explain("deleting a key", err)
	case result.DeletedCount == 0:
		return ErrChanged
	}
	return nil
}

// unchanged finds the document if each field that matters is as it was.
func (s Schema) unchanged(was Shown) (bson.D, error) {
	id, err := idValue(was.ID)
	if err != nil {
		return nil, err
	}
	filter := bson.D{{Key: idField, Value: id}}
	for _, f := range s.fields() {
		if f.name != "" && f.name != s.LastUsed && f.name != s.UsageCount {
			filter = append(filter, bson.E{Key: f.name, Value: same(was.raw.Lookup(f.name))})
		}
	}
	return filter, nil
}

// same matches the very value, of type 0 if there was none. Equality with null
// would match a field that is absent too.
func same(v bson.RawValue) any {
	switch v.Type {
	case 0:
		return bson.D{{Key: "$exists", Value: false}}
	case bson.TypeNull:
		return bson.D{{Key: "$type", Value: "null"}}
	}
	return bson.D{{Key: "$eq", Value: v}}
}
