package adminclient

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"
)

// The paths that are asked.
const (
	pathKeys      = "/v1/keys"
	pathVerify    = "/v1/keys/verify"
	pathSync      = "/v1/sync"
	pathInstances = "/v1/instances"
	pathAudit     = "/v1/audit"
	pathEvents    = "/v1/events"
)

// Key is what is shown of a key. Nil: unbound, never, or not kept.
type Key struct {
	ID          string          `json:"id"`
	KeyPrefix   *string         `json:"key_prefix"`
	UserID      string          `json:"user_id"`
	OrgID       *string         `json:"org_id"`
	ProjectID   *string         `json:"project_id"`
	Name        string          `json:"name"`
	Scopes      []string        `json:"scopes"`
	AllowedIPs  []string        `json:"allowed_ips"`
	ExpiresAt   *time.Time      `json:"expires_at"`
	Metadata    json.RawMessage `json:"metadata"`
	IsActive    bool            `json:"is_active"`
	CreatedAt   *time.Time      `json:"created_at"`
	LastUsed    *time.Time      `json:"last_used"`
	UsageCount  *int64          `json:"usage_count"`
	RotatedFrom *string         `json:"rotated_from"`
	// Defect says why the document cannot be read as a key.
	Defect *string `json:"defect"`
}

// Fields are what is said of a key, by the names of the API. A value of nil takes
// the field away. What is not in the map is left as it is.
type Fields map[string]any

// Scope is whom a wait is for.
type Scope string

// The scopes. The empty one waits for nobody.
const (
	Instance Scope = "instance"
	Fleet    Scope = "fleet"
)

// Write says how a write is done. The zero value writes any user's key and waits
// for nobody.
type Write struct {
	// UserID narrows the call to that user's keys. Empty: any.
	UserID string
	// Wait and Timeout ask for a receipt. Zero: the server's own time.
	Wait    Scope
	Timeout time.Duration
	// IfMatch is the ETag that the key must have. Empty: any.
	IfMatch string
}

// Written is a key after a write.
type Written struct {
	Key
	// Secret is the text of a new key. Empty: the key is not new.
	Secret            string     `json:"key"`
	PreviousExpiresAt *time.Time `json:"previous_expires_at"`
	Revision          string     `json:"revision"`
	// Receipt is the zero value unless it was asked for.
	Receipt
	Answer `json:"-"`
}

// Receipt says who has processed a revision.
type Receipt struct {
	// Synced is nil when nobody waited.
	Synced *bool `json:"synced"`
	// Instances are those that were waited for, and Missing the ids of those of them
	// that have not got there.
	Instances []InstanceInfo `json:"instances"`
	Missing   []string       `json:"missing"`
}

// errNoSecret: the key is there, and nobody can use it.
var errNoSecret = errors.New("the answer has no key in it, so the new key cannot be used: revoke it, and make another one")

// errNoKey: it is an object, and says nothing.
var errNoKey = errors.New("the answer names no key, is it keytail's?")

// Create makes a key.
func (c *Client) Create(ctx context.Context, fields Fields, w Write) (*Written, error) {
	return c.newKey(ctx, pathKeys, fields, w)
}

// Rotate makes a key in place of another, which is valid for the overlap still.
func (c *Client) Rotate(ctx context.Context, id string, overlap time.Duration, w Write) (*Written, error) {
	return c.newKey(ctx, keyPath(id)+"/rotate", Fields{"overlap_seconds": int64(overlap / time.Second)}, w)
}

func (c *Client) newKey(ctx context.Context, path string, body Fields, w Write) (*Written, error) {
	written, err := c.write(ctx, http.MethodPost, path, body, w)
	if err == nil && written.Secret == "" {
		return written, errNoSecret
	}
	return written, err
}

// Update changes what is said of a key.
func (c *Client) Update(ctx context.Context, id string, fields Fields, w Write) (*Written, error) {
	return c.write(ctx, http.MethodPatch, keyPath(id), fields, w)
}

// Revoke switches a key off.
func (c *Client) Revoke(ctx context.Context, id string, w Write) (*Written, error) {
	return c.write(ctx, http.MethodPost, keyPath(id)+"/revoke", nil, w)
}

// Delete removes a key.
func (c *Client) Delete(ctx context.Context, id string, w Write) (*Written, error) {
	return c.write(ctx, http.MethodDelete, keyPath(id), nil, w)
}

func (c *Client) write(ctx context.Context, method, path string, body Fields, w Write) (*Written, error) {
	q := call{method: method, path: path, query: owner(w.UserID), header: http.Header{}}
	if body != nil {
		q.body = body
	}
	if w.Wait != "" {
		q.query.Set("wait", string(w.Wait))
		q.wait = addTimeout(q.query, w.Timeout)
	}
	if w.IfMatch != "" {
		q.header.Set("If-Match", w.IfMatch)
	}
	var written Written
	answer, err := c.do(ctx, &q, &written)
	if err != nil {
		return nil, err
	}
	written.Answer = *answer
	if written.ID == "" {
		return nil, &UnknownError{Cause: errNoKey}
	}
	return &written, nil
}

// longestWait is what a server may wait without being told.
const longestWait = time.Minute

// addTimeout asks the server to wait, and returns how long it may.
func addTimeout(query url.Values, timeout time.Duration) time.Duration {
	if timeout == 0 {
		return longestWait
	}
	query.Set("timeout", timeout.String())
	return timeout
}

// Found is one key.
type Found struct {
	Key
	Answer `json:"-"`
}

// Get reads a key.
func (c *Client) Get(ctx context.Context, id, userID string) (*Found, error) {
	var found Found
	answer, err := c.do(ctx, &call{method: http.MethodGet, path: keyPath(id), query: owner(userID)}, &found)
	if err != nil {
		return nil, err
	}
	if found.ID == "" {
		return nil, errNoKey
	}
	found.Answer = *answer
	return &found, nil
}

// Query says which part of a list is asked for. Zero values do not narrow it.
type Query struct {
	UserID          string
	IncludeInactive bool
	KeyID           string // of the audit
	Cursor          string
	Limit           int
}

func (q Query) values() url.Values {
	values := owner(q.UserID)
	if q.IncludeInactive {
		values.Set("include_inactive", "true")
	}
	if q.KeyID != "" {
		values.Set("key_id", q.KeyID)
	}
	if q.Cursor != "" {
		values.Set("cursor", q.Cursor)
	}
	if q.Limit != 0 {
		values.Set("limit", strconv.Itoa(q.Limit))
	}
	return values
}

// Page is a part of a list, each item as it came. Next is the cursor of what
// follows; empty: nothing does.
type Page struct {
	Items []json.RawMessage
	Next  string
}

// List reads keys, the newest first.
func (c *Client) List(ctx context.Context, q Query) (*Page, error) {
	return c.page(ctx, pathKeys, "keys", q)
}

// Audit reads lines of the audit, the newest first.
func (c *Client) Audit(ctx context.Context, q Query) (*Page, error) {
	return c.page(ctx, pathAudit, "entries", q)
}

func (c *Client) page(ctx context.Context, path, items string, q Query) (*Page, error) {
	var body map[string]json.RawMessage
	ask := &call{method: http.MethodGet, path: path, query: q.values()}
	if _, err := c.do(ctx, ask, &body); err != nil {
		return nil, err
	}
	var page Page
	var next *string
	if json.Unmarshal(body[items], &page.Items) != nil || body["next_cursor"] != nil && json.Unmarshal(body["next_cursor"], &next) != nil {
		return nil, errors.New("the answer is no list of " + items + ", is it keytail's?")
	}
	if next != nil {
		page.Next = *next
	}
	return &page, nil
}

// Entry is a line of the audit. Before and After have the fields that changed.
type Entry struct {
	ID        string          `json:"id"`
	At        time.Time       `json:"at"`
	Actor     string          `json:"actor"`
	Action    string          `json:"action"`
	KeyID     string          `json:"key_id"`
	NewKeyID  *string         `json:"new_key_id"`
	UserID    string          `json:"user_id"`
	RequestID string          `json:"request_id"`
	Before    json.RawMessage `json:"before"`
	After     json.RawMessage `json:"after"`
}

// owner narrows a call to one user's keys. Empty: it does not.
func owner(userID string) url.Values {
	values := url.Values{}
	if userID != "" {
		values.Set("user_id", userID)
	}
	return values
}

// keyPath has the id as one segment, whatever it holds.
func keyPath(id string) string { return pathKeys + "/" + url.PathEscape(id) }
