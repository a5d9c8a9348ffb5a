package routes

import (
	"encoding/json"
	"net/http"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/serverspan"
)

// verify validates the key in the body. An Authorization header belongs to the
// caller and is not read here.
func (p *public) verify(c *gin.Context) {
	var began time.Time
	if p.verifyTraces != nil {
		began = time.Now()
	}
	request, err := readVerifyRequest(c)
	if err != nil {
		forwardauth.HideKey(c.Writer.Header(), "")
		writeProblem(c, err.code, err.detail)
		return
	}
	forwardauth.HideKey(c.Writer.Header(), request.key)
	if p.verifyTraces == nil {
		p.answerVerify(c, request)
		return
	}
	// Not by a middleware: the key of the body must be known, so that it is not part of the trace.
	p.verifyTraces.run(c, began, request.key, func() { p.answerVerify(c, request) })
}

// answerVerify answers a request that could be read.
func (p *public) answerVerify(c *gin.Context, request *verifyRequest) {
	verdict := forwardauth.Trusted(p.validator.Validate(c.Request.Context(), request.key, &request.Request))
	if verdict.Problem == apikey.RevisionAhead {
		writeProblem(c, api.CodeBadRequest, "min_revision is ahead of the database: no answer of keytail can have returned it")
		return
	}
	p.decide(c, request.key, &verdict)
	if status := verifyStatus(verdict.Code); status != http.StatusOK {
		writeVerdictProblem(c, status, verdict.Code)
		return
	}
	body := verdictOf(&verdict)
	// Without caller tokens anyone can ask, so the response is as for an end user.
	if p.callers != nil {
		body.Reason = verdict.Reason.String()
	}
	writeJSON(c, http.StatusOK, &body)
}

// decide records a verdict about the key in the body. Nothing that the caller chose may
// have the key in it.
func (p *public) decide(c *gin.Context, key string, verdict *apikey.Verdict) {
	if p.decisions == nil || !p.decisions.Wants(verdict.Code) {
		return
	}
	trace := serverspan.TraceID(c.Request.Context())
	if trace == "" {
		trace = forwardauth.TraceID(c.Request, p.sources)
	}
	if key != "" && strings.Contains(trace, key) {
		trace = ""
	}
	p.decisions.Record(forwardauth.Decision{
		Operation: forwardauth.OperationVerify, RequestID: c.Writer.Header().Get(forwardauth.HeaderRequestID), TraceID: trace, Verdict: *verdict,
	})
}

// verifyStatus is the status of verify: a refusal is a complete response and not
// an error (docs/http.md#verdicts).
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

// verdictOf is the body of status 200, without a reason.
func verdictOf(v *apikey.Verdict) api.Verdict {
	a := api.Verdict{Valid: v.Code == apikey.Valid, Code: v.Code.String(), Source: v.Source.String()}
	if r := v.Record; r != nil && v.Code >= apikey.Disabled {
		a.KeyID = r.KeyID
		// If the document cannot be read, its other fields are not reliable.
		if v.Code != apikey.Forbidden && r.Defect == "" {
			a.Identity = identityOf(r)
		}
	}
	if !v.AsOf.IsZero() {
		ms := apikey.StalenessMS(v.Staleness)
		a.AsOf, a.StalenessMS = &api.Timestamp{Time: v.AsOf}, &ms
	}
	if v.Revision != 0 {
		a.Revision = clustertime.Time(v.Revision).String()
	}
	return a
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
