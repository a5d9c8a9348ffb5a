package routes

import (
	"context"
	"maps"
	"net/http"
	"net/url"
	"strings"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/keypages"
	"github.com/keytail/keytail/internal/managedkey"
)

// The paths of the pages about keys. A key's id is in the query: as a segment of the
// path, a browser would resolve an id like ".." itself.
const (
	pathKeysPage   = "/keys"
	pathKeyPage    = pathKeysPage + "/view"
	pathNewKeyPage = pathKeysPage + "/new"
	pathRotatePage = pathKeysPage + "/rotate"
	pathRevokePage = pathKeysPage + "/revoke"
	pathFindPage   = pathKeysPage + "/find"
)

// The parameters of the pages.
const (
	paramID       = "id"
	paramRevision = "revision"
	paramScope    = "scope"
)

// shownAudit is how many entries of the audit the page of a key shows.
const shownAudit = 10

// serveKeyPages serves the pages about keys. They call the same Keys, with the same
// reading of their fields, as the admin API.
func (a *admin) serveKeyPages(engine *gin.Engine) {
	readable(engine, pathKeysPage, a.keysPage)
	readable(engine, pathKeyPage, a.keyPage)
	readable(engine, pathNewKeyPage, a.newKeyPage)
	engine.POST(pathNewKeyPage, a.submitNewKey)
	readable(engine, pathRotatePage, a.rotatePage)
	engine.POST(pathRotatePage, a.submitRotate)
	readable(engine, pathRevokePage, a.revokePage)
	engine.POST(pathRevokePage, a.submitRevoke)
	readable(engine, pathFindPage, a.findPage)
	engine.POST(pathFindPage, a.submitFind)
}

// may is which actions a page offers to its caller: those that it may do, and can, which
// a password from a browser cannot.
func (a *admin) may(c *gin.Context) (may keypages.May) {
	who := whoIs(c)
	allows := func(path string) bool { return checkRight(who, rightFor(http.MethodPost, path)) == nil }
	if isBasic(c.Request) && !c.GetBool(sessionKey) {
		may.SignIn = signInAddress(c.Request)
		return may
	}
	may.Create, may.Rotate, may.Revoke = allows(pathNewKeyPage), allows(pathRotatePage), allows(pathRevokePage)
	return may
}

func boundTo(c *gin.Context) keypages.Owner { return keypages.Owner(whoIs(c).Owner) }

// keysPage is the search.
func (a *admin) keysPage(c *gin.Context) {
	data := &keypages.ListData{May: a.may(c), Bound: boundTo(c)}
	query, problem := readPageQuery(c, paramOwner, paramOrg, paramProject, paramInactive, paramUnused, paramExpires, paramCursor)
	if problem == nil {
		data.Filter = keypages.Filter{
			UserID: query.Get(paramOwner), OrgID: query.Get(paramOrg), ProjectID: query.Get(paramProject),
			UnusedFor: query.Get(paramUnused), ExpiresWithin: query.Get(paramExpires), IncludeInactive: query.Has(paramInactive),
		}
		problem = a.search(c, query, data)
	}
	view, status := a.view(c, "Keys", data), http.StatusOK
	if problem != nil {
		data.Problem, status = problem.detail, problem.code.Status()
		if problem.code == api.CodeDatabaseUnavailable { // a search writes nothing in any case
			data.Problem = databaseAway
		}
	}
	view.Forms = true
	writePage(c, keypages.List, status, view)
}

// databaseAway is what the list of keys says in an outage.
const databaseAway = "MongoDB does not answer, so keys cannot be shown. The page Status says since when, why, and what to do."

func (a *admin) search(c *gin.Context, query url.Values, data *keypages.ListData) *callerError {
	q, problem := parseAdminQuery(c, query, paramOwner, paramOrg, paramProject, paramInactive, paramUnused, paramExpires, paramCursor)
	if problem != nil {
		return problem
	}
	page, err := a.Keys.List(c.Request.Context(), q.by, q.keys)
	if err != nil {
		return a.keyProblem(c, err)
	}
	data.Keys = a.shownKeys(page.Keys)
	if page.Next != "" {
		next := maps.Clone(query)
		next.Set(paramCursor, page.Next)
		data.Next = pathKeysPage + "?" + next.Encode()
	}
	return nil
}

func (a *admin) shownKeys(keys []managedkey.Key) (shown []keypages.Key) {
	for i := range keys {
		shown = append(shown, keypages.KeyOf(keyOf(&keys[i]), a.Now()))
	}
	return shown
}

// keyAddress is that of the page of a key.
func keyAddress(id string) string { return pathKeyPage + "?id=" + url.QueryEscape(id) }

// readPageID is the key that a page is about.
func readPageID(values url.Values) (string, *callerError) {
	if !values.Has(paramID) {
		return "", badRequest("id is missing: it is that of the key")
	}
	return values.Get(paramID), checkID(paramID, values.Get(paramID))
}

// keyPage shows a key, what a request with it gets, and what was done with it.
func (a *admin) keyPage(c *gin.Context) {
	query, problem := readPageQuery(c, paramID, paramRevision, paramScope, paramOrg, paramProject, paramIP)
	var id string
	if problem == nil {
		id, problem = readPageID(query)
	}
	var revision clustertime.Time
	if problem == nil && query.Has(paramRevision) {
		revision, problem = readPageRevision(query.Get(paramRevision))
	}
	if problem != nil {
		a.refuse(c, problem)
		return
	}
	data := &keypages.ShowData{May: a.may(c)}
	done := a.waitForOutcome(c, id, revision, data)
	key, err := a.Keys.Get(c.Request.Context(), callerOf(c), id)
	if err != nil {
		a.refuse(c, a.keyProblem(c, err))
		return
	}
	data.Key = keypages.KeyOf(keyOf(&key), a.Now())
	a.explainOnPage(c, id, query, data)
	a.auditOnPage(c, id, data)
	a.takeOutcome(c, done, data)
	view := a.view(c, "Key "+data.Key.Label(), data)
	view.Forms = true
	writePage(c, keypages.Show, http.StatusOK, view)
}

func readPageRevision(text string) (clustertime.Time, *callerError) {
	var q syncRequest
	problem := q.readParameter(paramRevision, text)
	return q.revision, problem
}

// explainOnPage explains a request with the fields of the query.
func (a *admin) explainOnPage(c *gin.Context, id string, query url.Values, data *keypages.ShowData) {
	data.Request = keypages.Request{Scope: query.Get(paramScope), OrgID: query.Get(paramOrg), ProjectID: query.Get(paramProject), IP: query.Get(paramIP)}
	wanted := maps.Clone(query)
	wanted.Del(paramID)
	wanted.Del(paramRevision)
	if scopes := strings.Fields(query.Get(paramScope)); len(scopes) > 0 {
		wanted[paramScope] = scopes
	} else {
		wanted.Del(paramScope)
	}
	_, request, problem := parseExplainQuery(wanted)
	var explanation api.Explanation
	if problem == nil {
		explanation, problem = a.explanation(c, id, &request)
	}
	if problem != nil {
		data.ExplainProblem = problem.detail
		return
	}
	data.Explanation = &explanation
}

func (a *admin) explanation(c *gin.Context, id string, request *apikey.Request) (api.Explanation, *callerError) {
	found, err := a.Keys.Explain(c.Request.Context(), callerOf(c), id, request)
	if err != nil {
		return api.Explanation{}, a.keyProblem(c, err)
	}
	return explanationOf(&found), nil
}

func (a *admin) auditOnPage(c *gin.Context, id string, data *keypages.ShowData) {
	page, err := a.Keys.Audit(c.Request.Context(), callerOf(c), managedkey.AuditQuery{KeyID: id, Limit: shownAudit})
	if err != nil {
		data.AuditProblem = a.keyProblem(c, err).detail
		return
	}
	for i := range page.Entries {
		data.Audit = append(data.Audit, auditEntryOf(&page.Entries[i]))
	}
}

// applied waits until every instance has applied a revision, for a few seconds.
func (a *admin) applied(c *gin.Context, id string, revision clustertime.Time) *keypages.Applied {
	again := url.Values{paramID: {id}, paramRevision: {revision.String()}}
	result := &keypages.Applied{Again: pathKeyPage + "?" + again.Encode()}
	extendWriteDeadline(c, writeTime+defaultWait+answerTime)
	ctx, cancel := context.WithTimeout(c.Request.Context(), defaultWait)
	defer cancel()
	found, err := a.waitInTurn(ctx, c.GetString(actorKey), revision)
	if err != nil {
		result.Problem = syncProblem(err).detail
		return result
	}
	result.SyncResult = syncResultOf(&found)
	return result
}

// waitInTurn is Syncer.Wait with the limit of one token.
func (a *admin) waitInTurn(ctx context.Context, name string, revision clustertime.Time) (SyncResult, error) {
	if a.waits.limit > 0 {
		if !a.waits.take(name) {
			return SyncResult{}, ErrTooManyWaiting
		}
		defer a.waits.release(name)
	}
	return a.Syncer.Wait(ctx, revision, true)
}
