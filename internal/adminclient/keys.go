package adminclient

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strconv"
	"time"

	"github.com/keytail/keytail/api"
)

// Fields of a key to write, by their names in the API. A value of nil removes the
// field. A field that is not in the map is not changed.
type Fields map[string]any

// Write has the options of a write. The zero value writes the key of any user and
// does not wait.
type Write struct {
	// UserID restricts the call to that user's keys. Empty: any.
	UserID string
	// Wait is api.ScopeInstance or api.ScopeFleet, and Timeout bounds the wait.
	// Empty: the call does not wait. Zero: the server's own bound.
	Wait    string
	Timeout time.Duration
	// IfMatch is the ETag that the key must have. Empty: any.
	IfMatch string
}

// WrittenKey is a key after a write.
type WrittenKey struct {
	api.WrittenKey
	Response `json:"-"`
}

// errNoSecret: the key exists, and cannot be used.
var errNoSecret = errors.New("the response has no secret, so the new key cannot be used: revoke it and create another one")

// errNoKey: the response is an object without a key.
var errNoKey = errors.New("the response has no key: is the server keytail?")

// Create creates a key.
func (c *Client) Create(ctx context.Context, fields Fields, w Write) (*WrittenKey, error) {
	return c.newKey(ctx, api.PathKeys, fields, w)
}

// Rotate creates a key that replaces another one. Both are valid for the overlap.
func (c *Client) Rotate(ctx context.Context, id string, overlap time.Duration, w Write) (*WrittenKey, error) {
	return c.newKey(ctx, keyPath(id)+"/rotate", api.RotateRequest{OverlapSeconds: int64(overlap / time.Second)}, w)
}

func (c *Client) newKey(ctx context.Context, path string, body any, w Write) (*WrittenKey, error) {
	written, err := c.write(ctx, http.MethodPost, path, body, w)
	if err == nil && written.Secret == "" {
		return written, errNoSecret
	}
	return written, err
}

// Update changes fields of a key.
func (c *Client) Update(ctx context.Context, id string, fields Fields, w Write) (*WrittenKey, error) {
	return c.write(ctx, http.MethodPatch, keyPath(id), fields, w)
}

// Revoke disables a key.
func (c *Client) Revoke(ctx context.Context, id string, w Write) (*WrittenKey, error) {
	return c.write(ctx, http.MethodPost, keyPath(id)+"/revoke", nil, w)
}

// Delete deletes a key.
func (c *Client) Delete(ctx context.Context, id string, w Write) (*WrittenKey, error) {
	return c.write(ctx, http.MethodDelete, keyPath(id), nil, w)
}

func (c *Client) write(ctx context.Context, method, path string, body any, w Write) (*WrittenKey, error) {
	q := call{method: method, path: path, query: userQuery(w.UserID), header: http.Header{}, body: body}
	q.addWait(w)
	if w.IfMatch != "" {
		q.header.Set("If-Match", w.IfMatch)
	}
	var written WrittenKey
	response, err := c.do(ctx, &q, &written)
	if err != nil {
		return nil, err
	}
	written.Response = *response
	if written.ID == "" {
		return nil, &UnknownError{Cause: errNoKey}
	}
	return &written, nil
}

// addWait asks for a write acknowledgement.
func (q *call) addWait(w Write) {
	if w.Wait != "" {
		q.query.Set("wait", w.Wait)
		q.wait = addTimeout(q.query, w.Timeout)
	}
}

// longestWait is the longest time that a server waits without a timeout.
const longestWait = time.Minute

// addTimeout adds the timeout to a query, and returns how long the server may
// wait.
func addTimeout(query url.Values, timeout time.Duration) time.Duration {
	if timeout == 0 {
		return longestWait
	}
	query.Set("timeout", timeout.String())
	return timeout
}

// Key is the response of Get.
type Key struct {
	api.Key
	Response `json:"-"`
}

// Get reads a key.
func (c *Client) Get(ctx context.Context, id, userID string) (*Key, error) {
	var key Key
	response, err := c.do(ctx, &call{method: http.MethodGet, path: keyPath(id), query: userQuery(userID)}, &key)
	if err != nil {
		return nil, err
	}
	if key.ID == "" {
		return nil, errNoKey
	}
	key.Response = *response
	return &key, nil
}

// Query selects a part of a list. Zero values do not restrict it.
type Query struct {
	UserID, OrgID, ProjectID string
	IncludeInactive          bool
	// UnusedFor and ExpiresWithin select keys that were not used for this long, and
	// keys that expire within this time.
	UnusedFor, ExpiresWithin time.Duration
	KeyID, Action            string // of the audit
	Cursor                   string
	Limit                    int
}

func (q Query) values() url.Values {
	values := userQuery(q.UserID)
	if q.IncludeInactive {
		values.Set("include_inactive", "true")
	}
	for name, text := range map[string]string{"org_id": q.OrgID, "project_id": q.ProjectID, "key_id": q.KeyID, "action": q.Action, "cursor": q.Cursor} {
		if text != "" {
			values.Set(name, text)
		}
	}
	for name, d := range map[string]time.Duration{"unused_for": q.UnusedFor, "expires_within": q.ExpiresWithin} {
		if d != 0 {
			values.Set(name, d.String())
		}
	}
	if q.Limit != 0 {
		values.Set("limit", strconv.Itoa(q.Limit))
	}
	return values
}

// Page is a part of a list, each item as it was received, with the fields that
// this version does not know. Next is the cursor of the next page; empty: this is
// the last one.
type Page struct {
	Items []json.RawMessage
	Next  string
}

// List reads keys, newest first.
func (c *Client) List(ctx context.Context, q Query) (*Page, error) {
	return c.page(ctx, api.PathKeys, "keys", q)
}

// Audit reads entries of the audit, newest first.
func (c *Client) Audit(ctx context.Context, q Query) (*Page, error) {
	return c.page(ctx, api.PathAudit, "entries", q)
}

func (c *Client) page(ctx context.Context, path, items string, q Query) (*Page, error) {
	var body map[string]json.RawMessage
	if _, err := c.do(ctx, &call{method: http.MethodGet, path: path, query: q.values()}, &body); err != nil {
		return nil, err
	}
	var page Page
	var next *string
	if json.Unmarshal(body[items], &page.Items) != nil || body["next_cursor"] != nil && json.Unmarshal(body["next_cursor"], &next) != nil {
		return nil, errors.New("the response has no list of " + items + ": is the server keytail?")
	}
	if next != nil {
		page.Next = *next
	}
	return &page, nil
}

// userQuery restricts a call to one user's keys. Empty: it does not.
func userQuery(userID string) url.Values {
	values := url.Values{}
	if userID != "" {
		values.Set("user_id", userID)
	}
	return values
}

// keyPath has the id as one segment, with any content.
func keyPath(id string) string { return api.PathKeys + "/" + url.PathEscape(id) }
