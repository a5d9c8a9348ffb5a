package routes

import (
	"context"
	"errors"
	"net/http"

	"github.com/gin-gonic/gin"
	"github.com/tidwall/gjson"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/managedkey"
)

// revokeLeaked revokes the key whose text is in the body. As in verify's body,
// the text is in no error, in no log, and in no request id, which the audit keeps.
func (a *admin) revokeLeaked(c *gin.Context) {
	header := c.Writer.Header()
	q, problem := a.readWriteQuery(c, paramOwner, paramWait, paramTimeout)
	var text string
	if problem == nil {
		text, problem = readLeaked(c)
	}
	if problem != nil {
		forwardauth.HideKey(header, "")
		writeProblem(c, problem.code, problem.detail)
		return
	}
	forwardauth.HideKey(header, text)
	q.by.RequestID = header.Get(forwardauth.HeaderRequestID)
	extendWriteDeadline(c, writeTime+q.timeout+answerTime)
	leaked, err := a.Keys.RevokeLeaked(context.WithoutCancel(c.Request.Context()), q.by, text)
	if err != nil {
		a.writeKeyError(c, err)
		return
	}
	body := api.RevokedLeakedKey{Keys: []api.Key{}, Revoked: leaked.Revoked, Revision: revisionText(leaked.Revision)}
	for i := range leaked.Keys {
		body.Keys = append(body.Keys, keyOf(&leaked.Keys[i]))
	}
	body.SyncResult = a.wait(c.Request.Context(), q, leaked.Revision)
	writeJSON(c, http.StatusOK, &body)
}

func readLeaked(c *gin.Context) (text string, problem *callerError) {
	body, problem := readJSON(c, maxBody, "the body may have at most 16 KiB")
	if problem != nil {
		return "", problem
	}
	problem = walkObject(body, func(name string, value gjson.Result) (problem *callerError) {
		if name != "key" {
			return badRequest("the body may have only the field key")
		}
		text, problem = readString(name, value)
		return problem
	})
	if problem == nil && text == "" {
		problem = badRequest("key is missing: it is the text of the leaked key")
	}
	return text, problem
}

// revokeKeys revokes keys of an owner.
func (a *admin) revokeKeys(c *gin.Context) {
	q, problem := a.readWriteQuery(c, paramWait, paramTimeout)
	dryRun := false
	if problem == nil {
		dryRun, problem = q.readOwner(c)
	}
	if problem != nil {
		writeProblem(c, problem.code, problem.detail)
		return
	}
	extendWriteDeadline(c, writeTime+q.timeout+answerTime)
	page, err := a.Keys.RevokeAll(context.WithoutCancel(c.Request.Context()), q.by, q.keys, dryRun)
	if err != nil {
		a.writeKeyError(c, err)
		return
	}
	body := api.RevokedKeys{
		KeyIDs: append([]string{}, page.KeyIDs...), Failed: []api.FailedKey{}, DryRun: dryRun,
		NextCursor: orNull(page.Next), Revision: revisionText(page.Revision),
	}
	for _, failed := range page.Failed {
		body.Failed = append(body.Failed, a.failedKeyOf(c, failed))
	}
	if page.Revision != 0 {
		body.SyncResult = a.wait(c.Request.Context(), q, page.Revision)
	}
	writeJSON(c, http.StatusOK, &body)
}

// readOwner reads whose keys are revoked into the query.
func (q *adminQuery) readOwner(c *gin.Context) (dryRun bool, problem *callerError) {
	body, problem := readJSON(c, maxKeyBody, "the body may have at most 64 KiB")
	if problem != nil {
		return false, problem
	}
	q.keys.Limit = maxLimit
	problem = walkObject(body, func(name string, value gjson.Result) (problem *callerError) {
		switch name {
		case paramOwner:
			q.by.Owner, problem = readID(name, value)
		case paramOrg:
			q.keys.OrgID, problem = readID(name, value)
		case paramProject:
			q.keys.ProjectID, problem = readID(name, value)
		case "dry_run":
			if dryRun = value.Type == gjson.True; !dryRun && value.Type != gjson.False {
				problem = badRequest("dry_run must be true or false")
			}
		case paramLimit:
			q.keys.Limit, problem = readLimit(value.Raw)
		case paramCursor:
			if q.keys.After, problem = readString(name, value); problem == nil && q.keys.After == "" {
				problem = badRequest("cursor must be the next_cursor of a response, or be omitted")
			}
		default:
			problem = badRequest("the body may have only the fields user_id, org_id, project_id, dry_run, limit and cursor")
		}
		return problem
	})
	return dryRun, problem
}

func (a *admin) failedKeyOf(c *gin.Context, failed managedkey.FailedKey) api.FailedKey {
	for _, known := range keyErrors {
		if errors.Is(failed.Err, known.kind) {
			return api.FailedKey{KeyID: failed.KeyID, Detail: keyDetail(failed.Err, known.kind)}
		}
	}
	a.logFailure(c, failed.Err)
	return api.FailedKey{KeyID: failed.KeyID, Detail: "keytail failed, see its log"}
}
