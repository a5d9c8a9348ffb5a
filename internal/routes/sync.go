package routes

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/events"
)

const (
	// defaultWait is longer than the two heartbeat intervals that a fleet needs,
	// and shorter than what clients wait for a response.
	defaultWait = 5 * time.Second
	// longestWait is the time after which proxies give up a request (nginx: 60
	// s).
	longestWait = time.Minute
	// answerTime is what a response may take after the wait.
	answerTime = 10 * time.Second
	// listWait bounds the read of the list of instances.
	listWait = 5 * time.Second
)

// The errors of a Syncer, beside clustertime.ErrRevisionAhead.
var (
	// ErrTooManyWaiting: the limit of concurrent waits is reached.
	ErrTooManyWaiting = errors.New("too many requests are waiting already")
	// ErrDatabaseUnavailable: the database did not answer.
	ErrDatabaseUnavailable = errors.New("the database did not answer")
)

// Syncer reports how far instances are. Many goroutines call its methods
// concurrently. An error is one of the above, or that of ctx.
type Syncer interface {
	// Wait returns when this instance (fleet: every live one) has applied all
	// changes up to a revision, or when ctx's deadline has passed, which is not
	// an error.
	Wait(ctx context.Context, revision clustertime.Time, fleet bool) (SyncResult, error)
	// Instances returns the live instances.
	Instances(ctx context.Context) ([]Instance, error)
}

// SyncResult is the result of a wait.
type SyncResult struct {
	// Synced is true if all Instances have got there. Missing are the ids of the
	// others.
	Synced    bool
	Instances []Instance
	Missing   []string
}

// Instance of the fleet.
type Instance struct {
	ID, Version string
	// Revision is zero until the instance has reported one.
	Revision clustertime.Time
	// Staleness is what the instance reported at LastSeen. Negative: unknown.
	Staleness time.Duration
	LastSeen  time.Time
}

// serveSync serves sync behind guards, which abort requests that they refuse and note
// the token's name.
func serveSync(engine *gin.Engine, syncer Syncer, perToken int, guards ...gin.HandlerFunc) {
	if syncer != nil {
		engine.GET(api.PathSync, append(limitPerToken(perToken, guards), waitForRevision(syncer))...)
	}
}

// waitForRevision serves sync.
func waitForRevision(syncer Syncer) gin.HandlerFunc {
	return func(c *gin.Context) {
		request, problem := readSyncRequest(c.Request.URL.RawQuery)
		if problem != nil {
			writeProblem(c, problem.code, problem.detail)
			return
		}
		extendWriteDeadline(c, request.timeout+answerTime)
		ctx, cancel := context.WithTimeout(c.Request.Context(), request.timeout)
		defer cancel()
		result, err := syncer.Wait(ctx, request.revision, request.fleet)
		if err != nil {
			writeSyncError(c, err)
			return
		}
		writeJSON(c, http.StatusOK, syncResultOf(&result))
	}
}

// extendWriteDeadline lets a response take longer than the server allows others.
// (The read deadline no longer matters once the request has been read.) A server
// without deadlines needs no extension.
func extendWriteDeadline(c *gin.Context, d time.Duration) {
	_ = http.NewResponseController(c.Writer).SetWriteDeadline(time.Now().Add(d))
}

// syncRequest is the query of sync.
type syncRequest struct {
	revision clustertime.Time
	fleet    bool
	timeout  time.Duration
}

// readSyncRequest reads the query of sync completely, or fails.
func readSyncRequest(raw string) (*syncRequest, *callerError) {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return nil, badRequest("the query cannot be read")
	}
	q := syncRequest{timeout: defaultWait}
	for name, values := range query {
		if len(values) != 1 {
			return nil, badRequest("a parameter is repeated")
		}
		if problem := q.readParameter(name, values[0]); problem != nil {
			return nil, problem
		}
	}
	if !query.Has("revision") || !query.Has("scope") {
		return nil, badRequest("the query must have revision, and scope with the value instance or fleet")
	}
	return &q, nil
}

func (q *syncRequest) readParameter(name, value string) (problem *callerError) {
	var err error
	switch name {
	case "revision":
		if q.revision, err = clustertime.Parse(value); err != nil {
			return badRequest("revision must be 16 hex digits, as a response has it")
		}
	case "scope":
		q.fleet = value == api.ScopeFleet
		if !q.fleet && value != api.ScopeInstance {
			return badRequest("scope must be instance or fleet")
		}
	case "timeout":
		q.timeout, problem = readTimeout(value)
	default:
		return badRequest("the query may have only revision, scope and timeout")
	}
	return problem
}

// readTimeout reads how long a caller will wait.
func readTimeout(value string) (time.Duration, *callerError) {
	timeout, err := time.ParseDuration(value)
	if err != nil || timeout <= 0 || timeout > longestWait {
		return 0, badRequest("timeout must be a duration such as 5s, at most 1m")
	}
	return timeout, nil
}

func writeSyncError(c *gin.Context, err error) {
	problem := syncProblem(err)
	writeProblem(c, problem.code, problem.detail)
}

// syncProblem is the only place that maps the errors of Syncer and Events to problems.
func syncProblem(err error) *callerError {
	switch {
	case errors.Is(err, clustertime.ErrRevisionAhead):
		return badRequest("the revision is ahead of the database: no answer of keytail can have returned it")
	case errors.Is(err, ErrTooManyWaiting), errors.Is(err, events.ErrBusy):
		return &callerError{code: api.CodeTooManyWaiting, detail: "too many requests are waiting already, try again"}
	case errors.Is(err, events.ErrClosed):
		return &callerError{code: api.CodeShuttingDown, detail: "this instance is shutting down, use another one"}
	}
	return &callerError{code: api.CodeDatabaseUnavailable, detail: "the database did not return the list of instances, try again"}
}

func syncResultOf(r *SyncResult) api.SyncResult {
	body := api.SyncResult{Synced: r.Synced, Instances: []api.Instance{}, Missing: append([]string{}, r.Missing...)}
	for _, i := range r.Instances {
		body.Instances = append(body.Instances, api.Instance{
			ID: i.ID, Revision: revisionText(i.Revision), LastSeen: api.Timestamp{Time: i.LastSeen},
		})
	}
	return body
}

// revisionText is nil for an unknown revision.
func revisionText(revision clustertime.Time) *string {
	if revision == 0 {
		return nil
	}
	text := revision.String()
	return &text
}

// ageMS rounds up, and is nil for a negative age.
func ageMS(age time.Duration) *int64 {
	if age < 0 {
		return nil
	}
	return knownMS(int64((age + time.Millisecond - 1) / time.Millisecond))
}

// instances serves the list of instances, on the admin listener.
func instances(syncer Syncer) gin.HandlerFunc {
	return func(c *gin.Context) {
		if c.Request.URL.RawQuery != "" {
			writeProblem(c, api.CodeBadRequest, "this path takes no query")
			return
		}
		ctx, cancel := context.WithTimeout(c.Request.Context(), listWait)
		defer cancel()
		all, err := syncer.Instances(ctx)
		if err != nil {
			writeSyncError(c, err)
			return
		}
		writeJSON(c, http.StatusOK, &api.InstanceList{Instances: instancesOf(all)})
	}
}

// instancesOf is never nil, which JSON would show as null.
func instancesOf(all []Instance) []api.Instance {
	list := []api.Instance{}
	for _, i := range all {
		list = append(list, api.Instance{
			ID: i.ID, Version: i.Version, Revision: revisionText(i.Revision),
			StalenessMS: ageMS(i.Staleness), LastSeen: api.Timestamp{Time: i.LastSeen},
		})
	}
	return list
}
