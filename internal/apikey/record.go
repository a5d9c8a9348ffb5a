package apikey

import (
	"encoding/json"
	"net/netip"
	"time"
)

// DocID is the canonical identity of a document: an opaque byte string. Two _id values have the
// same one exactly when MongoDB treats them as equal. Package keystore makes and reads it; other
// packages only compare it.
type DocID string

// Record is what the database contains about one key, in the form that Decide reads. The hash is not
// part of it: a Record is always found by its hash.
type Record struct {
	// KeyID is the document's _id as text: the name of the key in answers and logs. Never empty.
	KeyID string
	// UserID is the principal that the key authenticates. Empty only when Defect is set.
	UserID string
	// OrgID and ProjectID bind the key: it is valid for no other. Empty: not bound, valid for any.
	OrgID     string
	ProjectID string
	// Name is for people. May be empty.
	Name string
	// Scopes are the key's scopes; "*" and "prefix:*" are wildcards. Empty: none.
	Scopes []string
	// AllowedIPs restricts the client's address, in the form that ParseNetwork makes. Empty: any.
	AllowedIPs []netip.Prefix
	// ExpiresAt is the first instant at which the key is no longer valid. Zero: never.
	ExpiresAt time.Time
	// Metadata is a JSON object that keytail passes on without reading it. Empty: {}.
	Metadata json.RawMessage
	// Active is the document's is_active.
	Active bool
	// Defect is the reason why the document cannot be read as a key, without any of its values.
	// Empty: it can be read. A record with a defect is DISABLED.
	Defect string
	// DefectReason is the text of the Reason for the first defect. Empty without a Defect.
	DefectReason string
}

// Request is what the caller needs the key for.
type Request struct {
	// Scopes that the key must have, all of them. Empty: none is needed.
	Scopes []string
	// OrgID and ProjectID name what the request is for. Empty: not named, so it is for the
	// organisation (project) that the key is bound to.
	OrgID     string
	ProjectID string
	// RequireOrg and RequireProject refuse a bound key if the request does not name what it is for.
	// They have no effect on a key that is not bound.
	RequireOrg     bool
	RequireProject bool
	// IP is the client's address. The zero Addr: unknown. An address with a zone is in no network.
	IP netip.Addr
	// MinRevision is the revision, a cluster time as an integer, that the answer must contain.
	// Zero: any. Decide does not use it.
	MinRevision uint64
}
