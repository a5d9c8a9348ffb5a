package keystore

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/mongoclient"
)

// Errors of the writes and of the lookup of a key by its id.
var (
	// ErrNoSuchKey: no document has this id, or it belongs to another owner.
	ErrNoSuchKey = errors.New("there is no such key")
	// ErrAmbiguousID: two documents have an _id with this text, of different
	// types.
	ErrAmbiguousID = errors.New("two keys have this id, with different types")
	// ErrDuplicate: another document already has this hash, or another value
	// that must be unique by an index of the collection.
	ErrDuplicate = errors.New("another key has the same hash or another unique value")
	// ErrChanged: the document was changed since it was read.
	ErrChanged = errors.New("the key was changed since it was read")
)

// NewKey is the content of a new document.
type NewKey struct {
	Hash apikey.Hash
	// KeyPrefix and CreatedAt are stored if the mapping has a field for them.
	KeyPrefix string
	CreatedAt time.Time
	Fields
}

// Draft is a document that has its _id but is not stored yet. So the id is
// known even if the outcome of the write is not.
type Draft struct {
	// Details is how the document will be read.
	Details Details
}

// Draft makes a new document in the forms of the schema. The error is
// ErrCannotStore for errors.Is, also if the new document could not be read as a
// key. What is stored is made by Store.Draft.
func (s Schema) Draft(n NewKey) (Draft, error) {
	if n.Active == nil {
		on := true
		n.Active = &on
	}
	e, err := s.encode(n.Fields, n.CreatedAt)
	if err != nil {
		return Draft{}, err
	}
	return s.finishDraft(append(s.uniqueFields(n.Hash, n.KeyPrefix, n.CreatedAt), e.set...))
}

// DraftSuccessor makes a new document that replaces another one: it has the
// same fields, even those that no mapping knows, and a new hash. What is stored is
// made by Store.DraftSuccessor.
func (s Schema) DraftSuccessor(old Details, hash apikey.Hash, keyPrefix string, createdAt time.Time) (Draft, error) {
	elements, err := elements(old.raw)
	if err != nil {
		return Draft{}, err
	}
	document := s.uniqueFields(hash, keyPrefix, createdAt)
	own := []string{idField, s.Hash, s.KeyPrefix, s.CreatedAt, s.LastUsed, s.UsageCount, rotatedFromField}
	for _, e := range elements {
		if name := e.Key(); name == "" || !slices.Contains(own, name) {
			document = append(document, bson.E{Key: name, Value: e.Value()})
		}
	}
	return s.finishDraft(append(document, bson.E{Key: rotatedFromField, Value: old.raw.Lookup(idField)}))
}

// uniqueFields returns the fields that are different in every document.
func (s Schema) uniqueFields(hash apikey.Hash, keyPrefix string, createdAt time.Time) bson.D {
	document := bson.D{{Key: idField, Value: bson.NewObjectID()}, {Key: s.Hash, Value: s.HashStored(hash)}}
	if s.KeyPrefix != "" && keyPrefix != "" {
		document = append(document, bson.E{Key: s.KeyPrefix, Value: keyPrefix})
	}
	if s.CreatedAt != "" {
		document = append(document, bson.E{Key: s.CreatedAt, Value: bson.NewDateTimeFromTime(createdAt)})
	}
	return document
}

func (s Schema) finishDraft(document bson.D) (Draft, error) {
	raw, err := bson.Marshal(document)
	if err != nil {
		return Draft{}, err
	}
	shown := s.Details(raw)
	if shown.Record.Defect != "" {
		return Draft{}, explained(ErrCannotStore, "the document could not be read as a key: %s", shown.Record.Defect)
	}
	return Draft{shown}, nil
}

// Insert stores a new document in the session of ctx. It can return
// ErrDuplicate.
func (s *Store) Insert(ctx context.Context, d Draft) error {
	if _, err := s.keys.InsertOne(ctx, d.Details.raw); err != nil {
		return s.explainWrite("writing a key", err)
	}
	return nil
}

// explainWrite is explain with the errors that only writes return. The errors
// of a duplicate and of a validator do not wrap the driver's error, because
// that quotes values.
func (s *Store) explainWrite(doing string, err error) error {
	switch {
	case hasCode(err, codeDuplicateKey):
		return s.duplicate(err)
	case hasCode(err, codeValidation):
		return explained(ErrCannotStore, "the validator of %s rejects this document: change the document or the validator", s.Namespace())
	case hasCode(err, codeUnauthorized):
		return &explainedError{fmt.Sprintf("%s is not allowed: grant the user of the connection string find, insert, update and remove on collection %q of database %q", doing, s.schema.Collection, s.database.Name()), ErrUnauthorized, err}
	}
	return s.explain(doing, err)
}

// duplicate returns which index rejected the write. If the server does not name
// the index, duplicate assumes the one on the hash, which always exists.
func (s *Store) duplicate(err error) error {
	for _, answer := range serverReplies(err) {
		pattern, isDocument := answer.Lookup("keyPattern").DocumentOK()
		if _, missing := pattern.LookupErr(s.schema.Hash); isDocument && missing != nil {
			return explained(ErrDuplicate, "a unique index of %s refuses this key: another document has the same value in %s", s.Namespace(), fieldsOf(pattern))
		}
	}
	return explained(ErrDuplicate, "another key has this hash")
}

// serverReplies returns the server's replies in an error: that of the command,
// and that of each write.
func serverReplies(err error) []bson.Raw {
	var all []bson.Raw
	var command mongo.CommandError
	if errors.As(err, &command) {
		all = append(all, command.Raw)
	}
	var write mongo.WriteException
	if errors.As(err, &write) {
		for _, e := range write.WriteErrors {
			all = append(all, e.Raw)
		}
	}
	var bulk mongo.BulkWriteException
	if errors.As(err, &bulk) {
		for _, e := range bulk.WriteErrors {
			all = append(all, e.Raw)
		}
	}
	return all
}

// fieldsOf returns the names of an index's fields.
func fieldsOf(pattern bson.Raw) string {
	elements, _ := elements(pattern)
	names := make([]string, len(elements))
	for i, e := range elements {
		names[i] = e.Key()
	}
	return strings.Join(names, ", ")
}

// FindByID reads the key whose id has this text, in the session of ctx. A key for
// which isTheirs is false gives ErrNoSuchKey, as if it did not exist. Nil: every key
// counts.
func (s *Store) FindByID(ctx context.Context, id string, isTheirs func(*apikey.Record) bool) (Details, error) {
	cursor, err := s.keys.Find(ctx, bson.D{{Key: idField, Value: bson.D{{Key: "$in", Value: idCandidates(id)}}}}, mongoclient.WithComment(ctx, options.Find().SetLimit(2)))
	if err != nil {
		return Details{}, s.explain("reading a key", err)
	}
	var found []bson.Raw
	if err := cursor.All(ctx, &found); err != nil {
		return Details{}, s.explain("reading a key", err)
	}
	var theirs []Details
	for _, raw := range found {
		if shown := s.schema.Details(raw); isTheirs == nil || isTheirs(&shown.Record) {
			theirs = append(theirs, shown)
		}
	}
	switch len(theirs) {
	case 0:
		return Details{}, ErrNoSuchKey
	case 1:
		return theirs[0], nil
	}
	return Details{}, ErrAmbiguousID
}

// Edit is a change of one document that has not been made yet.
type Edit struct {
	was  Details
	edit edit
	// After is how the document will be read. It has no Digest.
	After Details
}

// IsEmpty reports whether the document already has the wanted content.
func (e Edit) IsEmpty() bool { return e.edit.update() == nil }

// Edit returns the changes that give the document these fields, in the forms of
// the schema. The error is ErrCannotStore for errors.Is. now is the date of a
// revocation, where the switch is a date. What is written is made by Store.Edit.
func (s Schema) Edit(was Details, f Fields, now time.Time) (Edit, error) {
	if s.ActiveForm == ActiveNoDate && f.Active != nil && !*f.Active && s.lookup(was.raw, s.Active).Type == bson.TypeDateTime {
		f.Active = nil // it is off already, and keeps its date
	}
	wanted, err := s.encode(f, now)
	if err != nil {
		return Edit{}, err
	}
	e := Edit{was: was, After: was}
	document, err := e.merge(wanted)
	if err != nil || e.IsEmpty() {
		return e, err
	}
	raw, err := bson.Marshal(document)
	if err != nil {
		return Edit{}, err
	}
	e.After = s.Details(raw)
	if e.After.Record.Defect != "" && was.Record.Defect == "" {
		return Edit{}, explained(ErrCannotStore, "the document could not be read as a key: %s", e.After.Record.Defect)
	}
	return e, nil
}

// merge adds the wanted changes that the document does not have yet, and
// returns the document as it will be.
func (e *Edit) merge(wanted edit) (bson.D, error) {
	elements, err := elements(e.was.raw)
	if err != nil {
		return nil, err
	}
	var document bson.D
	for _, have := range elements {
		document = append(document, bson.E{Key: have.Key(), Value: have.Value()})
	}
	at := func(name string) int {
		return slices.IndexFunc(document, func(have bson.E) bool { return have.Key == name })
	}
	for _, set := range wanted.set {
		value, err := marshalled(set.Value)
		if err != nil {
			return nil, err
		}
		switch i := at(set.Key); {
		case i < 0:
			document = append(document, bson.E{Key: set.Key, Value: value})
		case document[i].Value.(bson.RawValue).Equal(value): //nolint:forcetypeassert // set above
			continue
		default:
			document[i].Value = value
		}
		e.edit.put(set.Key, value)
	}
	for _, unset := range wanted.unset {
		if i := at(unset.Key); i >= 0 {
			document = slices.Delete(document, i, i+1)
			e.edit.drop(unset.Key)
		}
	}
	return document, nil
}

// Change makes an edit if the document is still as it was read, in the session
// of ctx, and returns the changed document. Otherwise the error is ErrChanged.
// An empty edit writes nothing.
func (s *Store) Change(ctx context.Context, e Edit) (Details, error) {
	if e.IsEmpty() {
		return e.was, nil
	}
	filter, err := s.schema.unchangedFilter(e.was)
	if err != nil {
		return Details{}, err
	}
	raw, err := s.keys.FindOneAndUpdate(ctx, filter, e.edit.update(), options.FindOneAndUpdate().SetReturnDocument(options.After)).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return Details{}, ErrChanged
	}
	if err != nil {
		return Details{}, s.explainWrite("changing a key", err)
	}
	return s.schema.Details(raw), nil
}

// Delete removes a document if it is still as it was read.
func (s *Store) Delete(ctx context.Context, was Details) error {
	filter, err := s.schema.unchangedFilter(was)
	if err != nil {
		return err
	}
	result, err := s.keys.DeleteOne(ctx, filter)
	switch {
	case err != nil:
		return s.explainWrite("deleting a key", err)
	case result.DeletedCount == 0:
		return ErrChanged
	}
	return nil
}

// unchangedFilter returns a filter that matches the document if each relevant
// field is as it was.
//
// A collection that is sharded has the hash as its shard key, because of the unique
// index. So the hash is a plain equality, too: up to MongoDB 7.0, mongos accepts a
// findAndModify only with the shard key, and takes none from $expr.
func (s Schema) unchangedFilter(was Details) (bson.D, error) {
	id, err := idValue(was.ID)
	if err != nil {
		return nil, err
	}
	filter := bson.D{{Key: idField, Value: id}}
	exactly := bson.A{}
	for _, f := range s.fields() {
		if f.name == "" || f.name == s.LastUsed || f.name == s.UsageCount {
			continue
		}
		switch v := was.raw.Lookup(f.name); v.Type {
		case 0:
			filter = append(filter, bson.E{Key: f.name, Value: bson.D{{Key: "$exists", Value: false}}})
		case bson.TypeNull, bson.TypeUndefined:
			filter = append(filter, bson.E{Key: f.name, Value: bson.D{{Key: "$type", Value: int32(v.Type)}}})
		default:
			if f.name == s.Hash && (v.Type == bson.TypeString || v.Type == bson.TypeBinary) {
				filter = append(filter, bson.E{Key: f.name, Value: v})
			}
			// In a query filter, an array would also match its own elements.
			exactly = append(exactly, bson.D{{Key: "$eq", Value: bson.A{"$" + f.name, bson.D{{Key: "$literal", Value: v}}}}})
		}
	}
	return append(filter, bson.E{Key: "$expr", Value: bson.D{{Key: "$and", Value: exactly}}}), nil
}
