package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"strings"

	"github.com/gin-gonic/gin"
)

var authRow = row{
	name:         "auth",
	title:        "forward-auth over HTTP",
	measures:     "GET /v1/auth with a cached key, over keep-alive connections",
	comparedWith: "an empty Gin handler, and a Gin handler that sends the same bytes as keytail",
	goals:        "at least 0.97 times the requests per second of the handler that sends the same bytes, and 0.85 times those of the empty one; p99 latency at most 1.1 times that of each",
	run: func(ctx context.Context, e *env, r *result) error {
		return compareHandlers(ctx, e, r, handlerComparison{
			empty:      ginHandler(http.MethodGet, "/v1/auth", func(c *gin.Context) { c.Status(http.StatusOK) }),
			newRequest: authRequest, goal: 0.85, sameGoal: 0.97, p99Goal: 1.1,
			variants: true,
		})
	},
}

var verifyRow = row{
	name:         "verify",
	title:        "verify over HTTP",
	measures:     "POST /v1/keys/verify with a cached key, over keep-alive connections",
	comparedWith: "an empty Gin handler that decodes and encodes JSON of the same size",
	goals:        "at least 0.85 times the requests per second, and at most 1.2 times the p99 latency",
	run: func(ctx context.Context, e *env, r *result) error {
		empty := ginHandler(http.MethodPost, "/v1/keys/verify", func(c *gin.Context) {
			var body struct {
				Key    string   `json:"key"`
				Scopes []string `json:"scopes"`
				OrgID  string   `json:"org_id"`
			}
			if err := c.ShouldBindJSON(&body); err != nil {
				c.Status(http.StatusBadRequest)
				return
			}
			c.JSON(http.StatusOK, constantResponse)
		})
		return compareHandlers(ctx, e, r, handlerComparison{empty: empty, newRequest: verifyRequest, goal: 0.85, p99Goal: 1.2})
	},
}

// constantResponse has the size of a real response.
var constantResponse = struct {
	Valid       bool            `json:"valid"`
	Code        string          `json:"code"`
	KeyID       string          `json:"key_id"`
	UserID      string          `json:"user_id"`
	OrgID       *string         `json:"org_id"`
	ProjectID   *string         `json:"project_id"`
	Name        string          `json:"name"`
	Scopes      []string        `json:"scopes"`
	ExpiresAt   *string         `json:"expires_at"`
	Metadata    json.RawMessage `json:"metadata"`
	Source      string          `json:"source"`
	AsOf        string          `json:"as_of"`
	StalenessMS int             `json:"staleness_ms"`
	Revision    string          `json:"revision"`
}{
	true, "VALID", "000000000000000000000001", "user-0000001", new("acme"), nil, "continuous integration",
	[]string{"orders:read", "orders:write"},
	nil, json.RawMessage("{}"), "cache", "2026-11-23T20:00:00.120Z", 412, "6923a1c000000003",
}

// authRequest returns a forward-auth request for a key.
func authRequest(address, key string) (*http.Request, error) {
	r, err := http.NewRequest(http.MethodGet, "http://"+address+"/v1/auth?scope=orders:read&org_id=acme", nil) //nolint:noctx // it is only encoded, never sent
	if err != nil {
		return nil, err
	}
	r.Header.Set("Authorization", "Bearer "+key)
	return r, nil
}

// verifyRequest returns a verify request for a key.
func verifyRequest(address, key string) (*http.Request, error) {
	body := fmt.Sprintf(`{"key":%q,"scopes":["orders:read"],"org_id":"acme"}`, key)
	r, err := http.NewRequest(http.MethodPost, "http://"+address+"/v1/keys/verify", strings.NewReader(body)) //nolint:noctx // it is only encoded, never sent
	if err != nil {
		return nil, err
	}
	r.Header.Set("Content-Type", "application/json")
	return r, nil
}
