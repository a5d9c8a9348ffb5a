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
	// Bound is whose keys the token may see and change: another one is
	// ErrNoSuchKey. Zero: all.
	Bound Owner
	// Owner restricts the request to one user's keys, within Bound: another one is
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

// Leaked is what the report of a leaked key has done.
type Leaked struct {
	// Keys are the documents with the key's hash, as they are now: one, where the
	// hash is unique.
	Keys []Key
	// Revoked is how many of them were active until now.
	Revoked int
	// Revision is a cluster time at or after all writes.
	Revision clustertime.Time
}

// RevokedPage is a part of the keys of an owner, which are revoked.
type RevokedPage struct {
	// KeyIDs are the keys that were revoked (in a dry run, that would be).
	KeyIDs []string
	// Failed are keys that could not be revoked, and stay active.
	Failed []FailedKey
	// Next is where the next page begins. Empty: this is the last one.
	Next string
	// Revision is a cluster time at or after all writes, also those of earlier
	// calls. Zero: a dry run.
	Revision clustertime.Time
}

// FailedKey is a key that could not be written, and why.
type FailedKey struct {
	KeyID string
	Err   error
}

// Query selects keys. They must meet all conditions.
type Query struct {
	// OrgID and ProjectID restrict it to the keys of an organisation or project.
	// Empty: all.
	OrgID, ProjectID string
	IncludeInactive  bool
	// UnusedFor restricts it to keys that were created, and not used, for this
	// long. Zero: all.
	UnusedFor time.Duration
	// ExpiresWithin restricts it to keys that are not expired, and will be after
	// this time. Zero: all.
	ExpiresWithin time.Duration
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
	// Action restricts it to entries with this action. Empty: all.
	Action string
	After  string
	Limit  int
}

// Entry of the audit.
type Entry struct {
	ID                       string
	At                       time.Time
	Actor, Action, RequestID string
	// Cause is why a key was revoked, or how it was found, if that was not by its id.
	// Empty: it was.
	Cause string
	// KeyID is the key that was written or read; NewKeyID is the new key of a rotation.
	// Empty: the entry is about no single key.
	KeyID, NewKeyID, UserID, OrgID string
	// Source is the address from which requests came that were refused, and Count is
	// how many. Of a list, Count is how many keys it had.
	Source string
	Count  int64
	// Query is a JSON object of the conditions of a list. Empty: it has none.
	Query json.RawMessage
	// Before and After are JSON objects of the fields that changed, by role.
	// Empty: the key did not exist before, or does not exist any more.
	Before, After json.RawMessage
}

// AuditPage is a part of the audit.
type AuditPage struct {
	Entries []Entry
	Next    string
}
