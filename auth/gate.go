package auth

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/revocation"
)

// gate is what the middleware for Gin and for net/http have in common. It does not
// change after newGate.
type gate struct {
	settings
	validator Validator
	watcher   RevocationWatcher
}

// newGate panics if the validator or the options are invalid; caller is the exported
// function.
func newGate(caller string, validator Validator, opts []Option) *gate {
	settings, err := settingsOf(opts)
	if validator == nil {
		err = errors.Join(errors.New("the Validator is nil"), err)
	}
	if err != nil {
		panic(fmt.Sprintf("%s: %v", caller, err))
	}
	g := &gate{settings: settings, validator: validator, watcher: watcherOf(validator)}
	if g.watcher == nil {
		if g.cancel || g.cancelOnOutage {
			panic(caller + ": CancelOnRevocation and CancelOnOutage need an auth.RevocationWatcher; a Validator that wraps one needs the method Unwrap() auth.Validator")
		}
		g.watcher = expiryWatcher{validator, revocation.New(revocation.Config{})}
	}
	return g
}

// admit decides about a request. It returns a session for one that may go ahead, and
// a refusal otherwise. header is the response's.
func (g *gate) admit(header http.Header, r *http.Request) (*session, *Refusal) {
	id := forwardauth.RequestID(r, g.sources)
	header.Set(forwardauth.HeaderRequestID, id)
	text, ambiguous := g.findKey(r)
	sanitize(r.Header, id)
	switch {
	case g.preflight && isPreflight(r):
		return &session{Context: r.Context(), gate: g, preflight: true}, nil
	case ambiguous:
		return nil, g.refusal(Malformed, nil)
	}
	s := &session{Context: r.Context(), gate: g, key: func() string { return text }, request: Request{
		Scopes: g.scopes, RequireOrg: g.requireOrg, RequireProject: g.requireProject,
	}}
	if refusal := g.complete(&s.request, r); refusal != nil {
		return nil, refusal
	}
	return g.validate(s, text)
}

// findKey returns the text of the request's key. ambiguous: it has two different
// ones.
func (g *gate) findKey(r *http.Request) (text string, ambiguous bool) {
	var query url.Values
	if r.URL.RawQuery != "" && forwardauth.ReadQuery(g.sources) {
		// Parameters that cannot be parsed are left out: none of them is a key.
		query, _ = url.ParseQuery(r.URL.RawQuery)
	}
	return forwardauth.FindKey(g.sources, r, query)
}

// complete sets the fields that depend on the HTTP request.
func (g *gate) complete(request *Request, r *http.Request) *Refusal {
	request.IP = forwardauth.ClientIP(r, g.proxies)
	for _, id := range []struct {
		of       func(*http.Request) string
		named    *string
		required *bool
	}{{g.org, &request.OrgID, &request.RequireOrg}, {g.project, &request.ProjectID, &request.RequireProject}} {
		if id.of == nil {
			continue
		}
		switch named := id.of(r); {
		case named == noPathParam:
			*id.required = true
		case named != "" && apikey.ValidID(named) != nil:
			return g.refusal(BadRequest, nil)
		default:
			*id.named = named
		}
	}
	return nil
}

// validate calls the validator.
func (g *gate) validate(s *session, text string) (*session, *Refusal) {
	// Before the verdict, so that a watch notices every later change.
	s.mark = g.watcher.Mark()
	verdict, err := g.validator.Validate(s.Context, text, s.request)
	code := codeOf(&verdict, err)
	if code != Valid {
		refusal := g.refusal(code, s.request.Scopes)
		refusal.Reason, refusal.Key, refusal.Err = verdict.Reason, verdict.Key, err
		return nil, refusal
	}
	s.revision = verdict.Revision
	s.principal = principalOf(&verdict, s)
	return s, nil
}

// codeOf returns the verdict's code, and Unavailable for verdicts that no Validator
// may return: one without a code, and Valid without a key.
func codeOf(verdict *Verdict, err error) Code {
	if err != nil || verdict.Code == "" || verdict.Code == Valid && verdict.Key == nil {
		return Unavailable
	}
	return verdict.Code
}

// isPreflight reports whether the request is a CORS preflight (Fetch standard,
// CORS-preflight request).
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// identityHeaders are what keytail's forward-auth sends to a service behind a proxy. A
// service with this middleware trusts none of them, from any sender.
var identityHeaders = append(forwardauth.IdentityHeaders(), forwardauth.HeaderResult, forwardauth.HeaderStaleness)

// sanitize sets the request's id, and deletes identity headers in every spelling:
// some servers treat X_Auth_User_Id as the same header.
func sanitize(header http.Header, id string) {
	for name := range header {
		if len(name) < len("X-Auth-") || name[0]|0x20 != 'x' || name[1] != '-' && name[1] != '_' {
			continue
		}
		normalized := strings.ReplaceAll(name, "_", "-")
		for _, identity := range identityHeaders {
			if strings.EqualFold(normalized, identity) {
				delete(header, name)
			}
		}
	}
	if values := header[forwardauth.HeaderRequestID]; len(values) != 1 || values[0] != id {
		header.Set(forwardauth.HeaderRequestID, id)
	}
}

// removeKey removes the key from a request.
func (g *gate) removeKey(r *http.Request) {
	u := *r.URL
	r.URL = &u
	forwardauth.Strip(g.sources, r)
	if path, _, found := strings.Cut(r.RequestURI, "?"); found {
		r.RequestURI = path
		if r.URL.RawQuery != "" {
			r.RequestURI += "?" + r.URL.RawQuery
		}
	}
	for _, name := range forwardauth.QueryNames(g.sources) {
		r.Form.Del(name)
	}
}
