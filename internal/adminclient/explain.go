package adminclient

import (
	"context"
	"net/http"
	"net/url"

	"github.com/keytail/keytail/api"
)

// Requirements describe a request to explain. The zero value requires a valid key
// and nothing else.
type Requirements struct {
	Scopes                     []string
	OrgID, ProjectID           string
	RequireOrg, RequireProject bool
	// IP is the client's address. Empty: unknown.
	IP string
}

// Explanation is the response of Explain.
type Explanation struct {
	api.Explanation
	Response `json:"-"`
}

// Explain asks what the server's instance would answer to a request with a key, and
// why. A userID that is not empty restricts it to that user's keys.
func (c *Client) Explain(ctx context.Context, id, userID string, r Requirements) (*Explanation, error) {
	q := call{method: http.MethodGet, path: keyPath(id) + "/explain", query: userQuery(userID)}
	r.addTo(q.query)
	var e Explanation
	response, err := c.do(ctx, &q, &e)
	if err != nil {
		return nil, err
	}
	if e.Valid != (e.Code == "VALID") || e.Code == "" {
		return nil, errInconsistent
	}
	e.Response = *response
	return &e, nil
}

func (r Requirements) addTo(query url.Values) {
	for _, scope := range r.Scopes {
		query.Add("scope", scope)
	}
	for name, value := range map[string]string{"org_id": r.OrgID, "project_id": r.ProjectID, "ip": r.IP} {
		if value != "" {
			query.Set(name, value)
		}
	}
	for name, required := range map[string]bool{"require_org": r.RequireOrg, "require_project": r.RequireProject} {
		if required {
			query.Set(name, "true")
		}
	}
}
