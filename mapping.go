package keytail

import "github.com/keytail/keytail/internal/keystore"

// Mapping says how the documents of the collection are made: the name of the
// root field for each role, and the form of those that have several (README.md,
// "Your collection"). It has the fields of the daemon's --map-* flags.
//
// The zero Mapping is DefaultMapping. In any other one an optional role without a
// name is a role that the collection does not have, so begin with DefaultMapping
// and change what is different. The zero value of a form is its default.
type Mapping struct {
	// Hash is the field of the SHA-256 hash of the key. Required, top-level, under
	// a unique index.
	Hash string
	// HashEncoding: hex, hex-upper, base64, base64-raw, base64url, base64url-raw
	// or binary. Empty: hex.
	HashEncoding string
	// HashAfter: the hash is of what follows this in the key's text, and a key that
	// does not begin with it is MALFORMED. Empty: the hash is of the whole text.
	HashAfter string
	// Active is the field of the switch. Required, except that there is none when
	// ActiveForm is always.
	Active string
	// ActiveForm: boolean, negated, no-date or always. Empty: boolean.
	ActiveForm string
	// UserID is the field that says whom the key speaks for. Required.
	UserID string
	// OrgID and ProjectID are the fields of what the key is bound to. Optional.
	OrgID     string
	ProjectID string
	// Name is the field of the key's name. Optional.
	Name string
	// Scopes is the field of what the key may be used for. Optional: without it
	// each key has Config.DefaultScopes.
	Scopes string
	// ScopesForm: array, or text, separated by spaces. Empty: array.
	ScopesForm string
	// AllowedIPs is the field of the addresses and networks that may use the key.
	// Optional.
	AllowedIPs string
	// ExpiresAt is the field of the time at which the key ends. Optional: without
	// it no key expires.
	ExpiresAt string
	// ExpiresForm: date, unix (seconds) or unix-ms. Empty: date.
	ExpiresForm string
	// Metadata is the field of a document that is passed on. Optional.
	Metadata string
	// KeyPrefix, CreatedAt, LastUsed and UsageCount are fields that decide
	// nothing. Optional. Updates of the last two alone are ignored.
	KeyPrefix  string
	CreatedAt  string
	LastUsed   string
	UsageCount string
	// IDForm is how ids are written by the admin API: string, objectid, uuid or
	// integer. All of them are read. Empty: string.
	IDForm string
}

// DefaultMapping is that of a collection whose documents look like the sample
// keys of --dev.
func DefaultMapping() Mapping {
	s := keystore.DefaultSchema()
	return Mapping{
		Hash:         s.Hash,
		HashEncoding: string(s.HashEncoding),
		HashAfter:    s.HashAfter,
		Active:       s.Active,
		ActiveForm:   string(s.ActiveForm),
		UserID:       s.UserID,
		OrgID:        s.OrgID,
		ProjectID:    s.ProjectID,
		Name:         s.Name,
		Scopes:       s.Scopes,
		ScopesForm:   string(s.ScopesForm),
		AllowedIPs:   s.AllowedIPs,
		ExpiresAt:    s.ExpiresAt,
		ExpiresForm:  string(s.ExpiresForm),
		Metadata:     s.Metadata,
		KeyPrefix:    s.KeyPrefix,
		CreatedAt:    s.CreatedAt,
		LastUsed:     s.LastUsed,
		UsageCount:   s.UsageCount,
		IDForm:       string(s.IDForm),
	}
}

// Schema is the mapping of this collection in the words of the room that reads
// it. Its Validate says everything that is wrong.
func (m Mapping) Schema(collection string, defaultScopes []string) keystore.Schema {
	if m == (Mapping{}) {
		m = DefaultMapping()
	}
	return keystore.Schema{
		Collection:    collection,
		Hash:          m.Hash,
		HashEncoding:  keystore.HashEncoding(m.HashEncoding),
		HashAfter:     m.HashAfter,
		Active:        m.Active,
		ActiveForm:    keystore.ActiveForm(m.ActiveForm),
		UserID:        m.UserID,
		OrgID:         m.OrgID,
		ProjectID:     m.ProjectID,
		Name:          m.Name,
		Scopes:        m.Scopes,
		ScopesForm:    keystore.ScopesForm(m.ScopesForm),
		DefaultScopes: defaultScopes,
		AllowedIPs:    m.AllowedIPs,
		ExpiresAt:     m.ExpiresAt,
		ExpiresForm:   keystore.ExpiresForm(m.ExpiresForm),
		Metadata:      m.Metadata,
		KeyPrefix:     m.KeyPrefix,
		CreatedAt:     m.CreatedAt,
		LastUsed:      m.LastUsed,
		UsageCount:    m.UsageCount,
		IDForm:        keystore.IDForm(m.IDForm),
	}
}
