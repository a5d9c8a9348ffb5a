package forwardauth

import (
	"encoding/json"
	"net/http"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
)

// QuestionError is a mistake of whoever asks: a proxy's configuration, mostly. Its detail never
// quotes the request.
type QuestionError struct {
	Code   api.ProblemCode
	Detail string
}

func (m *QuestionError) Error() string { return m.Detail }

// badRequest is the QuestionError of most mistakes.
func badRequest(detail string) *QuestionError {
	return &QuestionError{api.CodeBadRequest, detail}
}

// outcomes is the one place that says what a verdict means to a client (HTTP.md,
// section 1).
var outcomes = [apikey.CodeCount]struct {
	status int
	detail string // for people
}{
	apikey.Unavailable:             {http.StatusServiceUnavailable, "the truth about this key cannot be known at the moment, ask again"},
	apikey.Missing:                 {http.StatusUnauthorized, "no API key was sent"},
	apikey.Malformed:               {http.StatusUnauthorized, "what was sent is not one API key"},
	apikey.NotFound:                {http.StatusUnauthorized, "this API key is not known"},
	apikey.Disabled:                {http.StatusUnauthorized, "this API key is disabled"},
	apikey.Expired:                 {http.StatusUnauthorized, "this API key has expired"},
	apikey.Forbidden:               {http.StatusForbidden, "this API key may not be used from this address or for this organisation or project"},
	apikey.InsufficientPermissions: {http.StatusForbidden, "this API key lacks a scope that is needed here"},
	apikey.Valid:                   {http.StatusOK, ""},
}

// Status is what a client whose key has this verdict is answered with.
func Status(code apikey.Code) int { return outcomes[code].status }

// Detail is why, for people. Empty for Valid.
func Detail(code apikey.Code) string { return outcomes[code].detail }

// Body is a problem as JSON.
func Body(status int, code, detail string) []byte {
	// A struct of strings and an int: it cannot fail.
	body, _ := json.Marshal(api.NewProblem(status, code, detail))
	return body
}
