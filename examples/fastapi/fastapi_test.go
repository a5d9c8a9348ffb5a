// Package fastapi_test runs the example. It measures how long a revoked key remains usable
// with before.py and with after.py, and checks the responses of after.py.
package fastapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"golang.org/x/sync/errgroup"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/routes"
	"github.com/keytail/keytail/internal/service"
)

const (
	// cacheTime is the CACHE_SECONDS of before.py in this test. The default is 120 s.
	cacheTime = 6 * time.Second
	// bound is keytail's max_stale in this test, within which every worker must refuse the
	// key. The default is 15 s.
	bound = 2 * time.Second
	// waitTimeout limits waits that usually take milliseconds.
	waitTimeout = 30 * time.Second
)

func TestMain(m *testing.M) {
	routes.UseReleaseMode()
	os.Exit(m.Run())
}

// rig is a MongoDB with keys, and a keytail.Service.
type rig struct {
	t        *testing.T
	python   string
	uri      string
	keys     *mongo.Collection
	service  *daemon.Daemon
	keytail  string // its address
	inserted atomic.Int64
}

func start(t *testing.T) *rig {
	r := &rig{t: t, python: findPython(t)}
	d := mongotest.StartDevmongo(t, devmongo.Config{})
	r.uri = d.URI
	database := d.Client(t).Database(d.Database(t))
	r.keys = mongotest.CreateAPIKeys(t, database)
	made, err := daemon.New(t.Context(), daemon.Config{Config: service.Config{
		Client: d.Client(t), Database: database.Name(), CacheSizeMiB: 8, MaxStale: bound,
	}})
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- made.Run(ctx) }()
	t.Cleanup(func() {
		stop()
		if err := <-ended; err != nil {
			t.Error(err)
		}
	})
	select {
	case <-made.Live():
	case <-time.After(waitTimeout):
		t.Fatal("keytail does not become live")
	}
	server := httptest.NewServer(made.Public())
	t.Cleanup(server.Close)
	r.service, r.keytail = made, server.URL
	return r
}

// key is a key in the collection, with its text.
type key struct{ id, text string }

// newKey inserts a key with scopes for orders, and returns when keytail has applied the
// insert. The fields replace those of its document, or are added.
func (r *rig) newKey(fields bson.M) key {
	r.t.Helper()
	text, err := apikey.Generate(apikey.DefaultPrefix, nil)
	if err != nil {
		r.t.Fatal(err)
	}
	k := key{fmt.Sprintf("key-%d", r.inserted.Add(1)), text}
	document := bson.M{"_id": k.id, "key_hash": apikey.HashOf(text).Hex(), "is_active": true, "user_id": "ada", "scopes": bson.A{"orders:*"}}
	for name, value := range fields {
		document[name] = value
	}
	if _, err := r.keys.InsertOne(r.t.Context(), document); err != nil {
		r.t.Fatal(err)
	}
	mongotest.Eventually(r.t, waitTimeout, func() bool {
		code := r.service.Core.Validator.Validate(r.t.Context(), text, &apikey.Request{}).Code
		return code != apikey.Unavailable && code != apikey.NotFound
	}, "keytail does not receive the change of a key")
	return k
}

// before starts a worker of before.py, after one of after.py.
func (r *rig) before() string {
	return startUvicorn(r.t, r.python, ".", "before:app",
		"MONGODB_URI="+r.uri, "MONGODB_DATABASE="+r.keys.Database().Name(), "CACHE_SECONDS="+fmt.Sprint(cacheTime.Seconds()))
}

func (r *rig) after(keytail string) string {
	return startUvicorn(r.t, r.python, ".", "after:app", "KEYTAIL_URL="+keytail)
}

// revoke revokes a key in another process, with its own MongoDB client. It returns the time
// of the majority acknowledgement.
func (r *rig) revoke(ctx context.Context, k key) (time.Time, error) {
	out, err := runScript(ctx, r.t, r.python, "revoke.py", r.uri, r.keys.Database().Name(), k.id)
	if err != nil {
		return time.Time{}, err
	}
	seconds, err := strconv.ParseFloat(strings.TrimSpace(out), 64)
	return time.UnixMicro(int64(seconds * 1e6)), err
}

// send sends a request with a key to a worker.
func send(ctx context.Context, method, url, authorization string) (*http.Response, []byte, error) {
	ctx, cancel := context.WithTimeout(ctx, waitTimeout)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, nil)
	if err != nil {
		return nil, nil, err
	}
	if authorization != "" {
		request.Header.Set("Authorization", authorization)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, nil, err
	}
	defer func() { _ = response.Body.Close() }()
	body, err := io.ReadAll(response.Body)
	return response, body, err
}

// refusedAt sends requests to a worker until it refuses the key, and returns the time.
func refusedAt(ctx context.Context, worker string, k key) (time.Time, error) {
	for {
		response, body, err := send(ctx, http.MethodGet, worker+"/orders", "Bearer "+k.text)
		switch {
		case err != nil:
			return time.Time{}, err
		case response.StatusCode == http.StatusUnauthorized:
			return time.Now(), nil
		case response.StatusCode != http.StatusOK:
			return time.Time{}, fmt.Errorf("%s: %s", response.Status, body)
		}
	}
}

// ending has the times of the acknowledgement of a revocation, and of the first refusal by
// each worker.
type ending struct {
	acknowledged time.Time
	refused      [2]time.Time
}

// delay returns how long a worker accepted the key after the acknowledgement. It is negative
// if the worker refused the key before the acknowledgement arrived.
func (e *ending) delay(worker int) time.Duration { return e.refused[worker].Sub(e.acknowledged) }

// measure revokes a key and sends requests to both workers until they refuse it. If eager,
// it starts the requests before the revocation.
func measure(ctx context.Context, workers [2]string, k key, eager bool, revoke func() (time.Time, error)) (ending, error) {
	var e ending
	var group errgroup.Group
	startRequests := func() {
		for i, worker := range workers {
			group.Go(func() (err error) { e.refused[i], err = refusedAt(ctx, worker, k); return err })
		}
	}
	if eager {
		startRequests()
	}
	acknowledged, err := revoke()
	if err != nil {
		return e, err
	}
	if !eager {
		startRequests()
	}
	err = group.Wait()
	e.acknowledged = acknowledged
	return e, err
}

// TestHowLongARevokedKeyLivesOn compares before.py with after.py.
func TestHowLongARevokedKeyLivesOn(t *testing.T) {
	r := start(t)
	ctx, cancel := context.WithTimeout(t.Context(), 2*waitTimeout)
	defer cancel()
	old := [2]string{r.before(), r.before()}
	renewed := [2]string{r.after(r.keytail), r.after(r.keytail)}
	byWorker, byMongoDB, now := r.newKey(nil), r.newKey(nil), r.newKey(nil)
	// No cache entry that is made from here on expires before this.
	expiry := time.Now().Add(cacheTime)
	for worker, keys := range map[string][]key{
		old[0]: {byWorker, byMongoDB}, old[1]: {byWorker, byMongoDB}, renewed[0]: {now}, renewed[1]: {now},
	} {
		for _, k := range keys {
			if response, body, err := send(ctx, http.MethodGet, worker+"/orders", "Bearer "+k.text); err != nil || response.StatusCode != http.StatusOK {
				t.Fatalf("a valid key got %v %v %s", err, response, body)
			}
		}
	}
	// All three measurements run at the same time.
	var own, mongoDB, after ending
	var group errgroup.Group
	group.Go(func() (err error) {
		own, err = measure(ctx, old, byWorker, false, func() (time.Time, error) {
			response, body, err := send(ctx, http.MethodPost, old[0]+"/revoke-me", "Bearer "+byWorker.text)
			if err == nil && response.StatusCode != http.StatusOK {
				err = fmt.Errorf("revoke-me: %s: %s", response.Status, body)
			}
			return time.Now(), err
		})
		return err
	})
	group.Go(func() (err error) {
		mongoDB, err = measure(ctx, old, byMongoDB, false, func() (time.Time, error) { return r.revoke(ctx, byMongoDB) })
		return err
	})
	group.Go(func() (err error) {
		after, err = measure(ctx, renewed, now, true, func() (time.Time, error) { return r.revoke(ctx, now) })
		return err
	})
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	t.Logf("how long a revoked key was accepted (before: a cache of %v, default 120 s; after: max_stale %v):", cacheTime, bound)
	for _, row := range []struct {
		what string
		e    ending
	}{
		{"before, revoked through worker 1", own},
		{"before, revoked in MongoDB", mongoDB},
		{"after, revoked in MongoDB", after},
	} {
		t.Logf("%-34s worker 1: %7.3f s   worker 2: %7.3f s", row.what, row.e.delay(0).Seconds(), row.e.delay(1).Seconds())
	}
	if own.delay(0) > bound {
		t.Errorf("worker 1 of before.py accepts a key that it revoked itself")
	}
	if mongoDB.acknowledged.After(expiry) || own.acknowledged.After(expiry) {
		t.Fatal("the machine is too slow for this test: cache entries expired before the revocation")
	}
	for _, refused := range []time.Time{own.refused[1], mongoDB.refused[0], mongoDB.refused[1]} {
		if refused.Before(expiry) {
			t.Error("before.py refused a key before its cache entry expired, although another process revoked it")
		}
	}
	if max(after.delay(0), after.delay(1)) > bound {
		t.Errorf("after.py accepted a revoked key for longer than %v", bound)
	}
}

// problem is the body of a refusal.
type problem struct {
	Status int    `json:"status"`
	Code   string `json:"code"`
}

// mustRefuse checks a refusal against docs/http.md.
func mustRefuse(t *testing.T, response *http.Response, body []byte, status int, code, challenge string) {
	t.Helper()
	var p problem
	if err := json.Unmarshal(body, &p); err != nil || response.StatusCode != status || p != (problem{status, code}) {
		t.Errorf("%s: %s (%v), want %d %s", response.Status, body, err, status, code)
	}
	header := response.Header
	if header.Get("WWW-Authenticate") != challenge || header.Get("Content-Type") != "application/problem+json" || header.Get("Cache-Control") != "no-store" {
		t.Errorf("%s: %v, want the challenge %s", code, header, challenge)
	}
	if (header.Get("Retry-After") != "") != (status == http.StatusServiceUnavailable) {
		t.Errorf("%s: Retry-After is %q", code, header.Get("Retry-After"))
	}
}

const (
	plainChallenge   = `Bearer realm="orders"`
	invalidChallenge = plainChallenge + `, error="invalid_token"`
	scopeChallenge   = plainChallenge + `, error="insufficient_scope", scope="orders:read"`
)

func TestResponsesByCode(t *testing.T) {
	r := start(t)
	url := r.after(r.keytail) + "/orders"
	unknown, err := apikey.Generate(apikey.DefaultPrefix, nil)
	if err != nil {
		t.Fatal(err)
	}
	bearer := func(fields bson.M) string { return "Bearer " + r.newKey(fields).text }
	for name, test := range map[string]struct {
		authorization string
		status        int
		code          string
		challenge     string
	}{
		"good":              {bearer(nil), 200, "", ""},
		"lower case":        {"bearer  " + r.newKey(nil).text + " ", 200, "", ""},
		"from here":         {bearer(bson.M{"allowed_ips": bson.A{"127.0.0.1"}}), 200, "", ""},
		"nothing":           {"", 401, "MISSING", plainChallenge},
		"no key":            {"Bearer ", 401, "MISSING", plainChallenge},
		"another scheme":    {"Basic YTpi", 401, "MISSING", plainChallenge},
		"short":             {"Bearer x", 401, "MALFORMED", invalidChallenge},
		"long":              {"Bearer " + strings.Repeat("x", 20_000), 401, "MALFORMED", invalidChallenge},
		"not ASCII":         {"Bearer \xff\xfe" + unknown, 401, "MALFORMED", invalidChallenge},
		"quotes":            {`Bearer ","valid":true,"code":"VALID`, 401, "NOT_FOUND", invalidChallenge},
		"unknown":           {"Bearer " + unknown, 401, "NOT_FOUND", invalidChallenge},
		"disabled":          {bearer(bson.M{"is_active": false}), 401, "DISABLED", invalidChallenge},
		"expired":           {bearer(bson.M{"expires_at": time.Now().Add(-time.Second)}), 401, "EXPIRED", invalidChallenge},
		"from elsewhere":    {bearer(bson.M{"allowed_ips": bson.A{"192.0.2.0/24"}}), 403, "FORBIDDEN", ""},
		"bound to an org":   {bearer(bson.M{"org_id": "acme"}), 200, "", ""},
		"without the scope": {bearer(bson.M{"scopes": bson.A{"invoices:read"}}), 403, "INSUFFICIENT_PERMISSIONS", scopeChallenge},
	} {
		t.Run(name, func(t *testing.T) {
			response, body, err := send(t.Context(), http.MethodGet, url, test.authorization)
			if err != nil {
				t.Fatal(err)
			}
			if test.status != http.StatusOK {
				mustRefuse(t, response, body, test.status, test.code, test.challenge)
			} else if response.StatusCode != http.StatusOK || !strings.Contains(string(body), `"user_id":"ada"`) {
				t.Errorf("%s: %s", response.Status, body)
			}
		})
	}
	_, body, err := send(t.Context(), http.MethodGet, url, bearer(bson.M{"org_id": "acme"}))
	if err != nil || !strings.Contains(string(body), `"org_id":"acme"`) {
		t.Errorf("the organisation of the key: %s, %v", body, err)
	}
}

// fakeKeytail is a server that responds with what a test sets.
type fakeKeytail struct {
	*httptest.Server
	mu          sync.Mutex
	status      int
	body        string
	hang        chan struct{} // if not nil, the response waits for it
	connections atomic.Int64
}

func startFake(t *testing.T) *fakeKeytail {
	o := &fakeKeytail{}
	o.Server = httptest.NewUnstartedServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		o.mu.Lock()
		status, body, hang := o.status, o.body, o.hang
		o.mu.Unlock()
		if hang != nil {
			<-hang
		}
		w.Header().Set("Location", "/elsewhere") // for the redirect
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	o.Config.ConnState = func(_ net.Conn, state http.ConnState) {
		if state == http.StateNew {
			o.connections.Add(1)
		}
	}
	o.Start()
	t.Cleanup(o.Close)
	return o
}

func (o *fakeKeytail) respond(status int, body string, hang chan struct{}) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.status, o.body, o.hang = status, body, hang
}

// TestInvalidAnswersAreRefused checks that after.py responds 503 to anything that is not a
// verdict, and refuses the request for a code that it does not know.
func TestInvalidAnswersAreRefused(t *testing.T) {
	python := findPython(t)
	fake := startFake(t)
	url := (&rig{t: t, python: python}).after(fake.URL) + "/orders"
	const good = `{"valid":true,"code":"VALID","user_id":"ada","org_id":null}`
	request := func(t *testing.T) (*http.Response, []byte) {
		t.Helper()
		response, body, err := send(t.Context(), http.MethodGet, url, "Bearer a-key-of-someone")
		if err != nil {
			t.Fatal(err)
		}
		return response, body
	}
	fake.respond(200, good, nil)
	for range 20 {
		if response, body := request(t); response.StatusCode != http.StatusOK {
			t.Fatalf("%s: %s", response.Status, body)
		}
	}
	if n := fake.connections.Load(); n != 1 {
		t.Errorf("%d connections for consecutive requests, want one", n)
	}
	for name, answer := range map[string]struct {
		status int
		body   string
		want   int
		code   string
	}{
		"an outage":           {503, `{"code":"UNAVAILABLE","status":503}`, 503, "UNAVAILABLE"},
		"a bug":               {500, good, 503, "UNAVAILABLE"},
		"a wrong token":       {401, good, 503, "UNAVAILABLE"},
		"another path":        {404, good, 503, "UNAVAILABLE"},
		"a redirect":          {302, good, 503, "UNAVAILABLE"},
		"nothing":             {200, ``, 503, "UNAVAILABLE"},
		"a page":              {200, `<html>hello</html>`, 503, "UNAVAILABLE"},
		"a list":              {200, `[true]`, 503, "UNAVAILABLE"},
		"no code":             {200, `{"valid":true}`, 503, "UNAVAILABLE"},
		"cut off":             {200, good[:20], 503, "UNAVAILABLE"},
		"an unknown code":     {200, `{"valid":false,"code":"QUOTA_EXCEEDED"}`, 403, "QUOTA_EXCEEDED"},
		"valid, another code": {200, `{"valid":true,"code":"MAYBE"}`, 403, "MAYBE"},
		"not a boolean":       {200, `{"valid":"false","code":"VALID"}`, 403, "VALID"},
	} {
		t.Run(name, func(t *testing.T) {
			fake.respond(answer.status, answer.body, nil)
			response, body := request(t)
			mustRefuse(t, response, body, answer.want, answer.code, "")
		})
	}
	t.Run("no response in time", func(t *testing.T) {
		hang := make(chan struct{})
		defer close(hang)
		fake.respond(200, good, hang)
		response, body := request(t)
		mustRefuse(t, response, body, 503, "UNAVAILABLE", "")
	})
	t.Run("connection refused", func(t *testing.T) {
		fake.Close()
		response, body := request(t)
		mustRefuse(t, response, body, 503, "UNAVAILABLE", "")
	})
}
