package keystore

import (
	"errors"
	"fmt"
	"strings"
	"unicode/utf8"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
)

// idField is the name that MongoDB gives a document's identity.
const idField = "_id"

// Schema names the collection and the root fields that a key's document has.
// Documents may lack the fields that are not required; a Schema names them all.
// The zero value is not valid: begin with DefaultSchema.
type Schema struct {
	// Collection holds one document per key.
	Collection string

	// Hash is the SHA-256 of the key's text, 64 lower-case hex digits. Required,
	// and under a unique index.
	Hash string
	// Active is the switch, a boolean. Required.
	Active string
	// UserID is whom the key speaks for: a string, ObjectId, UUID or integer.
	// Required.
	UserID string
	// OrgID and ProjectID bind the key; of the same types. Absent or null:
	// unbound.
	OrgID     string
	ProjectID string
	// Name is a string for people. Absent or null: none.
	Name string
	// Scopes is an array of strings. Absent or null: none.
	Scopes string
	// AllowedIPs is an array of addresses and networks. Absent, null or empty:
	// any client.
	AllowedIPs string
	// ExpiresAt is a date. Absent or null: never.
	ExpiresAt string
	// Metadata is an embedded document, passed on as it is. Absent or null: none.
	Metadata string

	// KeyPrefix, CreatedAt, LastUsed and UsageCount decide nothing. Decode does
	// not look at them.
	KeyPrefix  string
	CreatedAt  string
	LastUsed   string
	UsageCount string
}

// DefaultSchema is the layout of the sample data in testdata.
func DefaultSchema() Schema {
	return Schema{
		Collection: "api_keys",
		Hash:       "key_hash",
		Active:     "is_active",
		UserID:     "user_id",
		OrgID:      "org_id",
		ProjectID:  "project_id",
		Name:       "name",
		Scopes:     "scopes",
		AllowedIPs: "allowed_ips",
		ExpiresAt:  "expires_at",
		Metadata:   "metadata",
		KeyPrefix:  "key_prefix",
		CreatedAt:  "created_at",
		LastUsed:   "last_used",
		UsageCount: "usage_count",
	}
}

// Ignorable are the root fields whose updates change no decision, so that a
// change stream may leave out updates of nothing else.
func (s Schema) Ignorable() []string { return []string{s.LastUsed, s.UsageCount} }

// HashValue reads a value of the hash field. False: it is of another type, or
// not 64 lower-case hex digits, and no look-up will ever find its document.
func (s Schema) HashValue(v bson.RawValue) (apikey.Hash, bool) {
	text, ok := stringOf(v)
	if !ok {
		return apikey.Hash{}, false
	}
	hash, err := apikey.HashFromHex(text)
	return hash, err == nil
}

// Validate returns all mistakes in the names, joined, or nil.
func (s Schema) Validate() error {
	mistakes := []error{checkCollection(s.Collection)}
	taken := make(map[string]string)
	for _, f := range s.fields() {
		mistakes = append(mistakes, f.check())
		if first, twice := taken[f.name]; twice && f.name != "" {
			mistakes = append(mistakes, fmt.Errorf("the fields for %s and %s are both called %q: give each its own", first, f.role, f.name))
		}
		taken[f.name] = f.role
	}
	return errors.Join(mistakes...)
}

// field is one name of a Schema and what it is for.
type field struct{ role, name string }

// roleHash is the role whose nested name has its own reason to be refused.
const roleHash = "the hash"

func (s Schema) fields() []field {
	return []field{
		{roleHash, s.Hash},
		{"the active switch", s.Active},
		{"the user id", s.UserID},
		{"the org id", s.OrgID},
		{"the project id", s.ProjectID},
		{"the name", s.Name},
		{"the scopes", s.Scopes},
		{"the allowed IPs", s.AllowedIPs},
		{"the expiry", s.ExpiresAt},
		{"the metadata", s.Metadata},
		{"the key prefix", s.KeyPrefix},
		{"the creation time", s.CreatedAt},
		{"the last use", s.LastUsed},
		{"the usage count", s.UsageCount},
	}
}

// check says why the name cannot be that of a root field.
func (f field) check() error {
	switch {
	case f.name == "":
		return fmt.Errorf("the field for %s has no name", f.role)
	case f.name == idField:
		return fmt.Errorf("the field for %s is %s, which is the document's identity: use a field of its own", f.role, idField)
	case f.role == roleHash && strings.Contains(f.name, "."):
		return fmt.Errorf("the field for the hash is %q, a nested path: updates of a nested field do not name it, so a change would go unseen; use a field of the root", f.name)
	case strings.Contains(f.name, "."):
		return fmt.Errorf("the field for %s is %q, a nested path: use a field of the root", f.role, f.name)
	case strings.HasPrefix(f.name, "$"):
		return fmt.Errorf("the field for %s is %q: a name that starts with $ is an operator", f.role, f.name)
	case strings.ContainsRune(f.name, 0) || !utf8.ValidString(f.name):
		return fmt.Errorf("the field for %s is %q, which MongoDB cannot store", f.role, f.name)
	}
	return nil
}

// reservedPrefix begins the names of collections that keytail makes for itself.
const reservedPrefix = "keytail_"

// checkCollection says why the name cannot be that of a collection of keys.
func checkCollection(name string) error {
	switch {
	case name == "":
		return errors.New("the collection has no name")
	case strings.Contains(name, "$") || strings.ContainsRune(name, 0) || !utf8.ValidString(name):
		return fmt.Errorf("the collection is called %q: MongoDB has no such names", name)
	case strings.HasPrefix(name, "system."):
		return fmt.Errorf("the collection is called %q: system.* is the server's own", name)
	case strings.HasPrefix(name, reservedPrefix):
		return fmt.Errorf("the collection is called %q: %s* is for keytail's own collections", name, reservedPrefix)
	case strings.HasPrefix(name, ".") || strings.HasSuffix(name, "."):
		return fmt.Errorf("the collection is called %q: a name neither starts nor ends with a dot", name)
	}
	return nil
}
