package keystore

import (
	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

// idField is the name that MongoDB gives a document's identity.
const idField = "_id"

// Schema says how the documents of the user's own collection are made: the name
// of the root field for each role, and the form of those that have several. An
// optional role without a name is one that the collection does not have. The
// zero value is not valid: begin with DefaultSchema. The zero value of a form is
// the first of its list.
type Schema struct {
	// Collection holds one document per key.
	Collection string

	// Hash is the SHA-256 of the key's text, or of what follows HashAfter in it,
	// in HashEncoding. Required, and under a unique index.
	Hash         string
	HashEncoding HashEncoding
	// HashAfter begins every key's text and is not hashed. Empty: the whole text
	// is. Validators hash by it; nothing of a document depends on it.
	HashAfter string
	// Active is the switch, in ActiveForm. It has no name exactly when the form is
	// ActiveAlways.
	Active     string
	ActiveForm ActiveForm
	// UserID is whom the key speaks for: a string, ObjectId, UUID or integer.
	// Required.
	UserID string
	// OrgID and ProjectID bind the key; of the same types. Optional. Absent or
	// null: unbound.
	OrgID     string
	ProjectID string
	// Name is a string for people. Optional. Absent or null: none.
	Name string
	// Scopes is a list in ScopesForm. Optional. Absent or null: DefaultScopes.
	Scopes     string
	ScopesForm ScopesForm
	// DefaultScopes are held by a key whose document says nothing of scopes, which
	// is not the same as an empty list. Nil: none. They are shared, read only.
	DefaultScopes []string
	// AllowedIPs is an array of addresses and networks. Optional. Absent, null or
	// empty: any client.
	AllowedIPs string
	// ExpiresAt is a time in ExpiresForm. Optional. Absent or null: never.
	ExpiresAt   string
	ExpiresForm ExpiresForm
	// Metadata is an embedded document, passed on as it is. Optional. Absent or
	// null: none.
	Metadata string

	// IDForm is how ids are stored that keytail writes. Nothing that is read
	// depends on it.
	IDForm IDForm

	// KeyPrefix, CreatedAt, LastUsed and UsageCount decide nothing, and are
	// optional. Decode does not look at them.
	KeyPrefix  string
	CreatedAt  string
	LastUsed   string
	UsageCount string
}

// DefaultSchema is the layout of the sample data in testdata.
func DefaultSchema() Schema {
	return Schema{
		Collection:   "api_keys",
		Hash:         "key_hash",
		HashEncoding: HashHex,
		Active:       "is_active",
		ActiveForm:   ActiveBoolean,
		UserID:       "user_id",
		OrgID:        "org_id",
		ProjectID:    "project_id",
		Name:         "name",
		Scopes:       "scopes",
		ScopesForm:   ScopesArray,
		AllowedIPs:   "allowed_ips",
		ExpiresAt:    "expires_at",
		ExpiresForm:  ExpiresDate,
		Metadata:     "metadata",
		KeyPrefix:    "key_prefix",
		CreatedAt:    "created_at",
		LastUsed:     "last_used",
		UsageCount:   "usage_count",
		IDForm:       IDString,
	}
}

// Ignorable are the root fields whose updates change no decision, so that a
// change stream may leave out updates of nothing else. It may be empty, and is
// never nil: it becomes an array in the stream's filter.
func (s Schema) Ignorable() []string {
	names := []string{}
	for _, name := range []string{s.LastUsed, s.UsageCount} {
		if name != "" {
			names = append(names, name)
		}
	}
	return names
}

// HashValue reads a value of the hash field. False: it is not what HashStored
// makes of any hash. HashesIn says for which hashes a look-up may find its document
// even so.
func (s Schema) HashValue(v bson.RawValue) (apikey.Hash, bool) { return s.HashEncoding.read(v) }

// HashStored is the value that the hash field has in the document of this hash.
func (s Schema) HashStored(hash apikey.Hash) any { return s.HashEncoding.stored(hash) }
