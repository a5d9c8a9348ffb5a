package keytail

import (
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keystore"
)

// HashAlgorithm is how a key's text becomes its hash.
type HashAlgorithm string

// The algorithms.
const (
	HashSHA256 HashAlgorithm = "sha256"
	// HashHMACSHA256 is HMAC-SHA256 (RFC 2104) under Config.HashSecret.
	HashHMACSHA256 HashAlgorithm = "hmac-sha256"
)

// HashEncoding is how the hash of a key is written in its document.
type HashEncoding string

// The encodings of hashes. Raw ones have no padding.
const (
	HashHex          HashEncoding = "hex"
	HashHexUpper     HashEncoding = "hex-upper"
	HashBase64       HashEncoding = "base64"
	HashBase64Raw    HashEncoding = "base64-raw"
	HashBase64URL    HashEncoding = "base64url"
	HashBase64URLRaw HashEncoding = "base64url-raw"
	HashBinary       HashEncoding = "binary"
)

// ActiveForm is what the field means that switches a key off.
type ActiveForm string

const (
	// ActiveBoolean: true while the key may be used.
	ActiveBoolean ActiveForm = "boolean"
	// ActiveNegated: false while the key may be used, as a field "disabled".
	ActiveNegated ActiveForm = "negated"
	// ActiveNoDate: the time of revocation; absent or null while the key may be used.
	ActiveNoDate ActiveForm = "no-date"
	// ActiveAlways: there is no such field.
	ActiveAlways ActiveForm = "always"
)

// ScopesForm is how the scopes of a key are written.
type ScopesForm string

const (
	// ScopesArray is an array of strings.
	ScopesArray ScopesForm = "array"
	// ScopesText is one string, with spaces between the scopes.
	ScopesText ScopesForm = "text"
)

// ExpiresForm is how the expiry of a key is written.
type ExpiresForm string

const (
	// ExpiresDate is a date.
	ExpiresDate ExpiresForm = "date"
	// ExpiresUnix is a number of seconds since 1970.
	ExpiresUnix ExpiresForm = "unix"
	// ExpiresUnixMS is a number of milliseconds since 1970.
	ExpiresUnixMS ExpiresForm = "unix-ms"
)

// IDForm is the type of the ids of a role (users, organisations, projects) where
// keytail writes them. It reads all of these types.
type IDForm string

// The types of ids.
const (
	IDString   IDForm = "string"
	IDObjectID IDForm = "objectid"
	IDUUID     IDForm = "uuid"
	IDInteger  IDForm = "integer"
)

// Mapping defines which top-level field of a key document has which role, and in which form
// (docs/adopt-your-collection.md).
//
// The zero Mapping is DefaultMapping. In any other one, an optional role without a
// name is a role that the collection does not have, so begin with DefaultMapping and
// change what is different. The zero value of a form is its default.
type Mapping struct {
	// Hash is the field of the hash of the key. Required, with a unique index.
	Hash string
	// HashAlgorithm is how the hash was made. Empty: HashSHA256. HashHMACSHA256 needs
	// Config.HashSecret.
	HashAlgorithm HashAlgorithm
	// HashEncoding is how the hash is written. Empty: HashHex.
	HashEncoding HashEncoding
	// HashAfter is the beginning of each key that is not hashed; a key without it is
	// Malformed. Empty: the whole key is hashed.
	HashAfter string
	// Active is the field that switches a key off. Required, except that it must be
	// empty with ActiveAlways.
	Active string
	// ActiveForm is what that field means. Empty: ActiveBoolean, unless the field's
	// name says the opposite (revoked, isDisabled) or no key can be used: then New
	// returns an error, and a form that is not empty is the answer to it.
	ActiveForm ActiveForm
	// UserID is the field of the user that the key belongs to. Required.
	UserID string
	// UserIDForm is the type of its ids where keytail writes them. Empty: IDString.
	UserIDForm IDForm
	// OrgID and ProjectID are the fields of the organisation and the project that the
	// key is bound to. Optional. Their forms are as UserIDForm.
	OrgID         string
	OrgIDForm     IDForm
	ProjectID     string
	ProjectIDForm IDForm
	// Name is the field of the key's name. Optional.
	Name string
	// Scopes is the field of the key's scopes. Optional: without it each key has
	// Config.DefaultScopes.
	Scopes string
	// ScopesForm is how they are written. Empty: ScopesArray.
	ScopesForm ScopesForm
	// AllowedIPs is the field of the addresses and networks that may use the key.
	// Optional.
	AllowedIPs string
	// ExpiresAt is the field of the time at which the key expires. Optional: without
	// it no key expires.
	ExpiresAt string
	// ExpiresForm is how it is written. Empty: ExpiresDate, unless no key can be used:
	// then New returns an error, and a form that is not empty is the answer to it.
	ExpiresForm ExpiresForm
	// Metadata is the field of a document that is passed on. Optional.
	Metadata string
	// KeyPrefix, CreatedAt, LastUsed and UsageCount are fields that decide nothing.
	// Optional. Updates of them alone invalidate no cache entry, as those of fields that
	// are not mapped.
	KeyPrefix  string
	CreatedAt  string
	LastUsed   string
	UsageCount string
}

// DefaultMapping is the mapping of a collection whose documents look like the sample
// keys in testdata.
func DefaultMapping() Mapping {
	s := keystore.DefaultSchema()
	return Mapping{
		Hash:          s.Hash,
		HashAlgorithm: HashAlgorithm(s.HashAlgorithm),
		HashEncoding:  HashEncoding(s.HashEncoding),
		HashAfter:     s.HashAfter,
		Active:        s.Active,
		ActiveForm:    ActiveForm(s.ActiveForm),
		UserID:        s.UserID,
		UserIDForm:    IDForm(s.UserIDForm),
		OrgID:         s.OrgID,
		OrgIDForm:     IDForm(s.OrgIDForm),
		ProjectID:     s.ProjectID,
		ProjectIDForm: IDForm(s.ProjectIDForm),
		Name:          s.Name,
		Scopes:        s.Scopes,
		ScopesForm:    ScopesForm(s.ScopesForm),
		AllowedIPs:    s.AllowedIPs,
		ExpiresAt:     s.ExpiresAt,
		ExpiresForm:   ExpiresForm(s.ExpiresForm),
		Metadata:      s.Metadata,
		KeyPrefix:     s.KeyPrefix,
		CreatedAt:     s.CreatedAt,
		LastUsed:      s.LastUsed,
		UsageCount:    s.UsageCount,
	}
}

// schema is the mapping of this collection for package keystore.
func (m Mapping) schema(collection string, defaultScopes []string) keystore.Schema {
	if m == (Mapping{}) {
		m = DefaultMapping()
	}
	return keystore.Schema{
		Collection:    collection,
		Hash:          m.Hash,
		HashAlgorithm: apikey.HashAlgorithm(m.HashAlgorithm),
		HashEncoding:  keystore.HashEncoding(m.HashEncoding),
		HashAfter:     m.HashAfter,
		Active:        m.Active,
		ActiveForm:    keystore.ActiveForm(m.ActiveForm),
		UserID:        m.UserID,
		UserIDForm:    keystore.IDForm(m.UserIDForm),
		OrgID:         m.OrgID,
		OrgIDForm:     keystore.IDForm(m.OrgIDForm),
		ProjectID:     m.ProjectID,
		ProjectIDForm: keystore.IDForm(m.ProjectIDForm),
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
	}
}
