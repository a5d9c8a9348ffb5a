package routes

import (
	"context"
	"encoding/json"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/keypages"
	"github.com/keytail/keytail/internal/managedkey"
	"github.com/keytail/keytail/internal/websession"
)

// outcome is what the page after a write shows once: a form is answered with a redirect,
// so that loading the page again neither repeats the write nor shows the text again.
type outcome struct {
	keyID, secret, text string
	revision            clustertime.Time
}

const (
	// outcomeTime is what a browser may take to follow a redirect.
	outcomeTime = 2 * time.Minute
	// outcomesPerCaller bounds what one caller has not looked at.
	outcomesPerCaller = 8
)

func newOutcomes(now func() time.Time) *websession.Table[outcome] {
	return websession.NewTable[outcome](websession.Limits{Idle: outcomeTime, Total: outcomeTime, PerOwner: outcomesPerCaller, Now: now})
}

// written goes on to the page of a key that was written.
func (a *admin) written(c *gin.Context, w *managedkey.Written, text string) {
	id := w.Key.Record.KeyID
	kept := outcome{keyID: id, secret: w.Secret, text: text, revision: w.Revision}
	setCookie(c, cookieOutcome, a.outcomes.Add(c.GetString(actorKey), kept), outcomeTime)
	c.Redirect(http.StatusSeeOther, keyAddress(id))
}

// waitForOutcome waits until every instance has applied what was written, or a revision
// that the query names. The outcome stays for takeOutcome: its page may never be sent.
func (a *admin) waitForOutcome(c *gin.Context, id string, revision clustertime.Time, data *keypages.ShowData) (taken string) {
	cookie := cookieOf(c.Request, cookieOutcome)
	if kept, found := a.outcomes.Use(cookie); found && kept.keyID == id {
		taken, revision, data.Written = cookie, kept.revision, kept.text
	} else if revision != 0 {
		data.Written = "The change with the revision " + revision.String() + "."
	}
	if data.Written != "" && revision != 0 && a.Syncer != nil {
		data.Applied = a.applied(c, id, revision)
	}
	return taken
}

// takeOutcome shows the text of a new key, if this caller made it, and forgets it. A
// browser that is gone has not seen it.
func (a *admin) takeOutcome(c *gin.Context, id string, data *keypages.ShowData) {
	if id == "" || c.Request.Method != http.MethodGet || c.Request.Context().Err() != nil {
		return
	}
	kept, found := a.outcomes.Take(id, c.GetString(actorKey))
	if found {
		data.Secret = kept.secret
	} else {
		data.Written = ""
	}
	clearCookie(c, cookieOutcome)
}

// newKeyPage shows the form for a new key.
func (a *admin) newKeyPage(c *gin.Context) {
	if _, problem := readPageQuery(c); problem != nil {
		a.refuse(c, problem)
		return
	}
	a.writeNewKeyForm(c, http.StatusOK, &keypages.NewData{Bound: boundTo(c)})
}

func (a *admin) writeNewKeyForm(c *gin.Context, status int, data *keypages.NewData) {
	view := a.view(c, "Create a key", data)
	view.Forms = true
	writePage(c, keypages.New, status, view)
}

// submitNewKey creates a key. A mistake shows the form again, as it was written.
func (a *admin) submitNewKey(c *gin.Context) {
	form, problem := readForm(c, newKeyFields...)
	if problem != nil {
		a.refuse(c, problem)
		return
	}
	var w managedkey.Written
	fields, problem := formFields(form)
	if problem == nil {
		var err error
		if w, err = a.Keys.Create(forWrite(c), callerOf(c), *fields); err != nil {
			problem = a.keyProblem(c, err)
		}
	}
	if problem == nil {
		a.written(c, &w, "The key was created.")
		return
	}
	a.writeNewKeyForm(c, problem.code.Status(), &keypages.NewData{
		Bound: boundTo(c), UserID: form.Get("user_id"), OrgID: form.Get("org_id"), ProjectID: form.Get("project_id"),
		Name: form.Get("name"), Scopes: form.Get("scopes"), AllowedIPs: form.Get("allowed_ips"),
		ExpiresAt: form.Get("expires_at"), Metadata: form.Get("metadata"), Problem: problem.detail, KeyID: problem.keyID,
	})
}

// forWrite lets a write end that a client no longer waits for.
func forWrite(c *gin.Context) context.Context {
	extendWriteDeadline(c, writeTime+answerTime)
	return context.WithoutCancel(c.Request.Context())
}

// formFields reads the fields of a form as those of a JSON body.
func formFields(form url.Values) (*managedkey.Fields, *callerError) {
	var f managedkey.Fields
	for _, name := range slices.Sorted(maps.Keys(form)) {
		value, problem := formJSON(name, form.Get(name))
		if problem == nil {
			problem = readKeyField(&f, name, value)
		}
		if problem != nil {
			return nil, problem
		}
	}
	return &f, nil
}

// formJSON is the value of a form's field as JSON.
func formJSON(name, text string) (value json.RawMessage, problem *callerError) {
	var err error
	switch name {
	case "scopes", "allowed_ips":
		value, err = json.Marshal(strings.Fields(text))
	case "expires_at":
		// An input of the type datetime-local leaves out seconds that are 0.
		const minutes = len("2006-01-02T15:04")
		if len(text) == minutes {
			text += ":00"
		}
		value, err = json.Marshal(text + "Z")
	case "metadata":
		if value = json.RawMessage(strings.TrimSpace(text)); !json.Valid(value) {
			return nil, badRequest("metadata must be a JSON object, such as {\"plan\": \"pro\"}")
		}
	default:
		value, err = json.Marshal(text)
	}
	if err != nil {
		panic(err) // not possible: texts and arrays of texts
	}
	return value, nil
}

// findPage shows the form that finds a key by its text.
func (a *admin) findPage(c *gin.Context) {
	if _, problem := readPageQuery(c); problem != nil {
		a.refuse(c, problem)
		return
	}
	a.writeFind(c, http.StatusOK, &keypages.FindData{})
}

func (a *admin) writeFind(c *gin.Context, status int, data *keypages.FindData) {
	view := a.view(c, "Which key is this?", data)
	view.Forms = true
	writePage(c, keypages.Find, status, view)
}

// submitFind finds a key by its text, which is in no answer, log or request id.
func (a *admin) submitFind(c *gin.Context) {
	form, problem := readForm(c, "key")
	text := strings.TrimSpace(form.Get("key"))
	forwardauth.HideKey(c.Writer.Header(), text) // "" hides any
	if problem == nil && text == "" {
		problem = badRequest("key is missing: it is the text of the key")
	}
	data := &keypages.FindData{}
	if problem == nil {
		found, err := a.Keys.FindByText(c.Request.Context(), callerOf(c), text)
		if err != nil {
			problem = a.keyProblem(c, err)
		}
		data.Keys, data.Found = a.shownKeys(found), err == nil
	}
	if problem == nil {
		a.writeFind(c, http.StatusOK, data)
		return
	}
	data.Problem = problem.detail
	a.writeFind(c, problem.code.Status(), data)
}
