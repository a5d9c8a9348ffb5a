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
	"github.com/keytail/keytail/internal/outward"
	"github.com/keytail/keytail/internal/revocation"
)

func TestMain(m *testing.M) {
	if os.Getenv(gin.EnvGinMode) == "" {
		gin.SetMode(gin.ReleaseMode)
	}
	goleak.VerifyTestMain(m)
}

// keys is a validator that holds keys by their text, and tells of changes.
type keys struct {
	watches *revocation.Watches

	mutex   sync.Mutex
	records map[string]apikey.Record
	outage  bool
	asked   []auth.Request
	// revision is that of all verdicts.
	revision uint64
}

// newKeys runs until the test ends.
func newKeys(t testing.TB) *keys {
	k := &keys{watches: revocation.New(revocation.Config{Workers: 1, DoubtInterval: 10 * time.Millisecond}), records: map[string]apikey.Record{}}
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

func (k *keys) Watches() *revocation.Watches { return k.watches }

func (k *keys) Validate(_ context.Context, text string, request auth.Request) (auth.Verdict, error) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.asked = append(k.asked, request)
	record, found := k.records[text]
	v := apikey.Verdict{Source: apikey.SourceCache, Revision: k.revision}
	switch {
	case k.outage:
	case text == "":
		v.Code = apikey.Missing
	case strings.Contains(text, " "):
		v.Code = apikey.Malformed
	case !found:
		v.Code = apikey.NotFound
	default:
		asked := outward.Request(&request)
		v.AsOf = time.Now()
		v.Record, v.Code = &record, apikey.Decide(&record, &asked, v.AsOf)
	}
	return outward.Verdict(&v)
}

// put makes a key, or changes it, and tells.
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

// delete takes a key away, and tells.
func (k *keys) delete(text string) {
	k.mutex.Lock()
	id := k.records[text].KeyID
	delete(k.records, text)
	k.mutex.Unlock()
	k.watches.Changed(id, 0)
}

// refuse is a recheck that ends its watch.
func (k *keys) refuse(context.Context, uint64) (time.Time, error) {
	return time.Time{}, errors.New("refused")
}

func (k *keys) away(outage bool) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.outage = outage
}

func (k *keys) setRevision(revision uint64) {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	k.revision = revision
}

func (k *keys) count() int {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return len(k.asked)
}

func (k *keys) lastRequest() auth.Request {
	k.mutex.Lock()
	defer k.mutex.Unlock()
	return k.asked[len(k.asked)-1]
}

// framework is how a handler is served: every behaviour is the same in both.
type framework struct {
	name string
	// serve puts the middleware, then requirements, before a handler at /orgs/{org}
	// and /.
	serve func(v auth.Validator, handler http.HandlerFunc, need []string, opts ...auth.Option) http.Handler
}

var frameworks = []framework{
	{"gin", func(v auth.Validator, handler http.HandlerFunc, need []string, opts ...auth.Option) http.Handler {
		engine := gin.New()
		chain := []gin.HandlerFunc{auth.Authenticate(v, opts...)}
		if len(need) > 0 {
			chain = append(chain, auth.RequireScope(need...))
		}
		// Gin's own writer must go on being one, so the handler gets it.
		chain = append(chain, func(c *gin.Context) { handler(c.Writer, c.Request) })
		engine.Any("/orgs/:org", chain...)
		engine.Any("/", chain...)
		return engine
	}},
	{"net/http", func(v auth.Validator, handler http.HandlerFunc, need []string, opts ...auth.Option) http.Handler {
		var h http.Handler = handler
		if len(need) > 0 {
			h = auth.ScopeMiddleware(need...)(h)
		}
		h = auth.Middleware(v, opts...)(h)
		mux := http.NewServeMux()
		mux.Handle("/orgs/{org}", h)
		mux.Handle("/{$}", h)
		return mux
	}},
}

func inEach(t *testing.T, test func(t *testing.T, f framework)) {
	t.Helper()
	for _, f := range frameworks {
		t.Run(f.name, func(t *testing.T) { test(t, f) })
	}
}

// ask sends one request with these headers, in pairs.
func ask(h http.Handler, method, target string, headers ...string) *http.Response {
	r := httptest.NewRequest(method, target, nil)
	for pair := range slices.Chunk(headers, 2) {
		r.Header.Add(pair[0], pair[1])
	}
	recorder := httptest.NewRecorder()
	h.ServeHTTP(recorder, r)
	return recorder.Result()
}
