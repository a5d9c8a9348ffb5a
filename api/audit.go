package api

import "encoding/json"

// AuditEntry is one entry of the audit: who did what to which key, who has read it, and
// who was refused.
type AuditEntry struct {
	ID string    `json:"id"`
	At Timestamp `json:"at"`
	// Actor is the name of the admin token. Empty: it is not known.
	Actor string `json:"actor"`
	// Action is create, update, revoke, rotate or delete; get, explain or list for a
	// read; login_failed or denied for requests that were refused.
	Action string `json:"action"`
	// Cause is why a key was revoked: "leaked" (PathRevokeLeaked) or "owner"
	// (PathRevokeKeys). Of get it is "text" if the caller had the text of the key. Of
	// login_failed it is wrong, expired or ambiguous, and of denied the operation. Null:
	// another action, or by id.
	Cause *string `json:"cause"`
	// KeyID is empty for an entry that is not about one key.
	KeyID string `json:"key_id"`
	// NewKeyID is the new key of a rotation.
	NewKeyID *string `json:"new_key_id"`
	// UserID and OrgID are the owner of the key, or those that a list was restricted
	// to. Empty and null: none.
	UserID    string  `json:"user_id"`
	OrgID     *string `json:"org_id"`
	RequestID string  `json:"request_id"`
	// Source is the address from which requests were refused: of IPv6 the network.
	// Null: another action, or several addresses.
	Source *string `json:"source"`
	// Count is how many requests were refused since the entry before, or how many keys
	// a list had. Null: another action.
	Count *int64 `json:"count"`
	// Query has the conditions of a list. Null: none.
	Query json.RawMessage `json:"query"`
	// Before and After have the fields that changed. Null: the key did not exist
	// before, or does not exist any more.
	Before json.RawMessage `json:"before"`
	After  json.RawMessage `json:"after"`
}

// AuditList is a page of the audit.
type AuditList struct {
	Entries []AuditEntry `json:"entries"`
	// NextCursor is null on the last page.
	NextCursor *string `json:"next_cursor"`
}
