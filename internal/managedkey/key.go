package managedkey

import (
	"encoding/json"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
)

// Caller is who sends a request.
type Caller struct {
	// Actor is the name of the token. RequestID connects the audit with logs.
	Actor, RequestID string
	// Owner restricts the request to one user's keys: another one is
	// ErrNoSuchKey. Empty: no restriction.
	Owner string
	// IfMatch are digests. The key must have one of them, else ErrChanged. Nil:
	// any key.
	IfMatch []string
}

// Key is what administrators may see of a key. It has no hash and no secret.
type Key struct {
	Record apikey.Record
	// KeyPrefix is the beginning of the key's text. Empty: not stored.
	KeyPrefix string
	// CreatedAt and LastUsed are zero if they are not stored.
	CreatedAt, LastUsed time.Time
	// UsageCount is negative if it is not stored.
	UsageCount int64
	// RotatedFrom is the id of the key that this one replaces. Empty: none.
	RotatedFrom string
	// Digest identifies the content of the document.
	Digest string
}

// Written is a key after a write.
type Written struct {
	Key Key
	// Secret is the text of a new key, which cannot be read again. Empty: the key
	// is not new.
	Secret string
	// PreviousExpiresAt is, after a rotation, when the replaced key expires.
	PreviousExpiresAt time.Time
	// Revision is a cluster time at or after the write.
	Revision clustertime.Time
}

// Query selects keys.
type Query struct {
	IncludeInactive bool
	// After is the Next of the previous page. Empty: the first page.
	After string
	// Limit is the maximum number of keys in the page.
	Limit int
}

// Page is a part of a list of keys.
type Page struct {
	Keys []Key
	// Next is where the next page begins. Empty: this is the last one.
	Next string
}

// AuditQuery selects entries of the audit.
type AuditQuery struct {
	// KeyID restricts it to entries about one key. Empty: all.
	KeyID string
	After string
	Limit int
}

// Entry of the audit.
type Entry struct {
	ID                       string
	At                       time.Time
	Actor, Action, RequestID string
	// KeyID is the key that was written; NewKeyID is the new key of a rotation.
	KeyID, NewKeyID, UserID string
	// Before and After are JSON objects of the fields that changed, by role.
	// Empty: the key did not exist before, or does not exist any more.
	Before, After json.RawMessage
}

// AuditPage is a part of the audit.
type AuditPage struct {
	Entries []Entry
	Next    string
}
