package api

import "encoding/json"

// VerifyRequest is the body of a request to PathVerify. Only Key is required.
type VerifyRequest struct {
	Key string `json:"key"`
	// Scopes must all be granted by the key.
	Scopes []string `json:"scopes,omitempty"`
	// OrgID and ProjectID name what the request is for: a key that is bound to
	// others is FORBIDDEN. Empty: the request is for the key's own.
	OrgID     string `json:"org_id,omitempty"`
	ProjectID string `json:"project_id,omitempty"`
	// RequireOrg and RequireProject make a bound key FORBIDDEN if the request does
	// not name what it is for.
	RequireOrg     bool `json:"require_org,omitempty"`
	RequireProject bool `json:"require_project,omitempty"`
	// IP is the client's address, for keys with an allow-list.
	IP string `json:"ip,omitempty"`
	// MinRevision requires an answer that includes all changes up to a revision.
	MinRevision string `json:"min_revision,omitempty"`
}

// Verdict is the body of status 200 of PathVerify. A field that is absent is not
// known, or the caller may not know it.
type Verdict struct {
	Valid bool `json:"valid"`
	// Code is VALID exactly if Valid is true.
	Code string `json:"code"`
	// Reason is which part of the check failed. Only a caller with a caller token
	// gets it.
	Reason string `json:"reason,omitempty"`
	KeyID  string `json:"key_id,omitempty"`
	// Identity is nil if the response has none of its fields.
	*Identity

	Source string `json:"source,omitempty"`
	// AsOf is the time of the data behind the answer, and StalenessMS its age in
	// milliseconds, rounded up.
	AsOf        *Timestamp `json:"as_of,omitempty"`
	StalenessMS *int64     `json:"staleness_ms,omitempty"`
	Revision    string     `json:"revision,omitempty"`
}

// Identity is for whom a key acts. Its fields are present together; null
// means that the key is not bound, or never expires.
type Identity struct {
	UserID    string          `json:"user_id"`
	OrgID     *string         `json:"org_id"`
	ProjectID *string         `json:"project_id"`
	Name      string          `json:"name"`
	Scopes    []string        `json:"scopes"`
	ExpiresAt *Time           `json:"expires_at"`
	Metadata  json.RawMessage `json:"metadata"`
}
