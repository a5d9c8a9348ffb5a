package api

// RevokeLeakedKeyRequest is the body of PathRevokeLeaked.
type RevokeLeakedKeyRequest struct {
	// Key is the text of the key. It is neither stored nor logged.
	Key string `json:"key"`
}

// RevokedLeakedKey is the response of PathRevokeLeaked.
type RevokedLeakedKey struct {
	// Keys are the keys with this text, as they are now: one, unless the unique
	// index on the hash is missing.
	Keys []Key `json:"keys"`
	// Revoked is how many of them were active until now. 0: the key was revoked
	// already.
	Revoked int `json:"revoked"`
	// Revision is null if it is not known.
	Revision *string `json:"revision"`
	// SyncResult is nil unless the request had wait=.
	*SyncResult
}

// RevokeKeysRequest is the body of PathRevokeKeys. It names at least one of
// UserID, OrgID and ProjectID, and selects keys that have all of those.
type RevokeKeysRequest struct {
	UserID    string `json:"user_id,omitempty"`
	OrgID     string `json:"org_id,omitempty"`
	ProjectID string `json:"project_id,omitempty"`
	// DryRun changes no key.
	DryRun bool `json:"dry_run,omitempty"`
	// Limit is the maximum number of keys of one request. 0: the server's default.
	Limit int `json:"limit,omitempty"`
	// Cursor is the NextCursor of the previous response. Empty: from the newest key.
	Cursor string `json:"cursor,omitempty"`
}

// RevokedKeys is the response of PathRevokeKeys.
type RevokedKeys struct {
	// KeyIDs are the keys that this request has revoked (with DryRun: would
	// revoke). Keys that are off already are not among them.
	KeyIDs []string `json:"key_ids"`
	// Failed are keys that could not be revoked, and stay active.
	Failed []FailedKey `json:"failed"`
	DryRun bool        `json:"dry_run"`
	// NextCursor is null if there are no more keys.
	NextCursor *string `json:"next_cursor"`
	// Revision covers earlier requests, too, even if this one found no key. Null: a
	// dry run.
	Revision *string `json:"revision"`
	// SyncResult is nil unless the request had wait= and was no dry run.
	*SyncResult
}

// FailedKey is a key that could not be revoked, and why.
type FailedKey struct {
	KeyID  string `json:"key_id"`
	Detail string `json:"detail"`
}
