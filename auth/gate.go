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

// gate is what Gin's and net/http's middleware have in common. Nothing of it
// changes after newGate.
type gate struct {
	settings
	validator Validator
	watches   *revocation.Watches
}

// newGate panics with what is wrong in the program.
func newGate(caller string, validator Validator, opts []Option) *gate {
	settings, err := settingsOf(opts)
	if validator == nil {
		err = errors.Join(errors.New("a validator is needed"), err)
	}
	if err != nil {
		panic(fmt.Sprintf("%s: %v", caller, err))
	}
	g := &gate{settings: settings, validator: validator}
	if hearing, ok := validator.(interface{ Watches() *revocation.Watches }); ok {
		g.watches = hearing.Watches()
	}
	if g.watches == nil {
		if g.cancel || g.cutOnOutage {
			panic(caller + ": WithRevocationCancel and CancelOnOutage need a Validator that hears of changes, and this one has no method Watches() *auth.Watches: one that wraps another gives it that one's")
		}
		// Nobody tells it of changes, and nobody runs it: keys end by their expiry.
		g.watches = revocation.New(revocation.Config{})
	}
	return g
}

// admit decides about a request. One that is let in has a session; one that is not
// has a refusal. header is the answer's.
func (g *gate) admit(header http.Header, r *http.Request) (*session, *Refusal) {
	id := forwardauth.RequestID(r, g.sources)
	header.Set(forwardauth.HeaderRequestID, id)
	text, two := g.key(r)
	cleanse(r.Header, id)
	switch {
	case g.preflight && isPreflight(r):
		return &session{Context: r.Context(), gate: g, preflight: true}, nil
	case two:
		return nil, g.refusal(Malformed, nil)
	}
	s := &session{Context: r.Context(), gate: g, text: func() string { return text }, request: Request{Scopes: g.scopes}}
	if refusal := g.prepare(&s.request, r); refusal != nil {
		return nil, refusal
	}
	return g.judge(s, text)
}

// key is what the request offers as its key.
func (g *gate) key(r *http.Request) (text string, two bool) {
	var query url.Values
	if r.URL.RawQuery != "" && forwardauth.ReadQuery(g.sources) {
		// What cannot be read of it is left out: it is no key.
		query, _ = url.ParseQuery(r.URL.RawQuery)
	}
	return forwardauth.FindKey(g.sources, r, query)
}

// prepare fills in what depends on the request.
func (g *gate) prepare(request *Request, r *http.Request) *Refusal {
	request.IP = forwardauth.ClientIP(r, g.proxies)
	for _, id := range []struct {
		of func(*http.Request) string
		to *string
	}{{g.org, &request.OrgID}, {g.project, &request.ProjectID}} {
		if id.of == nil {
			continue
		}
		*id.to = id.of(r)
		if *id.to != "" && apikey.ValidID(*id.to) != nil {
			return g.refusal(BadRequest, nil)
		}
	}
	return nil
}

// judge asks the validator.
func (g *gate) judge(s *session, text string) (*session, *Refusal) {
	// Before the verdict: what changes from here on is seen by a watch.
	s.mark = g.watches.Begin()
	verdict, err := g.validator.Validate(s.Context, text, s.request)
	code := codeOf(&verdict, err)
	if code != Valid {
		refusal := g.refusal(code, s.request.Scopes)
		refusal.Key, refusal.Err = verdict.Key, err
		return nil, refusal
	}
	s.revision = verdict.Revision
	s.principal = principalOf(&verdict, s)
	return s, nil
}

// codeOf is an outage in place of a verdict that no Validator may give: none at
// all, or a yes about nobody.
func codeOf(verdict *Verdict, err error) Code {
	if err != nil || verdict.Code == "" || verdict.Code == Valid && verdict.Key == nil {
		return Unavailable
	}
	return verdict.Code
}

// isPreflight reports whether a browser asks whether it may ask (Fetch standard,
// CORS-preflight request).
func isPreflight(r *http.Request) bool {
	return r.Method == http.MethodOptions && r.Header.Get("Origin") != "" && r.Header.Get("Access-Control-Request-Method") != ""
}

// identityHeaders are what keytail tells a service behind a proxy. Here nobody
// believes them, whoever sent them.
var identityHeaders = []string{
	forwardauth.HeaderKeyID, forwardauth.HeaderUserID, forwardauth.HeaderOrgID, forwardauth.HeaderProjectID,
	forwardauth.HeaderScopes, forwardauth.HeaderResult, forwardauth.HeaderStaleness,
}

// cleanse gives the request its id, and takes identity headers out of it in every
// spelling: some servers read X_Auth_User_Id as the same header.
func cleanse(header http.Header, id string) {
	for name := range header {
		if len(name) < len("X-Auth-") || name[0]|0x20 != 'x' || name[1] != '-' && name[1] != '_' {
			continue
		}
		plain := strings.ReplaceAll(name, "_", "-")
		for _, identity := range identityHeaders {
			if strings.EqualFold(plain, identity) {
				delete(header, name)
			}
		}
	}
	if values := header[forwardauth.HeaderRequestID]; len(values) != 1 || values[0] != id {
		header.Set(forwardauth.HeaderRequestID, id)
	}
}

// conceal takes the key out of a request.
func (g *gate) conceal(r *http.Request) {
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
