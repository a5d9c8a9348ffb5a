package managedkey

import (
	"encoding/json"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
)

// By is who asks.
type By struct {
	// Actor is the name of the token. RequestID ties the audit to logs.
	Actor, RequestID string
	// Owner narrows the call to one user's keys: another one's is ErrNoSuchKey.
	// Empty: it does not.
	Owner string
	// IfMatch are the digests of which the key must have one, else ErrChanged. Nil:
	// any key will do.
	IfMatch []string
}

// Key is what is shown of a key. It holds no hash and no secret.
type Key struct {
	Record apikey.Record
	// KeyPrefix is the beginning of the key's text. Empty: not kept.
	KeyPrefix string
	// CreatedAt and LastUsed are zero when they are not kept.
	CreatedAt, LastUsed time.Time
	// UsageCount is negative when it is not kept.
	UsageCount int64
	// RotatedFrom is the id of the key that this one replaces. Empty: none.
	RotatedFrom string
	// Digest tells two contents apart.
	Digest string
}

// Written is a key after a write.
type Written struct {
	Key Key
	// Secret is a new key's text, which nobody can learn again. Empty: the key is
	// not new.
	Secret string
	// PreviousExpiresAt is, after a rotation, the end of the key that was replaced.
	PreviousExpiresAt time.Time
	// Revision is a cluster time that is not before the write.
	Revision clustertime.Time
}

// Query says which keys a list has.
type Query struct {
	IncludeInactive bool
	// After is the Next of the page before. Empty: the first page.
	After string
	// Limit is how many keys a page has at most.
	Limit int
}

// Page is a part of a list.
type Page struct {
	Keys []Key
	// Next is where the list goes on. Empty: it does not.
	Next string
}

// AuditQuery says which entries a list of the audit has.
type AuditQuery struct {
	// KeyID narrows it to those about one key. Empty: about all.
	KeyID string
	After string
	Limit int
}

// Entry is a line of the audit.
type Entry struct {
	ID                       string
	At                       time.Time
	Actor, Action, RequestID string
	// KeyID is the key that was written; NewKeyID, of a rotation, the one that was
	// made.
	KeyID, NewKeyID, UserID string
	// Before and After are JSON objects of the fields that changed, by role. Empty:
	// there was nothing, or there is nothing any more.
	Before, After json.RawMessage
}

// AuditPage is a part of the audit.
type AuditPage struct {
	Entries []Entry
	Next    string
}
