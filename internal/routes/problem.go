package routes

import (
	"encoding/json"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/internal/apikey"
)

// problemCode is the machine-readable part of a problem that is no verdict.
// The names stay clear of the verdicts': a missing path is not NOT_FOUND.
type problemCode string

const (
	codeBadRequest       problemCode = "BAD_REQUEST"
	codeNoSuchPath       problemCode = "NO_SUCH_PATH"
	codeMethodNotAllowed problemCode = "METHOD_NOT_ALLOWED"
	codeBodyTooLarge     problemCode = "BODY_TOO_LARGE"
	codeMediaType        problemCode = "UNSUPPORTED_MEDIA_TYPE"
	codeInternal         problemCode = "INTERNAL_ERROR"
	codeTooMany          problemCode = "TOO_MANY_WAITING"
	codeDatabaseAway     problemCode = "DATABASE_UNAVAILABLE"
	codeShuttingDown     problemCode = "SHUTTING_DOWN"
	codeNoSuchPolicy     problemCode = "NO_SUCH_POLICY"
	codeUnauthenticated  problemCode = "UNAUTHENTICATED"
	codeNoSuchKey        problemCode = "NO_SUCH_KEY"
	codeAmbiguousID      problemCode = "AMBIGUOUS_ID"
	codeDuplicateKey     problemCode = "DUPLICATE_KEY"
	codeNotRotatable     problemCode = "NOT_ROTATABLE"
	codeChanged          problemCode = "CHANGED_MEANWHILE"
	codeCannotHold       problemCode = "COLLECTION_CANNOT_HOLD"
	codeDatabaseRefuses  problemCode = "DATABASE_REFUSES"
	codeOutcomeUnknown   problemCode = "OUTCOME_UNKNOWN"
)

// status is the one place that maps a problem to its status.
func (code problemCode) status() int {
	switch code {
	case codeBadRequest, codeAmbiguousID:
		return http.StatusBadRequest
	case codeUnauthenticated:
		return http.StatusUnauthorized
	case codeNoSuchPath, codeNoSuchPolicy, codeNoSuchKey:
		return http.StatusNotFound
	case codeMethodNotAllowed:
		return http.StatusMethodNotAllowed
	case codeBodyTooLarge:
		return http.StatusRequestEntityTooLarge
	case codeMediaType:
		return http.StatusUnsupportedMediaType
	case codeDuplicateKey, codeNotRotatable:
		return http.StatusConflict
	case codeChanged:
		return http.StatusPreconditionFailed
	case codeCannotHold:
		return http.StatusUnprocessableEntity
	case codeTooMany, codeDatabaseAway, codeShuttingDown, codeDatabaseRefuses, codeOutcomeUnknown:
		return http.StatusServiceUnavailable
	case codeInternal:
	}
	return http.StatusInternalServerError
}

// callerError is a mistake in a request. Its detail never quotes the request.
type callerError struct {
	code   problemCode
	detail string
}

func (e *callerError) Error() string { return e.detail }

// badRequest is the callerError of most mistakes.
func badRequest(detail string) *callerError { return &callerError{codeBadRequest, detail} }

// outcome is what a verdict means over HTTP.
type outcome struct {
	verify, auth int    // status codes
	detail       string // for people
}

// outcomes is the one place that maps a verdict to its statuses (HTTP.md,
// section 1).
var outcomes = [apikey.CodeCount]outcome{
	apikey.Unavailable: {
		http.StatusServiceUnavailable, http.StatusServiceUnavailable,
		"the truth about this key cannot be known at the moment, ask again",
	},
	apikey.Missing:   {http.StatusBadRequest, http.StatusUnauthorized, "no API key was sent"},
	apikey.Malformed: {http.StatusOK, http.StatusUnauthorized, "what was sent is not one API key"},
	apikey.NotFound:  {http.StatusOK, http.StatusUnauthorized, "this API key is not known"},
	apikey.Disabled:  {http.StatusOK, http.StatusUnauthorized, "this API key is disabled"},
	apikey.Expired:   {http.StatusOK, http.StatusUnauthorized, "this API key has expired"},
	apikey.Forbidden: {
		http.StatusOK, http.StatusForbidden,
		"this API key may not be used from this address or for this organisation or project",
	},
	apikey.InsufficientPermissions: {
		http.StatusOK, http.StatusForbidden,
		"this API key lacks a scope that is needed here",
	},
	apikey.Valid: {http.StatusOK, http.StatusOK, ""},
}

// trusted returns v, or an outage in place of a verdict that no Validator may
// give: a number that is no code, or a yes about nobody.
func trusted(v apikey.Verdict) apikey.Verdict {
	if int(v.Code) >= apikey.CodeCount || v.Code == apikey.Valid && v.Record == nil {
		return apikey.Verdict{}
	}
	return v
}

// problem is RFC 9457's object with our code. The type is about:blank, which
// makes the title the status' own phrase; code tells problems apart.
type problem struct {
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	Detail string `json:"detail"`
	Code   string `json:"code"`
}

// writeProblem answers with a problem that is no verdict.
func writeProblem(c *gin.Context, code problemCode, detail string) {
	if code.status() == http.StatusServiceUnavailable {
		c.Header("Retry-After", "1")
	}
	writeProblemBody(c, code.status(), string(code), detail)
}

// writeVerdictProblem answers a verdict that is an error status.
func writeVerdictProblem(c *gin.Context, status int, code apikey.Code) {
	if status == http.StatusServiceUnavailable {
		c.Header("Retry-After", "1")
	}
	writeProblemBody(c, status, code.String(), outcomes[code].detail)
}

func writeProblemBody(c *gin.Context, status int, code, detail string) {
	// A struct of strings and an int: it cannot fail.
	body, _ := json.Marshal(problem{"about:blank", http.StatusText(status), status, detail, code})
	c.Data(status, "application/problem+json", body)
	c.Abort()
}
