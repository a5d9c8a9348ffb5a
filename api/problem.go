package api

import "net/http"

// ProblemType is the Content-Type of a Problem.
const ProblemType = "application/problem+json"

// Problem is the body of an error: a problem of RFC 9457 with a code for
// programs.
type Problem struct {
	// Type is always about:blank, which makes Title the phrase of the status.
	Type   string `json:"type"`
	Title  string `json:"title"`
	Status int    `json:"status"`
	// Detail is for people. It never quotes the request.
	Detail string `json:"detail"`
	// Code is the code of a verdict, such as NOT_FOUND, or a ProblemCode.
	Code string `json:"code"`
	// KeyID names the key that a write with CodeOutcomeUnknown was about. Other
	// problems do not have it.
	KeyID string `json:"key_id,omitempty"`
}

// NewProblem makes the problem with this code.
func NewProblem(status int, code, detail string) Problem {
	return Problem{Type: "about:blank", Title: http.StatusText(status), Status: status, Detail: detail, Code: code}
}

// ProblemCode is the code of a problem that is not a verdict. The names differ
// from those of verdicts: a path that does not exist is not NOT_FOUND.
type ProblemCode string

// The codes.
const (
	CodeBadRequest          ProblemCode = "BAD_REQUEST"
	CodeUnauthenticated     ProblemCode = "UNAUTHENTICATED"
	CodeCallerNotAllowed    ProblemCode = "CALLER_NOT_ALLOWED"
	CodeWrongHost           ProblemCode = "WRONG_HOST"
	CodeNotPermitted        ProblemCode = "NOT_PERMITTED"
	CodeNoSuchPath          ProblemCode = "NO_SUCH_PATH"
	CodeNoSuchPolicy        ProblemCode = "NO_SUCH_POLICY"
	CodeMethodNotAllowed    ProblemCode = "METHOD_NOT_ALLOWED"
	CodeBodyTooLarge        ProblemCode = "BODY_TOO_LARGE"
	CodeMediaType           ProblemCode = "UNSUPPORTED_MEDIA_TYPE"
	CodeInternal            ProblemCode = "INTERNAL_ERROR"
	CodeTooManyWaiting      ProblemCode = "TOO_MANY_WAITING"
	CodeShuttingDown        ProblemCode = "SHUTTING_DOWN"
	CodeDatabaseUnavailable ProblemCode = "DATABASE_UNAVAILABLE"
	CodeDatabaseRefuses     ProblemCode = "DATABASE_REFUSES"
	CodeNoSuchKey           ProblemCode = "NO_SUCH_KEY"
	CodeAmbiguousID         ProblemCode = "AMBIGUOUS_ID"
	CodeDuplicateKey        ProblemCode = "DUPLICATE_KEY"
	CodeNotRotatable        ProblemCode = "NOT_ROTATABLE"
	CodeChanged             ProblemCode = "CHANGED_MEANWHILE"
	CodeCannotHold          ProblemCode = "COLLECTION_CANNOT_HOLD"
	CodeOutcomeUnknown      ProblemCode = "OUTCOME_UNKNOWN"
)

// Status is the HTTP status of a code; 500 for one that is not known here.
func (c ProblemCode) Status() int {
	switch c {
	case CodeBadRequest, CodeAmbiguousID:
		return http.StatusBadRequest
	case CodeUnauthenticated:
		return http.StatusUnauthorized
	case CodeCallerNotAllowed:
		return http.StatusForbidden
	case CodeWrongHost:
		return http.StatusMisdirectedRequest
	case CodeNotPermitted:
		return http.StatusForbidden
	case CodeNoSuchPath, CodeNoSuchPolicy, CodeNoSuchKey:
		return http.StatusNotFound
	case CodeMethodNotAllowed:
		return http.StatusMethodNotAllowed
	case CodeBodyTooLarge:
		return http.StatusRequestEntityTooLarge
	case CodeMediaType:
		return http.StatusUnsupportedMediaType
	case CodeDuplicateKey, CodeNotRotatable:
		return http.StatusConflict
	case CodeChanged:
		return http.StatusPreconditionFailed
	case CodeCannotHold:
		return http.StatusUnprocessableEntity
	case CodeTooManyWaiting, CodeShuttingDown, CodeDatabaseUnavailable, CodeDatabaseRefuses, CodeOutcomeUnknown:
		return http.StatusServiceUnavailable
	case CodeInternal:
	}
	return http.StatusInternalServerError
}
