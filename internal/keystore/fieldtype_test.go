package keystore

import (
	"encoding/json"
	"errors"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"

	"github.com/keytail/keytail/internal/mongotest"
)

// collectionOf returns a store that has seen these documents at start.
func collectionOf(t *testing.T, s Schema, docs ...bson.Raw) *Store {
	t.Helper()
	store, err := New(Config{Client: &mongo.Client{}, Database: "shop", Schema: s})
	if err != nil {
		t.Fatal(err)
	}
	others := surveyed(t, s, docs...).otherTypes()
	store.found.Store(&others)
	return store
}

// wrongTypes has, for each field that a caller can set, a value of another type
// than the default mapping writes, and what the caller sets.
var wrongTypes = map[string]struct {
	value  any
	have   string
	fields Fields
}{
	"user_id":     {bson.ObjectID{1}, "ObjectId", Fields{UserID: ptr("u")}},
	"org_id":      {int32(7), "integer", Fields{OrgID: ptr("7")}},
	"project_id":  {uuid, "UUID", Fields{ProjectID: ptr("p")}},
	"name":        {bson.A{"a"}, "array of strings", Fields{Name: ptr("n")}},
	"scopes":      {"a b", "string", Fields{Scopes: ptr([]string{"a"})}},
	"allowed_ips": {"192.0.2.7", "string", Fields{AllowedIPs: ptr([]netip.Prefix{netip.MustParsePrefix("192.0.2.7/32")})}},
	"expires_at":  {3.8e9, "double", Fields{ExpiresAt: &ends}},
	"metadata":    {bson.A{1}, "array", Fields{Metadata: ptr(json.RawMessage(`{"a":1}`))}},
	"is_active":   {int32(1), "integer", Fields{Active: ptr(true)}},
}

// TestAFieldOfAnotherTypeIsNotWritten, neither into a new document nor into one
// that does not have the field. The error names field, form and type.
func TestAFieldOfAnotherTypeIsNotWritten(t *testing.T) {
	t.Parallel()
	s := DefaultSchema()
	for name, test := range wrongTypes {
		theirs := keyOf(t, 1, bson.E{Key: name, Value: test.value})
		store := collectionOf(t, s, theirs, keyOf(t, 2, bson.E{Key: name, Value: nil}))
		words := []string{name + ": " + name + " in the documents of shop.api_keys is of type " + test.have + ", and keytail would write the type ", "(--map-"}
		if lines := store.NotWritten(); len(lines) != 1 || !strings.Contains(lines[0], words[0]) {
			t.Errorf("%s: told %q", name, lines)
		}
		f := test.fields
		if f.UserID == nil {
			f.UserID = ptr("u")
		}
		_, err := store.Draft(NewKey{Hash: testHash, CreatedAt: made, Fields: f})
		wantSentence(t, err, ErrCannotStore, words...)
		// A document without the field: the collection decides.
		if name != "user_id" && name != "is_active" {
			_, err = store.Edit(s.Details(document(t)), test.fields, made)
			wantSentence(t, err, ErrCannotStore, words...)
		}
		// A document with it: its own type decides, whatever the collection has.
		for _, collection := range []*Store{store, collectionOf(t, s)} {
			_, err = collection.Edit(s.Details(theirs), test.fields, made)
			wantSentence(t, err, ErrCannotStore, name+" in this document is of type "+test.have)
		}
		if name != "user_id" {
			if _, err := store.Draft(NewKey{Hash: testHash, CreatedAt: made, Fields: Fields{UserID: ptr("u")}}); (err == nil) != (name != "is_active") {
				t.Errorf("a new key that leaves out %s: %v", name, err)
			}
		}
	}
}

// TestAFieldOfTheDeclaredTypeIsWritten: if some documents have it, if the
// collection is empty, and if the document to change has it although no other
// one has.
func TestAFieldOfTheDeclaredTypeIsWritten(t *testing.T) {
	t.Parallel()
	s := DefaultSchema()
	for name, test := range wrongTypes {
		f := test.fields
		if f.UserID == nil {
			f.UserID = ptr("u")
		}
		draft, err := collectionOf(t, s).Draft(NewKey{Hash: testHash, CreatedAt: made, Fields: f})
		if err != nil {
			t.Errorf("%s in an empty collection: %v", name, err)
		}
		theirs := keyOf(t, 1, bson.E{Key: name, Value: test.value})
		if _, err := collectionOf(t, s, theirs, draft.Details.raw).Draft(NewKey{Hash: testHash, CreatedAt: made, Fields: f}); err != nil {
			t.Errorf("%s in a mixed collection: %v", name, err)
		}
		if _, err := collectionOf(t, s, theirs).Edit(draft.Details, test.fields, made); err != nil {
			t.Errorf("%s in a document of the declared type: %v", name, err)
		}
	}
}

// TestANewKeyIsNotMadeWithAnotherTypeOfItsOwnFields: no caller sends these.
func TestANewKeyIsNotMadeWithAnotherTypeOfItsOwnFields(t *testing.T) {
	t.Parallel()
	s := DefaultSchema()
	for name, value := range map[string]any{"created_at": int64(1), "key_prefix": bson.Binary{Data: []byte("kt")}} {
		theirs := keyOf(t, 1, bson.E{Key: name, Value: value})
		words := []string{name + ": " + name + " in ", "name another field, or none (--map-" + strings.ReplaceAll(name, "_", "-") + ")"}
		n := NewKey{Hash: testHash, KeyPrefix: "kt_abc", CreatedAt: made, Fields: Fields{UserID: ptr("u")}}
		store := collectionOf(t, s, theirs)
		_, err := store.Draft(n)
		wantSentence(t, err, ErrCannotStore, append(words, "the documents of shop.api_keys")...)
		_, err = collectionOf(t, s).DraftSuccessor(s.Details(theirs), testHash, "kt_abc", made)
		wantSentence(t, err, ErrCannotStore, append(words, "this document")...)
		if _, err := store.DraftSuccessor(s.Details(document(t, bson.E{Key: "created_at", Value: made}, bson.E{Key: "key_prefix", Value: "kt"})), testHash, "kt_abc", made); err != nil {
			t.Errorf("%s: a key of the declared type is not rotated: %v", name, err)
		}
	}
}

// TestARevocationIsWrittenOverAnyType, and a removal is not a value of another
// type.
func TestARevocationIsWrittenOverAnyType(t *testing.T) {
	t.Parallel()
	for _, form := range []ActiveForm{ActiveBoolean, ActiveNegated, ActiveNoDate} {
		s := in(func(s *Schema) { s.ActiveForm = form })
		was := keyOf(t, 1, bson.E{Key: "is_active", Value: "yes"}, bson.E{Key: "expires_at", Value: "soon"}, bson.E{Key: "name", Value: 7})
		e, err := collectionOf(t, s, was).Edit(s.Details(was), Fields{Active: ptr(false), ExpiresAt: &time.Time{}, Name: ptr("")}, made)
		if err != nil || e.After.Record.Active || e.After.Record.Defect != "" {
			t.Errorf("%s: %+v, %v", form, e.After.Record, err)
		}
	}
}

// TestNumbersOfAnExpiryAreOfOneType: a driver chooses their width.
func TestNumbersOfAnExpiryAreOfOneType(t *testing.T) {
	t.Parallel()
	for _, form := range []ExpiresForm{ExpiresUnix, ExpiresUnixMilli} {
		s := in(func(s *Schema) { s.ExpiresForm = form })
		for _, value := range []any{int32(2e9), int64(3e9), 3.8e9} {
			was := keyOf(t, 1, bson.E{Key: "expires_at", Value: value})
			if _, err := collectionOf(t, s, was).Edit(s.Details(was), Fields{ExpiresAt: &ends}, made); err != nil {
				t.Errorf("%s over %T: %v", form, value, err)
			}
		}
		_, err := collectionOf(t, s).Edit(s.Details(keyOf(t, 1, bson.E{Key: "expires_at", Value: ends})), Fields{ExpiresAt: &made}, made)
		wantSentence(t, err, ErrCannotStore, "is of type date, and keytail would write the type integer", "--map-expires-form")
	}
}

// TestEachRoleHasAnIDFormOfItsOwn.
func TestEachRoleHasAnIDFormOfItsOwn(t *testing.T) {
	t.Parallel()
	s := in(func(s *Schema) { s.UserIDForm, s.OrgIDForm, s.ProjectIDForm = IDObjectID, IDInteger, IDUUID })
	const project = "01234567-89ab-cdef-0123-456789abcdef"
	d, err := s.Draft(NewKey{Hash: testHash, Fields: Fields{UserID: ptr(oid.Hex()), OrgID: ptr("42"), ProjectID: ptr(project)}})
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]any{"user_id": oid, "org_id": int64(42), "project_id": uuid} {
		if value, err := marshalled(want); err != nil || !d.Details.raw.Lookup(name).Equal(value) {
			t.Errorf("%s is %v, want %v", name, d.Details.raw.Lookup(name), want)
		}
	}
	for param, words := range map[string]string{
		"user_id":    `user_id: the mapping says that ids in user_id are ObjectIds (--map-user-id-form objectid), so "acme" cannot be written there: send 24 lower-case hex digits`,
		"org_id":     `org_id: the mapping says that ids in org_id are integers (--map-org-id-form integer), so "acme" cannot be written there: send a whole number`,
		"project_id": `project_id: the mapping says that ids in project_id are UUIDs (--map-project-id-form uuid), so "acme" cannot be written there: send a UUID such as ` + project,
	} {
		f := Fields{UserID: ptr(oid.Hex()), OrgID: ptr("42"), ProjectID: ptr(project)}
		*map[string]**string{"user_id": &f.UserID, "org_id": &f.OrgID, "project_id": &f.ProjectID}[param] = ptr("acme")
		_, err := s.Draft(NewKey{Hash: testHash, Fields: f})
		wantSentence(t, err, ErrCannotStore, words)
	}
}

// TestPrepareSeesTheTypes of the documents that a server has.
func TestPrepareSeesTheTypes(t *testing.T) {
	mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
		d, ctx := newWriteRig(t, s), testContext(t)
		if lines := d.NotWritten(); lines != nil {
			t.Errorf("before the start: %q", lines)
		}
		theirs := []any{keyOf(t, 1, bson.E{Key: "org_id", Value: oid}), keyOf(t, 2, bson.E{Key: "org_id", Value: bson.ObjectID{9}})}
		if _, err := d.keys.InsertMany(ctx, theirs); err != nil {
			t.Fatal(err)
		}
		if err := d.Prepare(ctx, false); err != nil {
			t.Fatal(err)
		}
		if lines := d.NotWritten(); len(lines) != 1 || !strings.Contains(lines[0], "the admin API does not write org_id: org_id in the documents of "+d.Namespace()+" is of type ObjectId") {
			t.Errorf("told %q", lines)
		}
		if _, err := d.Draft(NewKey{Hash: testHash, Fields: Fields{UserID: ptr("u"), OrgID: ptr("acme")}}); !errors.Is(err, ErrCannotStore) {
			t.Errorf("%v", err)
		}
		if _, err := d.Draft(NewKey{Hash: testHash, Fields: Fields{UserID: ptr("u")}}); err != nil {
			t.Errorf("without the field: %v", err)
		}
	})
}
