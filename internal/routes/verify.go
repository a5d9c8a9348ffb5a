package routes

import (
	"encoding/json"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"

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
		writeProblem(c, codeBadRequest, "min_revision is ahead of the database, so no answer can have had it as its revision")
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

// answer is the body of 200. Absent fields are not known or not the caller's to
// know.
type answer struct {
	Valid bool   `json:"valid"`
	Code  string `json:"code"`
	KeyID string `json:"key_id,omitempty"`
	*identity

	Source      string `json:"source,omitempty"`
	AsOf        string `json:"as_of,omitempty"`
	StalenessMS *int64 `json:"staleness_ms,omitempty"`
	Revision    string `json:"revision,omitempty"`
}

// identity is who the key speaks for. All fields are there together; null means
// unbound, or never.
type identity struct {
	UserID    string          `json:"user_id"`
	OrgID     *string         `json:"org_id"`
	ProjectID *string         `json:"project_id"`
	Name      string          `json:"name"`
	Scopes    []string        `json:"scopes"`
	ExpiresAt *string         `json:"expires_at"`
	Metadata  json.RawMessage `json:"metadata"`
}

// writeAnswer answers 200. What cannot be encoded (metadata that is no JSON, a
// bug of whoever read the document) panics, and so becomes a 500 like any bug.
func writeAnswer(c *gin.Context, v *apikey.Verdict) {
	a := answer{Valid: v.Code == apikey.Valid, Code: v.Code.String(), Source: v.Source.String()}
	if r := v.Record; r != nil && v.Code >= apikey.Disabled {
		a.KeyID = r.KeyID
		// Of a document that cannot be read, the rest is not to be relied on.
		if v.Code != apikey.Forbidden && r.Defect == "" {
			a.identity = identityOf(r)
		}
	}
	if !v.AsOf.IsZero() {
		ms := forwardauth.StalenessMS(v.Staleness)
		a.AsOf, a.StalenessMS = v.AsOf.UTC().Format(millis), &ms
	}
	if v.Revision != 0 {
		a.Revision = clustertime.Time(v.Revision).String()
	}
	body, err := json.Marshal(&a)
	if err != nil {
		panic(err)
	}
	c.Data(http.StatusOK, "application/json", body)
}

func identityOf(r *apikey.Record) *identity {
	id := &identity{
		UserID: r.UserID, OrgID: orNull(r.OrgID), ProjectID: orNull(r.ProjectID), Name: r.Name,
		Scopes: r.Scopes, Metadata: r.Metadata,
	}
	if id.Scopes == nil {
		id.Scopes = []string{}
	}
	if len(id.Metadata) == 0 {
		id.Metadata = json.RawMessage("{}")
	}
	if !r.ExpiresAt.IsZero() {
		text := expiryText(r.ExpiresAt)
		id.ExpiresAt = &text
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

// millis is RFC 3339 with exactly three digits, cut off and not rounded: as_of
// must not be later than the truth.
const millis = "2006-01-02T15:04:05.000Z07:00"

// The years that RFC 3339 can write. MongoDB's dates reach far past both.
var (
	firstInstant = time.Date(0, 1, 1, 0, 0, 0, 0, time.UTC)
	lastInstant  = time.Date(9999, 12, 31, 23, 59, 59, 999e6, time.UTC)
)

// expiryText is an expiry in RFC 3339, moved to the nearest instant that it can
// write.
func expiryText(at time.Time) string {
	at = at.UTC()
	if at.Before(firstInstant) {
		at = firstInstant
	}
	if at.After(lastInstant) {
		at = lastInstant
	}
	return at.Format(time.RFC3339Nano)
}
