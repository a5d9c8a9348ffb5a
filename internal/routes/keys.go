package routes

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/zap"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/managedkey"
	"github.com/keytail/keytail/internal/serverspan"
)

// The paths of keys and of the audit.
const (
	pathKey     = api.PathKeys + "/:id"
	pathRevoke  = pathKey + "/revoke"
	pathRotate  = pathKey + "/rotate"
	pathExplain = pathKey + "/explain"
)

// writeTime is what a write may take, without its wait.
const writeTime = 20 * time.Second

// Keys manages keys. Many goroutines call its methods concurrently, and each
// bounds its own time. Errors are those of package managedkey, whose texts are
// for the caller, or others, whose texts are not.
type Keys interface {
	Create(ctx context.Context, by managedkey.Caller, fields managedkey.Fields) (managedkey.Written, error)
	List(ctx context.Context, by managedkey.Caller, q managedkey.Query) (managedkey.Page, error)
	Get(ctx context.Context, by managedkey.Caller, id string) (managedkey.Key, error)
	Explain(ctx context.Context, by managedkey.Caller, id string, request *apikey.Request) (managedkey.Explanation, error)
	Update(ctx context.Context, by managedkey.Caller, id string, fields managedkey.Fields) (managedkey.Written, error)
	Revoke(ctx context.Context, by managedkey.Caller, id string) (managedkey.Written, error)
	RevokeLeaked(ctx context.Context, by managedkey.Caller, text string) (managedkey.Leaked, error)
	RevokeAll(ctx context.Context, by managedkey.Caller, q managedkey.Query, dryRun bool) (managedkey.RevokedPage, error)
	Rotate(ctx context.Context, by managedkey.Caller, id string, overlap time.Duration) (managedkey.Written, error)
	Delete(ctx context.Context, by managedkey.Caller, id string) (managedkey.Written, error)
	Audit(ctx context.Context, by managedkey.Caller, q managedkey.AuditQuery) (managedkey.AuditPage, error)
}

// serveKeys serves the admin API of keys.
func (a *admin) serveKeys(engine *gin.Engine) {
	engine.POST(api.PathKeys, a.createKey)
	readable(engine, api.PathKeys, a.listKeys)
	readable(engine, pathKey, a.getKey)
	readable(engine, pathExplain, a.explainKey)
	engine.PATCH(pathKey, a.updateKey)
	engine.DELETE(pathKey, a.deleteKey)
	engine.POST(pathRevoke, a.revokeKey)
	engine.POST(pathRotate, a.rotateKey)
	engine.POST(api.PathRevokeLeaked, a.revokeLeaked)
	engine.POST(api.PathRevokeKeys, a.revokeKeys)
	readable(engine, api.PathAudit, a.listAudit)
}

func (a *admin) createKey(c *gin.Context) {
	a.write(c, http.StatusCreated, true, func(ctx context.Context, q *adminQuery) (managedkey.Written, error) {
		fields, err := readFields(c, newKeyFields)
		if err != nil {
			return managedkey.Written{}, err
		}
		return a.Keys.Create(ctx, q.by, *fields)
	})
}

func (a *admin) updateKey(c *gin.Context) {
	a.writeOne(c, http.StatusOK, func(ctx context.Context, q *adminQuery, id string) (managedkey.Written, error) {
		fields, err := readFields(c, changeFields)
		if err != nil {
			return managedkey.Written{}, err
		}
		return a.Keys.Update(ctx, q.by, id, *fields)
	})
}

func (a *admin) revokeKey(c *gin.Context) {
	a.writeOne(c, http.StatusOK, func(ctx context.Context, q *adminQuery, id string) (managedkey.Written, error) {
		if err := readNothing(c); err != nil {
			return managedkey.Written{}, err
		}
		return a.Keys.Revoke(ctx, q.by, id)
	})
}

func (a *admin) deleteKey(c *gin.Context) {
	a.writeOne(c, http.StatusOK, func(ctx context.Context, q *adminQuery, id string) (managedkey.Written, error) {
		if err := readNothing(c); err != nil {
			return managedkey.Written{}, err
		}
		return a.Keys.Delete(ctx, q.by, id)
	})
}

func (a *admin) rotateKey(c *gin.Context) {
	a.writeOne(c, http.StatusCreated, func(ctx context.Context, q *adminQuery, id string) (managedkey.Written, error) {
		overlap, err := readOverlap(c)
		if err != nil {
			return managedkey.Written{}, err
		}
		return a.Keys.Rotate(ctx, q.by, id, overlap)
	})
}

// writeOne is write for a key that the path names.
func (a *admin) writeOne(c *gin.Context, status int, do func(ctx context.Context, q *adminQuery, id string) (managedkey.Written, error)) {
	id, problem := readPathID(c)
	if problem != nil {
		writeProblem(c, problem.code, problem.detail)
		return
	}
	a.write(c, status, false, func(ctx context.Context, q *adminQuery) (managedkey.Written, error) {
		return do(ctx, q, id)
	})
}

// write does a write, and waits for the write acknowledgement if the request
// requires for it.
func (a *admin) write(c *gin.Context, status int, isNew bool, do func(ctx context.Context, q *adminQuery) (managedkey.Written, error)) {
	q, problem := a.readWriteQuery(c, paramOwner, paramWait, paramTimeout)
	if problem == nil && !isNew {
		q.by.IfMatch, problem = readIfMatch(c.Request.Header)
	}
	if problem != nil {
		writeProblem(c, problem.code, problem.detail)
		return
	}
	extendWriteDeadline(c, writeTime+q.timeout+answerTime)
	// A client that disconnects must not interrupt a write, which has its own timeout.
	written, err := do(context.WithoutCancel(c.Request.Context()), q)
	if err != nil {
		a.writeKeyError(c, err)
		return
	}
	body := api.WrittenKey{Key: keyOf(&written.Key), Secret: written.Secret, Revision: revisionText(written.Revision)}
	if written.Secret != "" {
		c.Header("Location", keyPath(written.Key.Record.KeyID))
		body.PreviousExpiresAt = api.TimeOrNil(written.PreviousExpiresAt)
	}
	body.SyncResult = a.wait(c.Request.Context(), q, written.Revision)
	c.Header("ETag", etag(&written.Key))
	writeJSON(c, status, &body)
}

// readWriteQuery is readAdminQuery for a write, which may have wait.
func (a *admin) readWriteQuery(c *gin.Context, allowed ...string) (*adminQuery, *callerError) {
	q, problem := readAdminQuery(c, allowed...)
	if problem == nil && q.wait != "" && a.Syncer == nil {
		problem = badRequest("this instance does not support wait")
	}
	return q, problem
}

// wait waits, if the request has wait, until a write has been applied; otherwise
// the result is nil. A failed wait is not a failed write, which must not be
// repeated: the result then reports that no instance is known to have applied it.
func (a *admin) wait(ctx context.Context, q *adminQuery, revision clustertime.Time) *api.SyncResult {
	if q.wait == "" {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, q.timeout)
	defer cancel()
	result, err := a.Syncer.Wait(ctx, revision, q.wait == api.ScopeFleet)
	if err != nil {
		result = SyncResult{}
	}
	body := syncResultOf(&result)
	return &body
}

func (a *admin) getKey(c *gin.Context) {
	id, problem := readPathID(c)
	var q *adminQuery
	if problem == nil {
		q, problem = readAdminQuery(c, paramOwner)
	}
	if problem != nil {
		writeProblem(c, problem.code, problem.detail)
		return
	}
	key, err := a.Keys.Get(c.Request.Context(), q.by, id)
	if err != nil {
		a.writeKeyError(c, err)
		return
	}
	c.Header("ETag", etag(&key))
	body := keyOf(&key)
	writeJSON(c, http.StatusOK, &body)
}

func (a *admin) listKeys(c *gin.Context) {
	q, problem := readAdminQuery(c, paramOwner, paramOrg, paramProject, paramInactive, paramUnused, paramExpires, paramCursor, paramLimit)
	if problem != nil {
		writeProblem(c, problem.code, problem.detail)
		return
	}
	page, err := a.Keys.List(c.Request.Context(), q.by, q.keys)
	if err != nil {
		a.writeKeyError(c, err)
		return
	}
	body := api.KeyList{Keys: []api.Key{}, NextCursor: orNull(page.Next)}
	for i := range page.Keys {
		body.Keys = append(body.Keys, keyOf(&page.Keys[i]))
	}
	writeJSON(c, http.StatusOK, &body)
}

func (a *admin) listAudit(c *gin.Context) {
	q, problem := readAdminQuery(c, paramOwner, paramKeyID, paramAction, paramCursor, paramLimit)
	if problem != nil {
		writeProblem(c, problem.code, problem.detail)
		return
	}
	page, err := a.Keys.Audit(c.Request.Context(), q.by, managedkey.AuditQuery{KeyID: q.keyID, Action: q.action, After: q.keys.After, Limit: q.keys.Limit})
	if err != nil {
		a.writeKeyError(c, err)
		return
	}
	body := api.AuditList{Entries: []api.AuditEntry{}, NextCursor: orNull(page.Next)}
	for i := range page.Entries {
		body.Entries = append(body.Entries, auditEntryOf(&page.Entries[i]))
	}
	writeJSON(c, http.StatusOK, &body)
}

// writeJSON responds with JSON. A body that cannot be encoded is a bug of the
// code that read the document, and becomes a 500.
func writeJSON(c *gin.Context, status int, body any) {
	text, err := json.Marshal(body)
	if err != nil {
		panic(err)
	}
	c.Data(status, "application/json", text)
}

// keyErrors is the only place that maps errors of managedkey to problems.
var keyErrors = []struct {
	kind error
	code api.ProblemCode
}{
	{managedkey.ErrInvalid, api.CodeBadRequest},
	{managedkey.ErrNotPermitted, api.CodeNotPermitted},
	{managedkey.ErrAmbiguousID, api.CodeAmbiguousID},
	{managedkey.ErrNoSuchKey, api.CodeNoSuchKey},
	{managedkey.ErrDuplicate, api.CodeDuplicateKey},
	{managedkey.ErrNotRotatable, api.CodeNotRotatable},
	{managedkey.ErrChanged, api.CodeChanged},
	{managedkey.ErrCannotStore, api.CodeCannotHold},
	{managedkey.ErrRefused, api.CodeDatabaseRefuses},
	{managedkey.ErrSlow, api.CodeDatabaseUnavailable},
	{managedkey.ErrInterrupted, api.CodeDatabaseUnavailable},
	{managedkey.ErrUnavailable, api.CodeDatabaseUnavailable},
}

func (a *admin) writeKeyError(c *gin.Context, err error) {
	var mistake *callerError
	if errors.As(err, &mistake) {
		writeProblem(c, mistake.code, mistake.detail)
		return
	}
	var unknown *managedkey.UnknownError
	if errors.As(err, &unknown) {
		a.logFailure(c, err)
		writeUnknown(c, unknown)
		return
	}
	for _, known := range keyErrors {
		if errors.Is(err, known.kind) {
			if known.code.Status() >= http.StatusInternalServerError {
				a.logFailure(c, err)
			}
			writeProblem(c, known.code, keyDetail(err, known.kind))
			return
		}
	}
	a.logFailure(c, err)
	writeProblem(c, api.CodeInternal, "keytail failed, see its log")
}

// logFailure logs an error whose text is not, or not only, for the caller.
func (a *admin) logFailure(c *gin.Context, err error) {
	a.Logger.Warn("a request to the admin API failed",
		zap.String("route", c.FullPath()), zap.String("request_id", c.Writer.Header().Get(forwardauth.HeaderRequestID)),
		serverspan.Field(c.Request.Context()), zap.Error(err))
}
