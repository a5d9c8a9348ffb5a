package routes

import (
	"crypto/sha256"
	"crypto/x509"
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/rights"
)

// AdminCallers knows who may use the admin listener. Many goroutines call its methods
// at once. Their errors are those of package rights; an expired token or certificate
// has its identity nevertheless.
type AdminCallers interface {
	// Token is whose token this is. "" means that no token was sent.
	Token(token string) (rights.Identity, error)
	// Certificate is whose certificate this is, which TLS has verified. Nil: the
	// client has none.
	Certificate(certificate *x509.Certificate) (rights.Identity, error)
	// SignedIn is whose token has this SHA-256: a session does not keep the token.
	SignedIn(token [sha256.Size]byte) (rights.Identity, error)
}

// identityKey is the name in Gin's context of the caller's rights.Identity.
const identityKey = "keytail.identity"

// whoIs is the caller of a request that requireAdmin has let pass.
func whoIs(c *gin.Context) rights.Identity {
	who, _ := c.Get(identityKey)
	identity, _ := who.(rights.Identity) // zero, without a role, on /livez
	return identity
}

// requireAdmin lets a request of an admin caller pass. It is identified by a bearer
// token or, for GET and HEAD, by the password of HTTP Basic, which a browser can send;
// without an Authorization header, by its client certificate; and on the pages by the
// cookie of a session. A browser also sends a password, a certificate or a cookie when
// another site triggers the request, so none must be enough for such a request to change
// anything.
func (a *admin) requireAdmin(c *gin.Context) {
	if isOpen(c.FullPath()) {
		return
	}
	who, token, err := a.identify(c)
	if err == nil {
		c.Set(identityKey, who)
		c.Set(actorKey, who.Name)
		return
	}
	a.noteLogin(c.Request, who, err)
	if token != "" {
		a.guesses.wrongToken(c)
	}
	header := c.Writer.Header()
	forwardauth.HideKey(header, "") // the token or key may be in a form that is not read here
	header.Del("Allow")
	switch {
	case errors.Is(err, errCrossOrigin):
		a.refuse(c, crossOriginProblem())
		return
	case wantsPage(c) && token == "":
		a.refuseVisitor(c, "Nobody is signed in, or the session has ended. Sign in, go back to this form, and send it again.")
		return
	}
	header.Add(forwardauth.HeaderChallenge, `Basic realm="keytail admin", charset="UTF-8"`)
	refuseToken(c, token, adminChallenge, refusalDetail(err))
}

func refusalDetail(err error) string {
	switch {
	case errors.Is(err, rights.ErrExpired):
		return "this admin token, or the client certificate, has expired: ask an administrator for another one"
	case errors.Is(err, rights.ErrAmbiguous):
		return "the client certificate has the names of two callers: send an admin token, or use a certificate with one of the names"
	}
	return "this listener requires an admin token: send Authorization: Bearer, or in a browser any user name and the token as password"
}

// identify is who sends a request. An Authorization header decides alone: whoever
// sends a token does not get the rights of a certificate instead. A session goes before a
// password: the browser sends that by itself.
func (a *admin) identify(c *gin.Context) (who rights.Identity, token string, err error) {
	if acceptsSession(c.Request) {
		if who, found := a.signedIn(c.Request); found {
			c.Set(sessionKey, true)
			return who, "", checkFormOrigin(c.Request)
		}
	}
	if len(c.Request.Header["Authorization"]) == 0 {
		who, err = a.Callers.Certificate(certificateOf(c.Request))
		if err == nil {
			if isPage(c.FullPath()) {
				return who, "", checkFormOrigin(c.Request)
			}
			return who, "", checkOrigin(c.Request)
		}
		if !errors.Is(err, rights.ErrAbsent) {
			return who, "", err
		}
	}
	token, ok := adminToken(c.Request)
	if token != "" {
		forwardauth.HideKey(c.Writer.Header(), token)
	}
	if !ok {
		return rights.Identity{}, "", rights.ErrUnknown
	}
	who, err = a.Callers.Token(token)
	return who, token, err
}

// adminToken is the token of a request. False: the request has two.
func adminToken(r *http.Request) (token string, ok bool) {
	token, ok = singleToken(r.Header["Authorization"])
	if !ok || token != "" || r.Method != http.MethodGet && r.Method != http.MethodHead {
		return token, ok
	}
	_, password, _ := r.BasicAuth()
	return password, true
}

// certificateOf is the client's certificate if TLS has verified it. Nil: it has none.
func certificateOf(r *http.Request) *x509.Certificate {
	if r.TLS == nil || len(r.TLS.VerifiedChains) == 0 || len(r.TLS.VerifiedChains[0]) == 0 {
		return nil
	}
	return r.TLS.VerifiedChains[0][0]
}

// errCrossOrigin: a browser sends a certificate for a page of another site.
var errCrossOrigin = errors.New("a cross-origin request")

// checkOrigin refuses what a page of another site lets a browser send, except GET and
// HEAD, which change nothing.
func checkOrigin(r *http.Request) error {
	if http.NewCrossOriginProtection().Check(r) != nil {
		return errCrossOrigin
	}
	return nil
}

// checkFormOrigin is checkOrigin for what only pages of this listener send. The browser
// must say that it is one of them: a browser that says nothing is too old to protect its
// user. A page cannot set these headers (Fetch, "forbidden request-header").
func checkFormOrigin(r *http.Request) error {
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return nil
	}
	if r.Header.Get("Sec-Fetch-Site") == "" && r.Header.Get("Origin") == "" {
		return errCrossOrigin
	}
	return checkOrigin(r)
}
