package routes

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/lifecycle"
)

// keyBody is a key as admins see it. All fields are always there; null means
// unbound, never, or not kept.
type keyBody struct {
	ID          string          `json:"id"`
	KeyPrefix   *string         `json:"key_prefix"`
	UserID      string          `json:"user_id"`
	OrgID       *string         `json:"org_id"`
	ProjectID   *string         `json:"project_id"`
	Name        string          `json:"name"`
	Scopes      []string        `json:"scopes"`
	AllowedIPs  []string        `json:"allowed_ips"`
	ExpiresAt   *string         `json:"expires_at"`
	Metadata    json.RawMessage `json:"metadata"`
	IsActive    bool            `json:"is_active"`
	CreatedAt   *string         `json:"created_at"`
	LastUsed    *string         `json:"last_used"`
	UsageCount  *int64          `json:"usage_count"`
	RotatedFrom *string         `json:"rotated_from"`
	// Defect says why the document cannot be read as a key, which is DISABLED then.
	Defect *string `json:"defect"`
}

func keyBodyOf(k *lifecycle.Key) keyBody {
	r := &k.Record
	who := identityOf(r)
	body := keyBody{
		ID: r.KeyID, KeyPrefix: orNull(k.KeyPrefix), UserID: who.UserID, OrgID: who.OrgID, ProjectID: who.ProjectID, Name: who.Name,
		Scopes: who.Scopes, AllowedIPs: []string{}, ExpiresAt: who.ExpiresAt, Metadata: who.Metadata, IsActive: r.Active,
		CreatedAt: timeText(k.CreatedAt), LastUsed: timeText(k.LastUsed), RotatedFrom: orNull(k.RotatedFrom), Defect: orNull(r.Defect),
	}
	for _, network := range r.AllowedIPs {
		body.AllowedIPs = append(body.AllowedIPs, apikey.NetworkText(network))
	}
	if k.UsageCount >= 0 {
		body.UsageCount = &k.UsageCount
	}
	return body
}

// timeText is nil for the zero time.
func timeText(at time.Time) *string {
	if at.IsZero() {
		return nil
	}
	text := expiryText(at)
	return &text
}

// writtenBody is the answer of a write.
type writtenBody struct {
	keyBody
	// Key is the secret of a new key, shown this once.
	Key string `json:"key,omitempty"`
	// PreviousExpiresAt is when the key ends that a rotation replaces.
	PreviousExpiresAt *string `json:"previous_expires_at,omitempty"`
	Revision          *string `json:"revision"`
	*receiptBody
}

// entryBody is a line of the audit.
type entryBody struct {
	ID        string  `json:"id"`
	At        string  `json:"at"`
	Actor     string  `json:"actor"`
	Action    string  `json:"action"`
	KeyID     string  `json:"key_id"`
	NewKeyID  *string `json:"new_key_id"`
	UserID    string  `json:"user_id"`
	RequestID string  `json:"request_id"`
	// Before and After have the fields that changed. Null: there was no key, or
	// there is none any more.
	Before json.RawMessage `json:"before"`
	After  json.RawMessage `json:"after"`
}

func entryBodyOf(e *lifecycle.Entry) entryBody {
	return entryBody{
		ID: e.ID, At: e.At.UTC().Format(millis), Actor: e.Actor, Action: e.Action, KeyID: e.KeyID, NewKeyID: orNull(e.NewKeyID),
		UserID: e.UserID, RequestID: e.RequestID, Before: e.Before, After: e.After,
	}
}

// etag is a strong entity tag.
func etag(k *lifecycle.Key) string { return `"` + k.Digest + `"` }

// keyPath is the path of a key, in which its id is one segment whatever it holds.
func keyPath(id string) string { return pathKeys + "/" + url.PathEscape(id) }

// keyDetail is the text for the caller. Errors of the database, which may say
// anything, are not for him.
func keyDetail(err, kind error) string {
	switch {
	case errors.Is(kind, lifecycle.ErrUnavailable):
		return kind.Error()
	case errors.Is(kind, lifecycle.ErrRefused):
		return "the database does not let keytail do this: its log says which privilege is missing"
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

// writeUnknown answers without Retry-After: whoever asks again by himself might
// write twice.
func writeUnknown(c *gin.Context, unknown *lifecycle.UnknownError) {
	body := struct {
		forwardauth.Problem
		KeyID string `json:"key_id"`
	}{forwardauth.NewProblem(http.StatusServiceUnavailable, string(codeOutcomeUnknown), unknown.Error()), unknown.KeyID}
	text, err := json.Marshal(&body)
	if err != nil {
		panic(err)
	}
	c.Data(http.StatusServiceUnavailable, forwardauth.ContentType, text)
	c.Abort()
}
