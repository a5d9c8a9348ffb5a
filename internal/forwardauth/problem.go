package forwardauth

import (
	"encoding/json"
	"net/http"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
)

// QuestionError is a mistake in a question, mostly in the configuration of a
// proxy. Its detail never quotes the request.
type QuestionError struct {
	Code   api.ProblemCode
	Detail string
}

func (m *QuestionError) Error() string { return m.Detail }

// badRequest is the QuestionError of most mistakes.
func badRequest(detail string) *QuestionError {
	return &QuestionError{api.CodeBadRequest, detail}
}

// outcomes is the only place that defines how a verdict is reported to a client
// (docs/http.md#verdicts).
var outcomes = [apikey.CodeCount]struct {
	status int
	detail string // for people
}{
	apikey.Unavailable:             {http.StatusServiceUnavailable, "keytail cannot validate this API key at the moment, try again"},
	apikey.Missing:                 {http.StatusUnauthorized, "no API key was sent"},
	apikey.Malformed:               {http.StatusUnauthorized, "the request does not contain exactly one well-formed API key"},
	apikey.NotFound:                {http.StatusUnauthorized, "this API key is unknown"},
	apikey.Disabled:                {http.StatusUnauthorized, "this API key is disabled"},
	apikey.Expired:                 {http.StatusUnauthorized, "this API key has expired"},
	apikey.Forbidden:               {http.StatusForbidden, "this API key must not be used from this address, or for this organisation or project"},
	apikey.InsufficientPermissions: {http.StatusForbidden, "this API key lacks a required scope"},
	apikey.Valid:                   {http.StatusOK, ""},
}

// Status is the HTTP status of a verdict.
func Status(code apikey.Code) int { return outcomes[code].status }

// Detail is the reason, for people. Empty for Valid.
func Detail(code apikey.Code) string { return outcomes[code].detail }

// Body is a problem as JSON.
func Body(status int, code, detail string) []byte {
	// This struct of strings and an int always marshals.
	body, _ := json.Marshal(api.NewProblem(status, code, detail))
	return body
}
