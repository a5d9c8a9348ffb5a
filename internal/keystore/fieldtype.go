package keystore

import (
	"cmp"
	"errors"
	"fmt"
	"maps"
	"slices"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

// The types of values, in the words of messages. Values of one type are of one
// kind for the programs that read them: the widths of integers do not differ.
const (
	typeString      = "string"
	typeObjectID    = "ObjectId"
	typeUUID        = "UUID"
	typeInteger     = "integer"
	typeDouble      = "double"
	typeBoolean     = "boolean"
	typeDate        = "date"
	typeStringArray = "array of strings"
	typeDocument    = "embedded document"
)

// typeOf returns the type of a value in words.
func typeOf(v bson.RawValue) string {
	switch v.Type {
	case bson.TypeString:
		return typeString
	case bson.TypeObjectID:
		return typeObjectID
	case bson.TypeInt32, bson.TypeInt64:
		return typeInteger
	case bson.TypeDouble:
		return typeDouble
	case bson.TypeBoolean:
		return typeBoolean
	case bson.TypeDateTime:
		return typeDate
	case bson.TypeEmbeddedDocument:
		return typeDocument
	case bson.TypeBinary:
		if subtype, data, ok := v.BinaryOK(); ok && subtype == bson.TypeBinaryUUID && len(data) == 16 {
			return typeUUID
		}
	case bson.TypeArray:
		if isStringArray(v) {
			return typeStringArray
		}
	}
	return v.Type.String()
}

// isStringArray reports whether all elements are strings. An array without
// elements counts: it could hold strings.
func isStringArray(v bson.RawValue) bool {
	array, ok := v.ArrayOK()
	if !ok {
		return false
	}
	values, err := array.Values()
	return err == nil && !slices.ContainsFunc(values, func(element bson.RawValue) bool { return element.Type != bson.TypeString })
}

// writtenField is a field that keytail writes, and with which type. The hash is
// none of them: without one hash in the declared encoding, keytail does not
// start.
type writtenField struct {
	// param is the role's name in the admin API.
	param string
	name  string
	// flag declares the form; without forms, it names the field.
	flag string
	// types are what keytail writes, and what is as good in its place.
	types []string
}

// writes reports whether a value of this type may be replaced by keytail's.
func (f writtenField) writes(have string) bool { return slices.Contains(f.types, have) }

// writtenFields returns the fields that the mapping has.
func (s Schema) writtenFields() []writtenField {
	all := []writtenField{
		{"user_id", s.UserID, "map-user-id-form", s.UserIDForm.types()},
		{"org_id", s.OrgID, "map-org-id-form", s.OrgIDForm.types()},
		{"project_id", s.ProjectID, "map-project-id-form", s.ProjectIDForm.types()},
		{"name", s.Name, "map-name", []string{typeString}},
		{"scopes", s.Scopes, "map-scopes-form", s.ScopesForm.types()},
		{"allowed_ips", s.AllowedIPs, "map-allowed-ips", []string{typeStringArray}},
		{"expires_at", s.ExpiresAt, "map-expires-form", s.ExpiresForm.types()},
		{"metadata", s.Metadata, "map-metadata", []string{typeDocument}},
		{"is_active", s.Active, "map-active-form", s.ActiveForm.types()},
		{"key_prefix", s.KeyPrefix, "map-key-prefix", []string{typeString}},
		{"created_at", s.CreatedAt, "map-created-at", []string{typeDate}},
	}
	return slices.DeleteFunc(all, func(f writtenField) bool { return f.name == "" })
}

func (f IDForm) types() []string {
	switch f {
	case IDObjectID:
		return []string{typeObjectID}
	case IDUUID:
		return []string{typeUUID}
	case IDInteger:
		return []string{typeInteger}
	case IDString:
	}
	return []string{typeString}
}

func (f ScopesForm) types() []string {
	if f == ScopesText {
		return []string{typeString}
	}
	return []string{typeStringArray}
}

func (f ExpiresForm) types() []string {
	if f == ExpiresUnix || f == ExpiresUnixMilli {
		// Drivers of JavaScript choose between the two by the number's size.
		return []string{typeInteger, typeDouble}
	}
	return []string{typeDate}
}

func (f ActiveForm) types() []string {
	if f == ActiveNoDate {
		return []string{typeDate}
	}
	return []string{typeBoolean}
}

// otherTypes are the fields that no document has with the type that keytail
// would write, and that some have with another one: the name of each field maps
// to its most frequent type.
type otherTypes map[string]string

// otherTypes returns what the documents of the survey show.
func (s *Survey) otherTypes() otherTypes {
	others := otherTypes{}
	for _, f := range s.schema.writtenFields() {
		i := slices.IndexFunc(s.Fields, func(found SurveyField) bool { return found.Field == f.name })
		if i < 0 {
			continue
		}
		types := s.Fields[i].Types
		if len(types) > 0 && !slices.ContainsFunc(f.types, func(t string) bool { return types[t] > 0 }) {
			// The order of a map must not show
			others[f.name] = slices.MaxFunc(slices.Sorted(maps.Keys(types)), func(a, b string) int { return cmp.Compare(types[a], types[b]) })
		}
	}
	return others
}

// NotWritten returns a sentence for each field that the admin API does not
// write, because the documents of the survey have it with another type than
// keytail would write. Nil: there is none.
func (s *Survey) NotWritten() []string { return s.schema.notWritten(s.otherTypes(), s.Namespace) }

// NotWritten is Survey.NotWritten for the documents that Prepare has read.
func (s *Store) NotWritten() []string { return s.schema.notWritten(s.others(), s.Namespace()) }

func (s Schema) notWritten(others otherTypes, namespace string) []string {
	var lines []string
	for _, f := range s.writtenFields() {
		if have := others[f.name]; have != "" {
			lines = append(lines, "the admin API does not write "+f.refusal("the documents of "+namespace, have))
		}
	}
	return lines
}

// refusal describes why the field is not written over a type that holder has.
func (f writtenField) refusal(holder, have string) string {
	remedy := fmt.Sprintf("declare the form of %s (--%s), or leave %s out", f.name, f.flag, f.param)
	switch {
	case f.param == "key_prefix" || f.param == "created_at": // no caller sends them
		remedy = fmt.Sprintf("name another field, or none (--%s)", f.flag)
	case f.flag == "map-name" || f.flag == "map-allowed-ips" || f.flag == "map-metadata":
		remedy = fmt.Sprintf("name another field (--%s), or leave %s out", f.flag, f.param)
	}
	return fmt.Sprintf("%s: %s in %s is of type %s, and keytail would write the type %s: %s", f.param, f.name, holder, have, f.types[0], remedy)
}

// others returns what Prepare has found. It is empty before.
func (s *Store) others() otherTypes {
	if found := s.found.Load(); found != nil {
		return *found
	}
	return nil
}

// checkTypes returns an error, ErrCannotStore for errors.Is, if a write of these
// fields would give one another type than it has in the document or, if it is
// absent or null there, in the collection. was is nil for a new document.
func (s *Store) checkTypes(was bson.Raw, written []string) error {
	var mistakes []error
	for _, f := range s.schema.writtenFields() {
		if !slices.Contains(written, f.name) {
			continue
		}
		holder, have := "the documents of "+s.Namespace(), s.others()[f.name]
		if v := s.schema.lookup(was, f.name); !missing(v) {
			if holder, have = "this document", typeOf(v); f.writes(have) {
				have = ""
			}
		}
		if have != "" {
			mistakes = append(mistakes, explained(ErrCannotStore, "%s", f.refusal(holder, have)))
		}
	}
	return errors.Join(mistakes...)
}

// Draft is Schema.Draft for this collection: the error is also ErrCannotStore if
// a field would have another type than in the collection's documents.
func (s *Store) Draft(n NewKey) (Draft, error) {
	draft, err := s.schema.Draft(n)
	if err == nil {
		err = s.checkTypes(nil, names(draft.Details.raw))
	}
	return draft, err
}

// DraftSuccessor is Schema.DraftSuccessor for this collection, as Draft.
func (s *Store) DraftSuccessor(old Details, hash apikey.Hash, keyPrefix string, createdAt time.Time) (Draft, error) {
	draft, err := s.schema.DraftSuccessor(old, hash, keyPrefix, createdAt)
	if err == nil {
		err = s.checkTypes(old.raw, []string{s.schema.KeyPrefix, s.schema.CreatedAt})
	}
	return draft, err
}

// Edit is Schema.Edit for this collection: the error is also ErrCannotStore if a
// field would get another type than it has in the document, or in the
// collection's documents if it is absent there.
//
// A revocation is written over any type: such a key may be refused only because
// its switch cannot be read, and a repair of the field must not make it valid.
func (s *Store) Edit(was Details, f Fields, now time.Time) (Edit, error) {
	e, err := s.schema.Edit(was, f, now)
	if err != nil {
		return Edit{}, err
	}
	var written []string
	for _, set := range e.edit.set {
		if revoked := f.Active != nil && !*f.Active; set.Key != s.schema.Active || !revoked {
			written = append(written, set.Key)
		}
	}
	if err := s.checkTypes(was.raw, written); err != nil {
		return Edit{}, err
	}
	return e, nil
}

// names returns the names of a document's fields.
func names(doc bson.Raw) []string {
	var names []string
	elements, _ := elements(doc)
	for _, e := range elements {
		names = append(names, e.Key())
	}
	return names
}
