package routes

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/forwardauth"
)

// problemCode is the machine-readable part of a problem that is no verdict.
// The names stay clear of the verdicts': a missing path is not NOT_FOUND.
type problemCode string

const (
	codeBadRequest       problemCode = forwardauth.CodeBadRequest
	codeNoSuchPath       problemCode = "NO_SUCH_PATH"
	codeMethodNotAllowed problemCode = "METHOD_NOT_ALLOWED"
	codeBodyTooLarge     problemCode = "BODY_TOO_LARGE"
	codeMediaType        problemCode = "UNSUPPORTED_MEDIA_TYPE"
	codeInternal         problemCode = "INTERNAL_ERROR"
	codeTooMany          problemCode = "TOO_MANY_WAITING"
	codeDatabaseAway     problemCode = "DATABASE_UNAVAILABLE"
	codeShuttingDown     problemCode = "SHUTTING_DOWN"
	codeNoSuchPolicy     problemCode = forwardauth.CodeNoSuchPolicy
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

// callerMistake is a mistake of forward-auth's in this package's words.
func callerMistake(m *forwardauth.QuestionError) *callerError {
	if m == nil {
		return nil
	}
	return &callerError{problemCode(m.Code), m.Detail}
}

// checkScopes checks the scopes that a request needs.
func checkScopes(scopes []string) *callerError { return callerMistake(forwardauth.CheckScopes(scopes)) }

// checkID checks an id that a request names.
func checkID(name, id string) *callerError { return callerMistake(forwardauth.CheckID(name, id)) }

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
	writeProblemBody(c, status, code.String(), forwardauth.Detail(code))
}

func writeProblemBody(c *gin.Context, status int, code, detail string) {
	c.Data(status, forwardauth.ContentType, forwardauth.Body(status, code, detail))
	c.Abort()
}
