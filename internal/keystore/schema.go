package keystore

import (
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

// idField is MongoDB's field for the identity of a document.
const idField = "_id"

// Schema describes the documents of the user's collection: the name of the root
// field for each role, and the form of the roles that have several. If an
// optional role has no name, the collection has no such field. The zero value
// is not valid: begin with DefaultSchema. The zero value of a form is the first
// of its list, which nobody asked for: keytail checks it against the documents
// and the names of the fields more strictly than a form that was given.
type Schema struct {
	// Collection contains one document per key.
	Collection string

	// Hash is the field with the hash of the key's text, or of the part that
	// follows HashAfter, by HashAlgorithm, in HashEncoding. Required, and needs a
	// unique index.
	Hash          string
	HashAlgorithm apikey.HashAlgorithm
	HashEncoding  HashEncoding
	// HashAfter is the beginning of every key's text, which is not part of what
	// is hashed. Empty: the whole text is hashed. The validator hashes by it;
	// reading documents does not depend on it.
	HashAfter string
	// Active is the switch, in ActiveForm. It has no name exactly if the form
	// is ActiveAlways.
	Active     string
	ActiveForm ActiveForm
	// UserID is the user that the key speaks for: a string, ObjectId, UUID or
	// integer. Required. UserIDForm is the form in which keytail writes it;
	// reading does not depend on it.
	UserID     string
	UserIDForm IDForm
	// OrgID and ProjectID bind the key to an organisation and a project; of the
	// same types, each written in a form of its own. Optional. Absent or null: not
	// bound.
	OrgID         string
	OrgIDForm     IDForm
	ProjectID     string
	ProjectIDForm IDForm
	// Name is a string for people. Optional. Absent or null: no name.
	Name string
	// Scopes is a list in ScopesForm. Optional. Absent or null: DefaultScopes.
	Scopes     string
	ScopesForm ScopesForm
	// DefaultScopes are the scopes of a key whose document has no scopes field,
	// which is different from an empty list. Nil: no scopes. They are shared
	// and must not be modified.
	DefaultScopes []string
	// AllowedIPs is an array of addresses and networks. Optional. Absent, null
	// or empty: any client.
	AllowedIPs string
	// ExpiresAt is a time in ExpiresForm. Optional. Absent or null: never.
	ExpiresAt   string
	ExpiresForm ExpiresForm
	// Metadata is an embedded document, passed on unchanged. Optional. Absent
	// or null: no metadata.
	Metadata string

	// KeyPrefix, CreatedAt, LastUsed and UsageCount do not affect a verdict,
	// and are optional. Decode ignores them.
	KeyPrefix  string
	CreatedAt  string
	LastUsed   string
	UsageCount string
}

// DefaultSchema is the layout of the sample data in testdata.
func DefaultSchema() Schema {
	return Schema{
		Collection:    "api_keys",
		Hash:          "key_hash",
		HashAlgorithm: apikey.SHA256,
		HashEncoding:  HashHex,
		Active:        "is_active",
		UserID:        "user_id",
		UserIDForm:    IDString,
		OrgID:         "org_id",
		OrgIDForm:     IDString,
		ProjectID:     "project_id",
		ProjectIDForm: IDString,
		Name:          "name",
		Scopes:        "scopes",
		ScopesForm:    ScopesArray,
		AllowedIPs:    "allowed_ips",
		ExpiresAt:     "expires_at",
		Metadata:      "metadata",
		KeyPrefix:     "key_prefix",
		CreatedAt:     "created_at",
		LastUsed:      "last_used",
		UsageCount:    "usage_count",
	}
}

// DecodedFields returns the root fields that Decode reads: _id, and those of the
// roles that decide or are passed on. What Decode returns depends on nothing
// else in a document, so a change stream may leave out updates that touch none
// of them (changestream/DESIGN.md, "Only fields that decide").
func (s Schema) DecodedFields() []string {
	// The decoder itself says what it reads, so that this list cannot be shorter.
	names := []string{idField}
	for _, f := range s.fields() {
		if s.kindOf(f.name) != fieldUnread {
			names = append(names, f.name)
		}
	}
	return names
}

// usageFields returns the root fields that keytail writes when keys are used.
func (s Schema) usageFields() []string {
	var names []string
	for _, name := range []string{s.LastUsed, s.UsageCount} {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// HashValue reads a value of the hash field. False: HashStored returns this
// value for no hash. A lookup may still find the document: HashesIn returns for
// which hashes.
func (s Schema) HashValue(v bson.RawValue) (apikey.Hash, bool) { return s.HashEncoding.read(v) }

// HashStored returns the value of the hash field in the document with this
// hash.
func (s Schema) HashStored(hash apikey.Hash) any { return s.HashEncoding.stored(hash) }
