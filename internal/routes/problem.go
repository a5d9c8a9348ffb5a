package routes

import (
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/forwardauth"
)

// callerError is a mistake in a request. Its detail never quotes the request.
type callerError struct {
	code   api.ProblemCode
	detail string
	// keyID is the key to read before another try, if it is not known whether a write
	// took effect. Empty: it is known.
	keyID string
}

func (e *callerError) Error() string { return e.detail }

// badRequest is the callerError of most mistakes.
func badRequest(detail string) *callerError {
	return &callerError{code: api.CodeBadRequest, detail: detail}
}

// toCallerError converts an error of forwardauth. Nil stays nil.
func toCallerError(m *forwardauth.QuestionError) *callerError {
	if m == nil {
		return nil
	}
	return &callerError{code: m.Code, detail: m.Detail}
}

// checkScopes checks the scopes that a request requires.
func checkScopes(scopes []string) *callerError { return toCallerError(forwardauth.CheckScopes(scopes)) }

// checkID checks an id of a request.
func checkID(name, id string) *callerError { return toCallerError(forwardauth.CheckID(name, id)) }

// writeProblem responds with a problem that is not a verdict.
func writeProblem(c *gin.Context, code api.ProblemCode, detail string) {
	if code.Status() == http.StatusServiceUnavailable {
		c.Header("Retry-After", "1")
	}
	writeProblemBody(c, code.Status(), string(code), detail)
}

// writeVerdictProblem responds with a verdict that has an error status.
func writeVerdictProblem(c *gin.Context, status int, code apikey.Code) {
	if status == http.StatusServiceUnavailable {
		c.Header("Retry-After", "1")
	}
	writeProblemBody(c, status, code.String(), forwardauth.Detail(code))
}

func writeProblemBody(c *gin.Context, status int, code, detail string) {
	c.Writer.Header()[headerSniffing] = noSniff // respondAuth has removed it, if it panics
	c.Data(status, api.ProblemType, forwardauth.Body(status, code, detail))
	c.Abort()
}
