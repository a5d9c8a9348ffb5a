package routes

import (
	"encoding/json"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/forwardauth"
)

// verify judges the key in the body. An Authorization header is the caller's
// own and is not looked at.
func (p *public) verify(c *gin.Context) {
	ask, err := readQuestion(c)
	if err != nil {
		forwardauth.HideKey(c.Writer.Header(), "")
		writeProblem(c, err.code, err.detail)
		return
	}
	forwardauth.HideKey(c.Writer.Header(), ask.key)
	verdict := forwardauth.Trusted(p.validator.Validate(c.Request.Context(), ask.key, &ask.request))
	if verdict.Problem == apikey.RevisionAhead {
		writeProblem(c, api.CodeBadRequest, "min_revision is ahead of the database, so no answer can have had it as its revision")
		return
	}
	if status := verifyStatus(verdict.Code); status != http.StatusOK {
		writeVerdictProblem(c, status, verdict.Code)
		return
	}
	writeAnswer(c, &verdict)
}

// verifyStatus is verify's status: a refusal is a whole answer, and no error
// (HTTP.md, section 1).
func verifyStatus(code apikey.Code) int {
	switch code {
	case apikey.Unavailable:
		return http.StatusServiceUnavailable
	case apikey.Missing:
		return http.StatusBadRequest
	case apikey.Malformed, apikey.NotFound, apikey.Disabled, apikey.Expired, apikey.Forbidden, apikey.InsufficientPermissions, apikey.Valid:
	}
	return http.StatusOK
}

// writeAnswer answers 200. What cannot be encoded (metadata that is no JSON, a
// bug of whoever read the document) panics, and so becomes a 500 like any bug.
func writeAnswer(c *gin.Context, v *apikey.Verdict) {
	a := api.Verdict{Valid: v.Code == apikey.Valid, Code: v.Code.String(), Source: v.Source.String()}
	if r := v.Record; r != nil && v.Code >= apikey.Disabled {
		a.KeyID = r.KeyID
		// Of a document that cannot be read, the rest is not to be relied on.
		if v.Code != apikey.Forbidden && r.Defect == "" {
			a.Identity = identityOf(r)
		}
	}
	if !v.AsOf.IsZero() {
		ms := forwardauth.StalenessMS(v.Staleness)
		a.AsOf, a.StalenessMS = &api.Timestamp{Time: v.AsOf}, &ms
	}
	if v.Revision != 0 {
		a.Revision = clustertime.Time(v.Revision).String()
	}
	writeJSON(c, http.StatusOK, &a)
}

func identityOf(r *apikey.Record) *api.Identity {
	id := &api.Identity{
		UserID: r.UserID, OrgID: orNull(r.OrgID), ProjectID: orNull(r.ProjectID), Name: r.Name,
		Scopes: r.Scopes, ExpiresAt: api.TimeOrNil(r.ExpiresAt), Metadata: r.Metadata,
	}
	if id.Scopes == nil {
		id.Scopes = []string{}
	}
	if len(id.Metadata) == 0 {
		id.Metadata = json.RawMessage("{}")
	}
	return id
}

// orNull is nil for "".
func orNull(text string) *string {
	if text == "" {
		return nil
	}
	return &text
}
