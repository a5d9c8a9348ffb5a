package forwardauth

import (
	"net/url"
	"slices"

	"github.com/keytail/keytail/internal/apikey"
)

// The query parameters of forward-auth.
const (
	paramScope          = "scope"
	paramOrg            = "org_id"
	paramProject        = "project_id"
	paramRequireOrg     = "require_org"
	paramRequireProject = "require_project"
)

// MaxScopes bounds the work for one request: each required scope is compared with
// each scope of the key.
const MaxScopes = 100

// IsRequirement reports whether a name is that of a requirement: in a query, or in
// Envoy's context_extensions.
func IsRequirement(name string) bool {
	switch name {
	case paramScope, paramOrg, paramProject, paramRequireOrg, paramRequireProject:
		return true
	}
	return false
}

// ParseRequirements reads the requirements of a query that has nothing else.
func ParseRequirements(query url.Values) (apikey.Request, *QuestionError) {
	return parseRequirements(query, nil)
}

// parseRequirements reads forward-auth's query, which the proxy's configuration
// sets. It reads the query completely, or fails: an ignored parameter would be a
// requirement that is not enforced.
func parseRequirements(query url.Values, sources []KeySource) (apikey.Request, *QuestionError) {
	var req apikey.Request
	for name, values := range query {
		var err *QuestionError
		switch name {
		case paramScope:
			req.Scopes, err = values, CheckScopes(values)
		case paramOrg:
			req.OrgID, err = single(name, values)
		case paramProject:
			req.ProjectID, err = single(name, values)
		case paramRequireOrg:
			req.RequireOrg, err = trueOrFalse(name, values)
		case paramRequireProject:
			req.RequireProject, err = trueOrFalse(name, values)
		default:
			if !slices.Contains(sources, KeySource{kind: fromQuery, name: name}) {
				err = badRequest("the query may have only scope (repeated), org_id, project_id, require_org and require_project")
			}
		}
		if err != nil {
			return apikey.Request{}, err
		}
	}
	return req, nil
}

// parseQuery is url.ParseQuery without its errors, which quote the query.
func parseQuery(raw string) (url.Values, *QuestionError) {
	if raw == "" {
		return nil, nil
	}
	query, err := url.ParseQuery(raw)
	if err != nil {
		return nil, badRequest("the query must have the form name=value&name=value with %-escapes")
	}
	return query, nil
}

// single reads an id that must not be repeated.
func single(name string, values []string) (string, *QuestionError) {
	if len(values) != 1 {
		return "", badRequest(name + " must not be repeated")
	}
	return values[0], CheckID(name, values[0])
}

// trueOrFalse reads a value that must not be repeated and has one spelling.
func trueOrFalse(name string, values []string) (bool, *QuestionError) {
	if len(values) != 1 || values[0] != "true" && values[0] != "false" {
		return false, badRequest(name + " must be true or false, and must not be repeated")
	}
	return values[0] == "true", nil
}

// CheckScopes checks the scopes that a request requires. No key may be one: answers and the decision
// log repeat them.
func CheckScopes(scopes []string) *QuestionError {
	if len(scopes) > MaxScopes {
		return badRequest("at most 100 scopes are allowed")
	}
	for _, scope := range scopes {
		if err := apikey.ValidScope(scope); err != nil {
			return badRequest("a scope is not valid (give each scope separately): " + err.Error())
		}
		if apikey.IsGenerated(scope) {
			return badRequest("a scope" + apikey.GeneratedAdvice)
		}
	}
	return nil
}

// CheckID checks an id of a request. No key may be one: answers and the audit repeat it.
func CheckID(name, id string) *QuestionError {
	if err := apikey.ValidID(id); err != nil {
		return badRequest(name + " is not valid: " + err.Error())
	}
	if apikey.IsGenerated(id) {
		return badRequest(name + apikey.GeneratedAdvice)
	}
	return nil
}
