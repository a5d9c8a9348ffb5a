package adminclient

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"
)

// Question is about a key. Only Key is required.
type Question struct {
	Key         string   `json:"key"`
	Scopes      []string `json:"scopes,omitempty"`
	OrgID       string   `json:"org_id,omitempty"`
	ProjectID   string   `json:"project_id,omitempty"`
	IP          string   `json:"ip,omitempty"`
	MinRevision string   `json:"min_revision,omitempty"`
}

// Verdict on a key. Nil and empty: not known, or not for the caller to know.
type Verdict struct {
	Valid       bool            `json:"valid"`
	Code        string          `json:"code"`
	KeyID       string          `json:"key_id"`
	UserID      string          `json:"user_id"`
	OrgID       *string         `json:"org_id"`
	ProjectID   *string         `json:"project_id"`
	Name        string          `json:"name"`
	Scopes      []string        `json:"scopes"`
	ExpiresAt   *time.Time      `json:"expires_at"`
	Metadata    json.RawMessage `json:"metadata"`
	Source      string          `json:"source"`
	AsOf        *time.Time      `json:"as_of"`
	StalenessMS *int64          `json:"staleness_ms"`
	Revision    string          `json:"revision"`
	Answer      `json:"-"`
}

// errTwoWords: a yes that is none is a no (HTTP.md section 1).
var errTwoWords = errors.New("the answer says neither clearly yes nor no, is it keytail's?")

// Verify asks the public listener about a key. A verdict that the answer's status
// tells (UNAVAILABLE, MISSING) is an Error with that Code.
func (c *Client) Verify(ctx context.Context, q Question) (*Verdict, error) {
	var v Verdict
	answer, err := c.do(ctx, &call{method: http.MethodPost, path: pathVerify, body: q}, &v)
	if err != nil {
		return nil, err
	}
	if v.Valid != (v.Code == "VALID") || v.Code == "" {
		return nil, errTwoWords
	}
	v.Answer = *answer
	return &v, nil
}
