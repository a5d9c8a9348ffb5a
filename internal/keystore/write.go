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
)

// Errors of the writes and of looking for a key by its id.
var (
	// ErrNoSuchKey: no document has this id, or it is another owner's.
	ErrNoSuchKey = errors.New("there is no such key")
	// ErrAmbiguousID: two documents have an _id of this text, by different types.
	ErrAmbiguousID = errors.New("two keys have this id, one by another type")
	// ErrDuplicate: another document has this hash already, or something else that
	// an index of the collection wants to be unique.
	ErrDuplicate = errors.New("another key has the same")
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
	// Shown is how it will be read.
	Shown Shown
}

// Draft writes a new document in the forms of the schema. The error is
// ErrCannotHold to errors.Is: also for what would be read as something that is no
// key.
func (s Schema) Draft(n NewKey) (Draft, error) {
	if n.Active == nil {
		on := true
		n.Active = &on
	}
	e, err := s.encode(n.Fields, n.CreatedAt)
	if err != nil {
		return Draft{}, err
	}
	return s.drafted(append(s.own(n.Hash, n.KeyPrefix, n.CreatedAt), e.set...))
}

// Successor writes a new document that takes another one's place: it says what
// that one says, also in the fields that no mapping knows, with a hash of its
// own.
func (s Schema) Successor(old Shown, hash apikey.Hash, keyPrefix string, createdAt time.Time) (Draft, error) {
	elements, err := elements(old.raw)
	if err != nil {
		return Draft{}, err
	}
	document := s.own(hash, keyPrefix, createdAt)
	own := []string{idField, s.Hash, s.KeyPrefix, s.CreatedAt, s.LastUsed, s.UsageCount, rotatedFromField}
	for _, e := range elements {
		if name := e.Key(); name == "" || !slices.Contains(own, name) {
			document = append(document, bson.E{Key: name, Value: e.Value()})
		}
	}
	return s.drafted(append(document, bson.E{Key: rotatedFromField, Value: old.raw.Lookup(idField)}))
}

// own is what no document shares with another one.
func (s Schema) own(hash apikey.Hash, keyPrefix string, createdAt time.Time) bson.D {
	document := bson.D{{Key: idField, Value: bson.NewObjectID()}, {Key: s.Hash, Value: s.HashStored(hash)}}
	if s.KeyPrefix != "" && keyPrefix != "" {
		document = append(document, bson.E{Key: s.KeyPrefix, Value: keyPrefix})
	}
	if s.CreatedAt != "" {
		document = append(document, bson.E{Key: s.CreatedAt, Value: bson.NewDateTimeFromTime(createdAt)})
	}
	return document
}

func (s Schema) drafted(document bson.D) (Draft, error) {
	raw, err := bson.Marshal(document)
	if err != nil {
		return Draft{}, err
	}
	shown := s.Show(raw)
	if shown.Record.Defect != "" {
		return Draft{}, refuse(ErrCannotHold, "this would be no key: %s", shown.Record.Defect)
	}
	return Draft{shown}, nil
}

// Insert stores a new document in the session of ctx. ErrDuplicate is one of its
// errors.
func (s *Store) Insert(ctx context.Context, d Draft) error {
	if _, err := s.keys.InsertOne(ctx, d.Shown.raw); err != nil {
		return s.explainWrite("writing a key", err)
	}
	return nil
}

// explainWrite is explain for what only writes meet. A duplicate and a refusal do
// not keep the driver's error, which quotes values.
func (s *Store) explainWrite(doing string, err error) error {
	switch {
	case hasCode(err, codeDuplicateKey):
		return s.duplicate(err)
	case hasCode(err, codeValidation):
		return refuse(ErrCannotHold, "the validator of %s does not take this document: change what is written, or the validator", s.namespace())
	case hasCode(err, codeUnauthorized):
		return &sentence{fmt.Sprintf("%s is not allowed: grant the user of the connection string find, insert, update and remove on collection %q of database %q", doing, s.schema.Collection, s.database.Name()), ErrUnauthorized, err}
	}
	return s.explain(doing, err)
}

// duplicate says which index refuses. Servers that do not name it are taken to
// mean the one on the hash, which is the one that is always there.
func (s *Store) duplicate(err error) error {
	for _, answer := range answers(err) {
		pattern, isDocument := answer.Lookup("keyPattern").DocumentOK()
		if _, missing := pattern.LookupErr(s.schema.Hash); isDocument && missing != nil {
			return refuse(ErrDuplicate, "a unique index of %s refuses this key: another document has the same value in %s", s.namespace(), fieldsOf(pattern))
		}
	}
	return refuse(ErrDuplicate, "another key has this hash")
}

// answers are what a server said of an error: of the command, and of each write.
func answers(err error) []bson.Raw {
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
	return all
}

// fieldsOf names the fields of an index.
func fieldsOf(pattern bson.Raw) string {
	elements, _ := elements(pattern)
	names := make([]string, len(elements))
	for i, e := range elements {
		names[i] = e.Key()
	}
	return strings.Join(names, ", ")
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

// Edit is a change of one document that has not been made yet.
type Edit struct {
	was  Shown
	edit edit
	// After is how the document will be read, but for its Digest.
	After Shown
}

// Nothing reports whether the document says already what it is to say.
func (e Edit) Nothing() bool { return e.edit.update() == nil }

// Edit writes fields in the forms of the schema, as far as the document does not
// say that already. The error is ErrCannotHold to errors.Is. now is the date of a
// revocation where that is the form.
func (s Schema) Edit(was Shown, f Fields, now time.Time) (Edit, error) {
	if s.ActiveForm == ActiveNoDate && f.Active != nil && !*f.Active && s.lookup(was.raw, s.Active).Type == bson.TypeDateTime {
		f.Active = nil // it is off, and keeps its date
	}
	wanted, err := s.encode(f, now)
	if err != nil {
		return Edit{}, err
	}
	e := Edit{was: was, After: was}
	document, err := e.merge(wanted)
	if err != nil || e.Nothing() {
		return e, err
	}
	raw, err := bson.Marshal(document)
	if err != nil {
		return Edit{}, err
	}
	e.After = s.Show(raw)
	if e.After.Record.Defect != "" && was.Record.Defect == "" {
		return Edit{}, refuse(ErrCannotHold, "this would be no key: %s", e.After.Record.Defect)
	}
	return e, nil
}

// merge takes over what is not so already, and returns the document as it will be.
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
		case document[i].Value.(bson.RawValue).Equal(value): //nolint:forcetypeassert // put there above
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

// Change makes an edit of a document that still is as it was read, in the session
// of ctx, and returns it as it is then. ErrChanged: it is not. Nothing to write is
// nothing written.
func (s *Store) Change(ctx context.Context, e Edit) (Shown, error) {
	if e.Nothing() {
		return e.was, nil
	}
	filter, err := s.schema.unchanged(e.was)
	if err != nil {
		return Shown{}, err
	}
	raw, err := s.keys.FindOneAndUpdate(ctx, filter, e.edit.update(), options.FindOneAndUpdate().SetReturnDocument(options.After)).Raw()
	if errors.Is(err, mongo.ErrNoDocuments) {
		return Shown{}, ErrChanged
	}
	if err != nil {
		return Shown{}, s.explainWrite("changing a key", err)
	}
	return s.schema.Show(raw), nil
}

// Delete removes a document that still is as it was read.
func (s *Store) Delete(ctx context.Context, was Shown) error {
	filter, err := s.schema.unchanged(was)
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

// unchanged finds the document if each field that matters is as it was.
func (s Schema) unchanged(was Shown) (bson.D, error) {
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
			// In a filter, an array would be equal to its own elements too.
			exactly = append(exactly, bson.D{{Key: "$eq", Value: bson.A{"$" + f.name, bson.D{{Key: "$literal", Value: v}}}}})
		}
	}
	return append(filter, bson.E{Key: "$expr", Value: bson.D{{Key: "$and", Value: exactly}}}), nil
}
