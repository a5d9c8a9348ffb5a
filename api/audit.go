package api

import "encoding/json"

// AuditEntry is one entry of the audit: who did what to which key.
type AuditEntry struct {
	ID string    `json:"id"`
	At Timestamp `json:"at"`
	// Actor is the name of the admin token.
	Actor string `json:"actor"`
	// Action is create, update, revoke, rotate or delete.
	Action string `json:"action"`
	// Cause is why a key was revoked: "leaked" (PathRevokeLeaked) or "owner"
	// (PathRevokeKeys). Null: by its id, or another action.
	Cause *string `json:"cause"`
	KeyID string  `json:"key_id"`
	// NewKeyID is the new key of a rotation.
	NewKeyID  *string `json:"new_key_id"`
	UserID    string  `json:"user_id"`
	RequestID string  `json:"request_id"`
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
