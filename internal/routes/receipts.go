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
	// defaultWait is above the two heartbeat intervals that a fleet takes, and below
	// what clients wait for an answer.
	defaultWait = 5 * time.Second
	// longestWait is the time after which proxies give up a request (nginx: 60 s).
	longestWait = time.Minute
	// answerTime is what an answer may take after the wait.
	answerTime = 10 * time.Second
	// listWait bounds the look at the list of instances.
	listWait = 5 * time.Second
)

// What keeps a Syncer from answering.
var (
	// ErrTooManyWaiting says that no more can wait, or listen.
	ErrTooManyWaiting = errors.New("too many are waiting already")
	// ErrDatabaseUnavailable says that the database did not answer.
	ErrDatabaseUnavailable = errors.New("the database does not answer")
)

// Syncer says how far instances have got. Its methods are called from many
// goroutines at once; an error is one of the above, or ctx's.
type Syncer interface {
	// Wait returns when this instance (fleet: every live one) has processed all
	// changes up to a revision, or ctx's deadline has passed, which is no error.
	Wait(ctx context.Context, revision clustertime.Time, fleet bool) (SyncResult, error)
	// Instances are the live ones.
	Instances(ctx context.Context) ([]Instance, error)
}

// SyncResult is the result of a wait.
type SyncResult struct {
	// Synced: all of Instances have got there. Missing are the ids of the others.
	Synced    bool
	Instances []Instance
	Missing   []string
}

// Instance of the fleet.
type Instance struct {
	ID, Version string
	// Revision is zero while the instance has not said how far it is.
	Revision clustertime.Time
	// Staleness is the age of its truth as it said at LastSeen. Negative: not known.
	Staleness time.Duration
	LastSeen  time.Time
}

// receipts serves sync and events behind guards that abort what they refuse.
func receipts(engine *gin.Engine, syncer Syncer, events Events, guards ...gin.HandlerFunc) {
	if syncer != nil {
		engine.GET(api.PathSync, append(guards, sync(syncer))...)
	}
	if events != nil {
		engine.GET(api.PathEvents, append(guards, stream(events))...)
	}
}

// sync waits for a revision.
func sync(syncer Syncer) gin.HandlerFunc {
	return func(c *gin.Context) {
		ask, problem := readSync(c.Request.URL.RawQuery)
		if problem != nil {
			writeProblem(c, problem.code, problem.detail)
			return
		}
		outlive(c, ask.timeout+answerTime)
		ctx, cancel := context.WithTimeout(c.Request.Context(), ask.timeout)
		defer cancel()
		result, err := syncer.Wait(ctx, ask.revision, ask.fleet)
		if err != nil {
			writeSyncError(c, err)
			return
		}
		writeJSON(c, http.StatusOK, syncResultOf(&result))
	}
}

// outlive lets an answer take longer than the server lets others. (Its read
// deadline is past when the request has been read.) A server that knows no
// deadlines has none to move.
func outlive(c *gin.Context, d time.Duration) {
	_ = http.NewResponseController(c.Writer).SetWriteDeadline(time.Now().Add(d))
}

// syncQuestion is sync's query.
type syncQuestion struct {
	revision clustertime.Time
	fleet    bool
	timeout  time.Duration
}

// readSync reads sync's query in full or not at all.
func readSync(raw string) (*syncQuestion, *callerError) {
	query, err := url.ParseQuery(raw)
	if err != nil {
		return nil, badRequest("the query cannot be read")
	}
	q := syncQuestion{timeout: defaultWait}
	for name, values := range query {
		if len(values) != 1 {
			return nil, badRequest("a parameter is given twice")
		}
		if problem := q.readParameter(name, values[0]); problem != nil {
			return nil, problem
		}
	}
	if !query.Has("revision") || !query.Has("scope") {
		return nil, badRequest("the query must have revision, and scope, which is instance or fleet")
	}
	return &q, nil
}

func (q *syncQuestion) readParameter(name, value string) (problem *callerError) {
	var err error
	switch name {
	case "revision":
		if q.revision, err = clustertime.Parse(value); err != nil {
			return badRequest("revision must be one as an answer has it, of 16 hex digits")
		}
	case "scope":
		q.fleet = value == api.ScopeFleet
		if !q.fleet && value != api.ScopeInstance {
			return badRequest("scope must be instance or fleet")
		}
	case "timeout":
		q.timeout, problem = readTimeout(value)
	default:
		return badRequest("the query may have revision, scope and timeout, and has something else")
	}
	return problem
}

// readTimeout reads how long a caller wants to wait.
func readTimeout(value string) (time.Duration, *callerError) {
	timeout, err := time.ParseDuration(value)
	if err != nil || timeout <= 0 || timeout > longestWait {
		return 0, badRequest("timeout must be a duration such as 5s, of a minute at most")
	}
	return timeout, nil
}

// writeSyncError is the one place that maps a Syncer's error to an answer.
func writeSyncError(c *gin.Context, err error) {
	switch {
	case errors.Is(err, clustertime.ErrRevisionAhead):
		writeProblem(c, api.CodeBadRequest, "the revision is ahead of the database, so no answer can have had it")
	case errors.Is(err, ErrTooManyWaiting), errors.Is(err, events.ErrBusy):
		writeProblem(c, api.CodeTooManyWaiting, "too many are waiting already, ask again")
	case errors.Is(err, events.ErrClosed):
		writeProblem(c, api.CodeShuttingDown, "this instance is about to stop, ask another one")
	default:
		writeProblem(c, api.CodeDatabaseUnavailable, "the database does not say which instances there are, ask again")
	}
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

// revisionText is nil for a revision that is not known.
func revisionText(revision clustertime.Time) *string {
	if revision == 0 {
		return nil
	}
	text := revision.String()
	return &text
}

// agedMS rounds up, and is nil for a negative age.
func agedMS(age time.Duration) *int64 {
	if age < 0 {
		return nil
	}
	return knownMS(int64((age + time.Millisecond - 1) / time.Millisecond))
}

// instances answers who is in the fleet, on the admin listener.
func instances(syncer Syncer) gin.HandlerFunc {
	return func(c *gin.Context) {
		if c.Request.URL.RawQuery != "" {
			writeProblem(c, api.CodeBadRequest, "this path has no query")
			return
		}
		ctx, cancel := context.WithTimeout(c.Request.Context(), listWait)
		defer cancel()
		all, err := syncer.Instances(ctx)
		if err != nil {
			writeSyncError(c, err)
			return
		}
		body := api.InstanceList{Instances: []api.Instance{}}
		for _, i := range all {
			body.Instances = append(body.Instances, api.Instance{
				ID: i.ID, Version: i.Version, Revision: revisionText(i.Revision),
				StalenessMS: agedMS(i.Staleness), LastSeen: api.Timestamp{Time: i.LastSeen},
			})
		}
		writeJSON(c, http.StatusOK, &body)
	}
}
