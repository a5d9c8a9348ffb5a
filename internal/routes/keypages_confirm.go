package routes

import (
	"net/http"
	"net/url"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/keypages"
	"github.com/keytail/keytail/internal/webui"
)

// confirmation is a page that says what a write will do, before it is done.
type confirmation struct {
	title string
	page  *webui.Page
}

var (
	rotation   = confirmation{"Rotate a key", keypages.Rotate}
	revocation = confirmation{"Revoke a key", keypages.Revoke}
)

func (a *admin) rotatePage(c *gin.Context) { a.confirmPage(c, rotation) }
func (a *admin) revokePage(c *gin.Context) { a.confirmPage(c, revocation) }

func (a *admin) confirmPage(c *gin.Context, what confirmation) {
	query, problem := readPageQuery(c, paramID)
	if problem == nil {
		problem = a.confirm(c, what, query, nil)
	}
	if problem != nil {
		a.refuse(c, problem)
	}
}

// confirm shows the key as it is now, and after a try, why that failed. It returns a
// problem if it shows nothing.
func (a *admin) confirm(c *gin.Context, what confirmation, values url.Values, failed *callerError) *callerError {
	id, problem := readPageID(values)
	if problem != nil {
		return problem
	}
	key, err := a.Keys.Get(c.Request.Context(), callerOf(c), id)
	if err != nil {
		return a.keyProblem(c, err)
	}
	data, status := &keypages.ConfirmData{Key: keypages.KeyOf(keyOf(&key), a.Now()), Digest: key.Digest}, http.StatusOK
	if failed != nil {
		data.Problem, status = failed.detail, failed.code.Status()
	}
	view := a.view(c, what.title, data)
	view.Forms = true
	writePage(c, what.page, status, view)
	return nil
}

// failed shows the confirmation again, or the problem alone if the key cannot be read.
func (a *admin) failed(c *gin.Context, what confirmation, form url.Values, problem *callerError) {
	if a.confirm(c, what, form, problem) != nil {
		a.refuse(c, problem)
	}
}

// submitRevoke revokes a key, also one that has changed since it was shown: it must end
// in any case.
func (a *admin) submitRevoke(c *gin.Context) {
	form, problem := readForm(c, paramID)
	var id string
	if problem == nil {
		id, problem = readPageID(form)
	}
	if problem != nil {
		a.refuse(c, problem)
		return
	}
	w, err := a.Keys.Revoke(forWrite(c), callerOf(c), id)
	if err != nil {
		a.failed(c, revocation, form, a.keyProblem(c, err))
		return
	}
	a.written(c, &w, "The key is revoked.")
}

// submitRotate rotates a key that is as it was shown. A form that is sent twice rotates
// once, because the first time changes the key.
func (a *admin) submitRotate(c *gin.Context) {
	form, problem := readForm(c, paramID, "digest", "overlap_seconds")
	var id string
	if problem == nil {
		id, problem = readPageID(form)
	}
	if problem == nil && !form.Has("digest") {
		problem = badRequest("digest is missing: open the page again")
	}
	if problem != nil {
		a.refuse(c, problem)
		return
	}
	overlap, err := parseOverlap(form.Get("overlap_seconds"))
	by := callerOf(c)
	by.IfMatch = []string{form.Get("digest")}
	if err == nil {
		w, failure := a.Keys.Rotate(forWrite(c), by, id, overlap)
		if failure == nil {
			end := "the previous key expires at " + api.Time{Time: w.PreviousExpiresAt}.String()
			a.written(c, &w, "The key was rotated: this is the new one, and "+end+".")
			return
		}
		err = failure
	}
	a.failed(c, rotation, form, a.keyProblem(c, err))
}
