package routes

import (
	"crypto/sha256"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/keypages"
	"github.com/keytail/keytail/internal/rights"
	"github.com/keytail/keytail/internal/websession"
)

// The paths to sign in and out, and to which everyone has access.
const (
	pathSignIn  = "/sign-in"
	pathSignOut = "/sign-out"
)

const (
	// sessionIdle and sessionTotal are what a browser that was left open may cost: a
	// break, and a working day. The form to sign in names them.
	sessionIdle, sessionTotal = 30 * time.Minute, 8 * time.Hour
	// maxSigningIn bounds the forms to sign in that are being read, all together and from
	// one client. Whoever sends them has shown nothing yet, and with HTTP/2 could leave as
	// many half-sent as the listener has places for requests: nobody could revoke a key.
	maxSigningIn, maxSigningInPerClient = 4, 2
	// sessionsPerCaller bounds the sessions of one token, in as many browsers.
	sessionsPerCaller = 8
)

// newSessions makes the table of those who have signed in: the SHA-256 of their tokens,
// which the file of the tokens must still have at each request.
func newSessions(now func() time.Time) *websession.Table[[sha256.Size]byte] {
	return websession.NewTable[[sha256.Size]byte](websession.Limits{Idle: sessionIdle, Total: sessionTotal, PerOwner: sessionsPerCaller, Now: now})
}

// isOpen reports whether a route is for everyone: without rights, and without secrets.
func isOpen(route string) bool {
	return route == api.PathLive || route == pathAsset || route == pathSignIn || route == pathSignOut
}

// acceptsSession: the API takes tokens and certificates only, so that no cookie can
// change anything there. A password that the browser sends by itself, because its user
// has once typed it, must not keep a session from being used.
func acceptsSession(r *http.Request) bool {
	if strings.HasPrefix(r.URL.EscapedPath(), "/v1/") {
		return false
	}
	values := r.Header["Authorization"]
	return len(values) == 0 || isBasic(r)
}

// isBasic reports whether a request has a password, and nothing else, as authorization.
func isBasic(r *http.Request) bool {
	_, _, basic := r.BasicAuth()
	return basic && len(r.Header["Authorization"]) == 1
}

// signedIn is whose session a request has. False: it has none, its time has ended, or
// the line of its token has. The role and the owner are those that the line has now.
func (a *admin) signedIn(r *http.Request) (who rights.Identity, found bool) {
	id := cookieOf(r, cookieSession)
	if id == "" {
		return who, false
	}
	token, found := a.sessions.Use(id)
	if !found {
		return who, false
	}
	who, err := a.Callers.SignedIn(token)
	if err != nil {
		a.sessions.Remove(id)
	}
	return who, err == nil
}

// signInPage shows the form.
func (a *admin) signInPage(c *gin.Context) {
	a.writeSignIn(c, http.StatusOK, &keypages.SignInData{Next: safeNext(c.Request.URL.Query().Get("next"))})
}

func (a *admin) writeSignIn(c *gin.Context, status int, data *keypages.SignInData) {
	view := a.view(c, "Sign in", data)
	view.Forms = true
	writePage(c, keypages.SignIn, status, view)
}

// signIn begins a session for an admin token. The id is always a new one, so that nobody
// can make a browser use a session that somebody else knows.
func (a *admin) signIn(c *gin.Context) {
	header := c.Writer.Header()
	if err := checkFormOrigin(c.Request); err != nil {
		forwardauth.HideKey(header, "")
		a.noteLogin(c.Request, rights.Identity{}, err)
		a.refuse(c, crossOriginProblem())
		return
	}
	form, problem := a.readSignIn(c)
	if problem != nil {
		forwardauth.HideKey(header, "")
		a.refuse(c, problem)
		return
	}
	token, next := form.Get("token"), safeNext(form.Get("next"))
	forwardauth.HideKey(header, token)
	who, err := a.Callers.Token(token)
	if err != nil {
		a.noteLogin(c.Request, who, err)
		if token != "" {
			a.guesses.wrongToken(c)
		}
		header.Set(forwardauth.HeaderChallenge, adminChallenge)
		a.writeSignIn(c, http.StatusUnauthorized, &keypages.SignInData{Next: next, Problem: signInProblem(err)})
		return
	}
	a.endSession(c)
	setCookie(c, cookieSession, a.sessions.Add(who.Name, sha256.Sum256([]byte(token))), 0)
	a.Logger.Info("signed in to the pages of the admin listener", zap.String("name", who.Name), zap.Stringer("client", sourceOf(c.Request.RemoteAddr)))
	if next == "" {
		next = a.startPage(who)
	}
	c.Redirect(http.StatusSeeOther, next)
}

// readSignIn is readForm, unless as many forms are being read as may be.
func (a *admin) readSignIn(c *gin.Context) (url.Values, *callerError) {
	client := sourceOf(c.Request.RemoteAddr).String()
	if !a.clientsSigningIn.take(client) {
		return nil, tooManySigningIn()
	}
	defer a.clientsSigningIn.release(client)
	if !a.signingIn.take("") {
		return nil, tooManySigningIn()
	}
	defer a.signingIn.release("")
	return readForm(c, "token", "next")
}

func tooManySigningIn() *callerError {
	return &callerError{code: api.CodeTooManyWaiting, detail: "too many others are signing in, try again; a session, a certificate and a token in a header work meanwhile"}
}

func signInProblem(err error) string {
	switch {
	case errors.Is(err, rights.ErrExpired):
		return "This admin token has expired. Ask an administrator for another one."
	case errors.Is(err, rights.ErrAbsent):
		return "The token is missing."
	}
	return "This is not an admin token that keytail knows. It is the text after name= in the file of --admin-token-file, up to the space."
}

// signOut ends the session.
func (a *admin) signOut(c *gin.Context) {
	if checkFormOrigin(c.Request) != nil {
		a.refuse(c, crossOriginProblem())
		return
	}
	a.endSession(c)
	c.Redirect(http.StatusSeeOther, pathSignIn)
}

func (a *admin) endSession(c *gin.Context) {
	if id := cookieOf(c.Request, cookieSession); id != "" {
		a.sessions.Remove(id)
	}
	clearCookie(c, cookieSession)
}

// startPage is where a caller begins: a bound one may not see the status.
func (a *admin) startPage(who rights.Identity) string {
	if checkRight(who, rightFor(http.MethodGet, "/")) != nil && a.Keys != nil {
		return pathKeysPage
	}
	return "/"
}

// safeNext is the page to go to after signing in: a page of this listener with its query,
// or "" for every other text, such as the address of another site.
func safeNext(next string) string {
	address, err := url.Parse(next)
	if err != nil || address.IsAbs() || address.Host != "" || !isPage(address.Path) {
		return ""
	}
	return (&url.URL{Path: address.Path, RawQuery: address.RawQuery}).String()
}

// signInAddress is that of the form, with a way back to the page of a request.
func signInAddress(r *http.Request) string {
	if r.Method != http.MethodGet && r.Method != http.MethodHead {
		return pathSignIn
	}
	return pathSignIn + "?next=" + url.QueryEscape(r.URL.RequestURI())
}
