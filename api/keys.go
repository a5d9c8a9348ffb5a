package api

import "encoding/json"

// Key is a key as the admin API shows it, without its secret. All fields are
// always present; null means not bound, never, or not stored.
type Key struct {
	ID          string          `json:"id"`
	KeyPrefix   *string         `json:"key_prefix"`
	UserID      string          `json:"user_id"`
	OrgID       *string         `json:"org_id"`
	ProjectID   *string         `json:"project_id"`
	Name        string          `json:"name"`
	Scopes      []string        `json:"scopes"`
	AllowedIPs  []string        `json:"allowed_ips"`
	ExpiresAt   *Time           `json:"expires_at"`
	Metadata    json.RawMessage `json:"metadata"`
	IsActive    bool            `json:"is_active"`
	CreatedAt   *Time           `json:"created_at"`
	LastUsed    *Time           `json:"last_used"`
	UsageCount  *int64          `json:"usage_count"`
	RotatedFrom *string         `json:"rotated_from"`
	// Defect is the reason why the document cannot be read as a key. Such a key
	// is DISABLED.
	Defect *string `json:"defect"`
}

// WrittenKey is the body of a write: the key after it (for a deletion: before
// it).
type WrittenKey struct {
	Key
	// Secret is the text of a new key, which is shown only once.
	Secret string `json:"key,omitempty"`
	// PreviousExpiresAt is when the key that a rotation replaces expires.
	PreviousExpiresAt *Time `json:"previous_expires_at,omitempty"`
	// Revision is null if it is not known.
	Revision *string `json:"revision"`
	// SyncResult is nil unless the request had wait=.
	*SyncResult
}

// KeyList is a page of keys.
type KeyList struct {
	Keys []Key `json:"keys"`
	// NextCursor is null on the last page.
	NextCursor *string `json:"next_cursor"`
}

// RotateRequest is the body of a rotation. For OverlapSeconds, both keys are
// valid.
type RotateRequest struct {
	OverlapSeconds int64 `json:"overlap_seconds"`
}
