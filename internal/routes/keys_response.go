package routes

import (
	"encoding/json"
	"errors"
	"net/http"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/managedkey"
)

func keyOf(k *managedkey.Key) api.Key {
	r := &k.Record
	who := identityOf(r)
	body := api.Key{
		ID: r.KeyID, KeyPrefix: orNull(k.KeyPrefix), UserID: who.UserID, OrgID: who.OrgID, ProjectID: who.ProjectID, Name: who.Name,
		Scopes: who.Scopes, AllowedIPs: []string{}, ExpiresAt: who.ExpiresAt, Metadata: who.Metadata, IsActive: r.Active,
		CreatedAt: api.TimeOrNil(k.CreatedAt), LastUsed: api.TimeOrNil(k.LastUsed), RotatedFrom: orNull(k.RotatedFrom), Defect: orNull(r.Defect),
	}
	for _, network := range r.AllowedIPs {
		body.AllowedIPs = append(body.AllowedIPs, apikey.NetworkText(network))
	}
	if k.UsageCount >= 0 {
		body.UsageCount = &k.UsageCount
	}
	return body
}

func auditEntryOf(e *managedkey.Entry) api.AuditEntry {
	return api.AuditEntry{
		ID: e.ID, At: api.Timestamp{Time: e.At}, Actor: e.Actor, Action: e.Action, Cause: orNull(e.Cause), KeyID: e.KeyID, NewKeyID: orNull(e.NewKeyID),
		UserID: e.UserID, OrgID: orNull(e.OrgID), RequestID: e.RequestID, Source: orNull(e.Source), Count: countOf(e), Query: e.Query,
		Before: e.Before, After: e.After,
	}
}

// countOf is nil for an entry that counts nothing. A list without keys has the count 0.
func countOf(e *managedkey.Entry) *int64 {
	if e.Count == 0 && e.Action != "list" {
		return nil
	}
	return &e.Count
}

// etag is a strong entity tag.
func etag(k *managedkey.Key) string { return `"` + k.Digest + `"` }

// keyPath is the path of a key. The id is one segment, with any content.
func keyPath(id string) string { return api.PathKeys + "/" + url.PathEscape(id) }

// keyDetail is the text for the caller. Errors of the database may contain
// anything, and are not for callers.
func keyDetail(err, kind error) string {
	switch {
	case errors.Is(kind, managedkey.ErrUnavailable), errors.Is(kind, managedkey.ErrInterrupted):
		return kind.Error()
	case errors.Is(kind, managedkey.ErrRefused):
		return "the database user lacks a privilege: the log of keytail names it"
	}
	return strings.ReplaceAll(err.Error(), "\n", "; ")
}

// writeUnknown responds without Retry-After: a client that retries automatically
// might write twice.
func writeUnknown(c *gin.Context, unknown *callerError) {
	problem := api.NewProblem(http.StatusServiceUnavailable, string(unknown.code), unknown.detail)
	problem.KeyID = unknown.keyID
	text, err := json.Marshal(&problem)
	if err != nil {
		panic(err)
	}
	c.Data(http.StatusServiceUnavailable, api.ProblemType, text)
	c.Abort()
}
