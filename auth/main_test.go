package auth_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"go.uber.org/goleak"

	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/revocation"
)

func TestMain(m *testing.M) {
	if os.Getenv(gin.EnvGinMode) == "" {
		gin.SetMode(gin.ReleaseMode)
	}
	goleak.VerifyTestMain(m)
}

// keys is a RevocationWatcher with keys in memory, by their text.
type keys struct {
	watches *revocation.Watches

	mutex   sync.Mutex
	records map[string]apikey.Record
	outage  bool
	// requests are those of all calls of Validate.
	requests []auth.Request
	// revision is the revision of all verdicts.
	revision auth.Revision
}

// newKeys makes rechecks until the test ends.
func newKeys(t testing.TB) *keys {
	k := &keys{watches: revocation.New(revocation.Config{Workers: 1, StaleInterval: 10 * time.Millisecond}), records: map[string]apikey.Record{}}
	ctx, stop := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- k.watches.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := k.watches.Watching(); n != 0 {
			t.Errorf("%d watches are left", n)
		}
	})
	return k
}

func (k *keys) Mark() uint64 { return k.watches.Mark() }

func (k *keys) Watch(request auth.WatchRequest) auth.Watch {
	return k.watches.Add(revocation.Entry(request))
}

func (k *keys) Validate(_ context.Context, text string, request auth.Request) (auth.Verdict, error) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.requests = append(k.requests, request)
	record, found := k.records[text]
	v := auth.Verdict{Source: auth.SourceCache, Revision: k.revision}
	switch {
	case k.outage:
		v.Code = auth.Unavailable
		return v, auth.ErrUnavailable
	case text == "":
		v.Code = auth.Missing
	case strings.Contains(text, " "):
		v.Code = auth.Malformed
	case !found:
		v.Code = auth.NotFound
	default:
		v.AsOf = time.Now()
		internal := apikey.Request{
			Scopes: request.Scopes, OrgID: request.OrgID, ProjectID: request.ProjectID, IP: request.IP,
			RequireOrg: request.RequireOrg, RequireProject: request.RequireProject,
		}
		code := apikey.Decide(&record, &internal, v.AsOf)
		v.Code, v.Key = auth.Code(code.String()), (*auth.Key)(&record)
		v.Reason = apikey.ReasonFor(code, &record, &internal).String()
	}
	return v, nil
}

// put creates or changes a key, and reports the change.
func (k *keys) put(text string, change ...func(*apikey.Record)) {
	k.mutex.Lock()
	record, found := k.records[text]
	if !found {
		record = apikey.Record{KeyID: "id-" + text, UserID: "user-1", Name: "a key", Scopes: []string{"read", "admin:*"}, Active: true}
	}
	for _, f := range change {
		f(&record)
	}
	k.records[text] = record
	k.mutex.Unlock()
	k.watches.Changed(record.KeyID, 0)
}

func revoked(r *apikey.Record) { r.Active = false }

// delete deletes a key, and reports the change.
func (k *keys) delete(text string) {
	k.mutex.Lock()
	id := k.records[text].KeyID
	delete(k.records, text)
	k.mutex.Unlock()
	k.watches.Changed(id, 0)
}

// refuse is a recheck that ends its watch.
func (k *keys) refuse(context.Context, uint64) (expiresAt time.Time, revoked, err error) {
	return time.Time{}, errors.New("refused"), nil
}

func (k *keys) setOutage(outage bool) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.outage = outage
}

func (k *keys) setRevision(revision auth.Revision) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.revision = revision
}

func (k *keys) count() int {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return len(k.requests)
}

func (k *keys) lastRequest() auth.Request {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return k.requests[len(k.requests)-1]
}

// framework serves a handler with Gin or with net/http. Both must behave the same.
type framework struct {
	name string
	// serve puts the middleware and then requirements before a handler at /orgs/{org} and
	// at /.
	serve func(v auth.Validator, handler http.HandlerFunc, scopes []string, opts ...auth.Option) http.Handler
}

var frameworks = []framework{
	{"gin", func(v auth.Validator, handler http.HandlerFunc, scopes []string, opts ...auth.Option) http.Handler {
		engine := gin.New()
		chain := []gin.HandlerFunc{auth.Authenticate(v, opts...)}
		if len(scopes) > 0 {
			chain = append(chain, auth.RequireScope(scopes...))
		}
		// The handler gets the gin.ResponseWriter, to test that it still is one.
		chain = append(chain, func(c *gin.Context) { handler(c.Writer, c.Request) })
		engine.Any("/orgs/:org", chain...)
		engine.Any("/", chain...)
		return engine
	}},
	{"net/http", func(v auth.Validator, handler http.HandlerFunc, scopes []string, opts ...auth.Option) http.Handler {
		var h http.Handler = handler
		if len(scopes) > 0 {
			h = auth.ScopeMiddleware(scopes...)(h)
		}
		h = auth.Middleware(v, opts...)(h)
		mux := http.NewServeMux()
		mux.Handle("/orgs/{org}", h)
		mux.Handle("/{$}", h)
		return mux
	}},
}

func forEachFramework(t *testing.T, test func(t *testing.T, f framework)) {
	t.Helper()
	for _, f := range frameworks {
		t.Run(f.name, func(t *testing.T) { test(t, f) })
	}
}

// send sends a request with these headers, in pairs of name and value.
func send(h http.Handler, method, target string, headers ...string) *http.Response {
	r := httptest.NewRequest(method, target, nil)
	for pair := range slices.Chunk(headers, 2) {
		r.Header.Add(pair[0], pair[1])
	}
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, r)
	return recorder.Result()
}
