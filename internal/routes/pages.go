package routes

import (
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/keypages"
	"github.com/keytail/keytail/internal/webui"
)

// adminChallenge is the challenge of bearer tokens, for which no browser opens a dialog.
const adminChallenge = `Bearer realm="keytail admin"`

// crossOriginProblem is for a request with a session or a certificate, which a browser
// sends for any page.
func crossOriginProblem() *callerError {
	return &callerError{
		code:   api.CodeNotPermitted,
		detail: "a page of another site has sent this request, or the browser does not say which one: it must not change anything",
	}
}

// pagePaths are the paths of pages that need an identity.
var pagePaths = []string{"/", pathKeysPage, pathKeyPage, pathNewKeyPage, pathRotatePage, pathRevokePage, pathFindPage, pathPlayground}

func isPage(path string) bool { return slices.Contains(pagePaths, path) }

// wantsPage reports whether a refusal should be a page: a browser asks for one.
func wantsPage(c *gin.Context) bool {
	return (isPage(c.FullPath()) || isOpen(c.FullPath())) && strings.Contains(c.Request.Header.Get("Accept"), "text/html")
}

// view is the frame of a page with the caller's navigation.
func (a *admin) view(c *gin.Context, title string, data any) *webui.View {
	who := whoIs(c)
	v := &webui.View{Title: title, Data: data, Current: c.FullPath()}
	if who.Name == "" {
		return v
	}
	v.User = who.Name + " (" + who.Role.String() + ")"
	if checkRight(who, rightFor(http.MethodGet, "/")) == nil {
		v.Links = append(v.Links, webui.Link{Path: "/", Text: "Status"})
	}
	if a.Keys != nil {
		v.Links = append(v.Links, webui.Link{Path: pathKeysPage, Text: "Keys"})
	}
	if a.Playground != nil && checkRight(who, rightFor(http.MethodGet, pathPlayground)) == nil {
		v.Links = append(v.Links, webui.Link{Path: pathPlayground, Text: "Playground"})
	}
	if strings.HasPrefix(v.Current, pathKeysPage) {
		v.Current = pathKeysPage
	}
	if c.GetBool(sessionKey) {
		v.SignOut = pathSignOut
	}
	return v
}

// sessionKey is the name in Gin's context of whether the caller has a session.
const sessionKey = "keytail.session"

// writePage answers with a page. A template that fails is a bug.
func writePage(c *gin.Context, page *webui.Page, status int, view *webui.View) {
	if err := page.Write(c.Writer, status, view); err != nil {
		panic(err)
	}
	c.Abort()
}

// refuse answers with a problem, as a page if a browser asks for one.
func (a *admin) refuse(c *gin.Context, problem *callerError) {
	switch {
	case wantsPage(c):
		a.refuseWithPage(c, problem, "")
	case problem.keyID != "":
		writeUnknown(c, problem)
	default:
		writeProblem(c, problem.code, problem.detail)
	}
}

func (a *admin) refuseWithPage(c *gin.Context, problem *callerError, signIn string) {
	status := problem.code.Status()
	data := &keypages.ProblemData{Title: http.StatusText(status), Detail: problem.detail, SignIn: signIn}
	writePage(c, keypages.Problem, status, a.view(c, data.Title, data))
}

// refuseVisitor answers a browser that has not identified its user: it may sign in.
func (a *admin) refuseVisitor(c *gin.Context, detail string) {
	if c.Request.Method == http.MethodGet || c.Request.Method == http.MethodHead {
		c.Redirect(http.StatusSeeOther, signInAddress(c.Request))
		c.Abort()
		return
	}
	c.Writer.Header().Set(forwardauth.HeaderChallenge, adminChallenge)
	a.refuseWithPage(c, &callerError{code: api.CodeUnauthenticated, detail: detail}, pathSignIn)
}

// maxForm is more than the longest fields of a key need.
const maxForm = maxKeyBody

// readForm reads the form of a page completely, or fails. Empty fields are left out:
// browsers send every field.
func readForm(c *gin.Context, allowed ...string) (url.Values, *callerError) {
	if types := c.Request.Header["Content-Type"]; len(types) != 1 || types[0] != "application/x-www-form-urlencoded" {
		return nil, &callerError{code: api.CodeMediaType, detail: "the body must be the form of a page, sent with Content-Type: application/x-www-form-urlencoded"}
	}
	body, problem := readBody(c, maxForm, "the form may have at most 64 KiB")
	if problem != nil {
		return nil, problem
	}
	return parseForm(string(body), "the form", allowed)
}

// readPageQuery is readForm for the query of a page.
func readPageQuery(c *gin.Context, allowed ...string) (url.Values, *callerError) {
	return parseForm(c.Request.URL.RawQuery, "the query", allowed)
}

func parseForm(text, what string, allowed []string) (url.Values, *callerError) {
	values, err := url.ParseQuery(text)
	if err != nil {
		return nil, badRequest(what + " cannot be read")
	}
	for _, name := range slices.Sorted(maps.Keys(values)) { // of two mistakes always the same is named
		all := values[name]
		switch {
		case len(allowed) == 0:
			return nil, badRequest("this page takes no query")
		case !slices.Contains(allowed, name):
			return nil, badRequest(what + " may have only " + strings.Join(allowed, ", "))
		case len(all) != 1:
			return nil, badRequest("a field of " + what + " is repeated")
		case !utf8.ValidString(all[0]):
			return nil, badRequest(name + " is not UTF-8")
		case all[0] == "":
			delete(values, name)
		}
	}
	return values, nil
}
