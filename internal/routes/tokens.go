package routes

import (
	"slices"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/forwardauth"
)

// Tokens are caller tokens or admin tokens. Many goroutines call its method at
// once.
type Tokens interface {
	// Name is the name of a token. False: it is unknown. "" means that no token
	// was sent.
	Name(token string) (name string, known bool)
}

// withBearer adds the bearer token to the places whose content must not be
// returned as a request id: it may be a caller token, wherever keys are read
// from.
func withBearer(sources []forwardauth.KeySource) []forwardauth.KeySource {
	bearer := forwardauth.Bearer()
	if slices.Contains(sources, bearer) {
		return sources
	}
	return append(slices.Clone(sources), bearer)
}

// requireCaller lets a request with a caller token pass.
func (p *public) requireCaller(c *gin.Context) { p.callerOf(c) }

// requireNamedCaller also notes the token's name. Verify does without: it would cost an
// allocation.
func (p *public) requireNamedCaller(c *gin.Context) {
	if name := p.callerOf(c); name != "" {
		c.Set(actorKey, name)
	}
}

// callerOf is the name of the request's token. "": callers need none, or the request
// has been refused.
func (p *public) callerOf(c *gin.Context) string {
	if p.callers == nil {
		return ""
	}
	token, ok := singleToken(c.Request.Header["Authorization"])
	var name string
	if ok {
		name, ok = p.callers.Name(token)
	}
	if ok {
		return name
	}
	// The body is not read: a request without a token must not cost work.
	forwardauth.HideKey(c.Writer.Header(), "")
	refuseToken(c, token, p.authority.Challenge(), "send Authorization: Bearer with a caller token (not with the API key)")
	return ""
}

// singleToken is the bearer token of an Authorization header. Two headers are
// refused: a proxy in front may have checked the other one.
func singleToken(values []string) (token string, ok bool) {
	switch len(values) {
	case 0:
		return "", true // Name counts it
	case 1:
		return forwardauth.BearerToken(values[0]), true
	}
	return "", false
}

// refuseToken responds with 401 as in RFC 6750, section 3: without an error if no
// token was sent.
func refuseToken(c *gin.Context, token string, challenge forwardauth.Challenge, detail string) {
	text := string(challenge)
	if token != "" {
		text = challenge.InvalidToken()
	}
	c.Writer.Header().Add(forwardauth.HeaderChallenge, text)
	writeProblem(c, api.CodeUnauthenticated, detail)
}
