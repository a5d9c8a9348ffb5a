package routes

import (
	"slices"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/forwardauth"
)

// Tokens knows who may call. Its method is called from many goroutines at once.
type Tokens interface {
	// Name is whose token this is; false: nobody's. "" is no token.
	Name(token string) (name string, known bool)
}

// withBearer are the places whose content must not come back as a request id: a
// caller's token is one of them wherever keys are looked for.
func withBearer(sources []forwardauth.KeySource) []forwardauth.KeySource {
	bearer := forwardauth.Bearer()
	if slices.Contains(sources, bearer) {
		return sources
	}
	return append(slices.Clone(sources), bearer)
}

// wantCaller lets through who has a caller token.
func (p *public) wantCaller(c *gin.Context) {
	if p.callers == nil {
		return
	}
	token, ok := soleToken(c.Request.Header["Authorization"])
	if ok {
		_, ok = p.callers.Name(token)
	}
	if ok {
		return
	}
	// The body is not read: whoever has no token gets no work done.
	forwardauth.HideKey(c.Writer.Header(), "")
	refuseToken(c, token, p.authority.Challenge(), "send Authorization: Bearer with a caller token, which is not the API key")
}

// soleToken is the bearer token of an Authorization header. Two headers are
// refused: whoever stands in front may have looked at the other one.
func soleToken(values []string) (token string, ok bool) {
	switch len(values) {
	case 0:
		return "", true // Name counts it
	case 1:
		return forwardauth.BearerToken(values[0]), true
	}
	return "", false
}

// refuseToken answers 401 as in RFC 6750, section 3: no error when no token was
// sent.
func refuseToken(c *gin.Context, token string, challenge forwardauth.Challenge, detail string) {
	text := string(challenge)
	if token != "" {
		text = challenge.InvalidToken()
	}
	c.Writer.Header().Add(forwardauth.HeaderChallenge, text)
	writeProblem(c, api.CodeUnauthenticated, detail)
}
