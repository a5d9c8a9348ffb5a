package routes

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"os/exec"
	"strings"
	"testing"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/instrument"
)

// answering is a Validator that always returns the same verdict.
type answering func(key string) apikey.Verdict

func (a answering) Validate(_ context.Context, key string, _ *apikey.Request) apikey.Verdict {
	return a(key)
}
func (a answering) Refuse(code apikey.Code) apikey.Verdict { return apikey.Verdict{Code: code} }

func authRequest(key string) *http.Request {
	r := httptest.NewRequest(http.MethodGet, "/v1/auth", nil)
	r.Header.Set("X-Api-Key", key)
	return r
}

func answerOf(handler http.Handler, r *http.Request) reply {
	recorder := httptest.NewRecorder()
	handler.ServeHTTP(recorder, r)
	result := recorder.Result()
	return reply{result, recorder.Body.String()}
}

// TestPanicIsAnOutage: a bug in a validator is an outage for the client, and the
// log does not contain the key even if the value of the panic is the key.
func TestPanicIsAnOutage(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]any{
		"a text": "lost key-of-root", "an error": fmt.Errorf("lost key-of-root"), "a runtime error": nil,
	} {
		core, logs := observer.New(zapcore.DebugLevel)
		handler := newPublic(t, PublicConfig{Config: forwardauth.Config{Validator: answering(func(key string) apikey.Verdict {
			if value == nil {
				return apikey.Verdict{Code: apikey.Code(key[len(key)])}
			}
			panic(value)
		})}, Logger: zap.New(core)})
		for _, r := range []*http.Request{authRequest("key-of-root"), verifyOf(`{"key":"key-of-root"}`)} {
			got := answerOf(handler, r)
			checkAlways(t, got, "key-of-root")
			if got.StatusCode != http.StatusInternalServerError || problemCodeOf(t, got.body) != "INTERNAL_ERROR" {
				t.Errorf("%s: %d %s", name, got.StatusCode, got.body)
			}
			if r.URL.Path == api.PathAuth && got.Header.Get(forwardauth.HeaderResult) != "UNAVAILABLE" {
				t.Errorf("%s: the result is %q", name, got.Header.Get(forwardauth.HeaderResult))
			}
		}
		errors := logs.FilterLevelExact(zapcore.ErrorLevel).All()
		if len(errors) != 2 {
			t.Fatalf("%s: %d error lines", name, len(errors))
		}
		text := fmt.Sprint(errors[0].Message, errors[0].ContextMap())
		if strings.Contains(text, "key-of-root") || !strings.Contains(text, "TestPanicIsAnOutage") {
			t.Errorf("%s: the line holds the key, or no stack: %s", name, text)
		}
	}
}

func verifyOf(body string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, api.PathVerify, strings.NewReader(body))
	r.Header.Set("Content-Type", "application/json")
	return r
}

// TestPanicAfterTheResponseBeganClosesTheConnection: a partial response must not
// look complete, and ErrAbortHandler keeps its meaning.
func TestPanicAfterTheResponseBeganClosesTheConnection(t *testing.T) {
	t.Parallel()
	for name, value := range map[string]any{"late": "late", "abort": http.ErrAbortHandler} {
		registry := prometheus.NewPedanticRegistry()
		requests, err := instrument.NewRequests(registry)
		if err != nil {
			t.Fatal(err)
		}
		m := &meter{requests: requests}
		engine := newEngine(zap.NewNop(), nil, m)
		engine.GET("/x", func(c *gin.Context) {
			if name == "late" {
				c.String(http.StatusOK, "half")
			}
			panic(value)
		})
		m.prepare(engine)
		func() {
			defer func() {
				if got := recover(); got != http.ErrAbortHandler { //nolint:errorlint // identity is its contract
					t.Errorf("%s: panics with %v", name, got)
				}
			}()
			engine.ServeHTTP(httptest.NewRecorder(), httptest.NewRequest(http.MethodGet, "/x", nil))
			t.Errorf("%s: no panic", name)
		}()
		if measured, inFlight, _ := counts(t, registry); measured["/x 500"] != 1 || inFlight != 0 {
			t.Errorf("%s: measured as %v, and %v are in flight", name, measured, inFlight)
		}
	}
}

// TestInvalidVerdictsAreOutages: a verdict that no validator may return never
// allows a request.
func TestInvalidVerdictsAreOutages(t *testing.T) {
	t.Parallel()
	for _, v := range []apikey.Verdict{
		{}, {Code: apikey.Valid}, {Code: apikey.Code(apikey.CodeCount), Record: &apikey.Record{}}, {Code: 255},
	} {
		handler := newPublic(t, PublicConfig{Config: forwardauth.Config{Validator: answering(func(string) apikey.Verdict { return v })}})
		for _, r := range []*http.Request{authRequest("key-of-root"), verifyOf(`{"key":"key-of-root"}`)} {
			got := answerOf(handler, r)
			if got.StatusCode != http.StatusServiceUnavailable || got.Header.Get("Retry-After") != "1" {
				t.Errorf("code %d at %s: status %d", v.Code, r.URL.Path, got.StatusCode)
			}
		}
	}
}

func TestEveryCodeHasItsStatuses(t *testing.T) {
	t.Parallel()
	want := map[apikey.Code][2]int{ // verify, forward-auth: docs/http.md#verdicts
		apikey.Missing: {400, 401}, apikey.Malformed: {200, 401}, apikey.Unavailable: {503, 503},
		apikey.NotFound: {200, 401}, apikey.Disabled: {200, 401}, apikey.Expired: {200, 401},
		apikey.Forbidden: {200, 403}, apikey.InsufficientPermissions: {200, 403}, apikey.Valid: {200, 200},
	}
	record := &apikey.Record{KeyID: "k", UserID: "u"}
	for code := range apikey.Code(apikey.CodeCount) {
		handler := newPublic(t, PublicConfig{Config: forwardauth.Config{Validator: answering(func(string) apikey.Verdict {
			return apikey.Verdict{Code: code, Record: record}
		})}})
		verify := answerOf(handler, verifyOf(`{"key":"key-of-root"}`))
		auth := answerOf(handler, authRequest("key-of-root"))
		if got := [2]int{verify.StatusCode, auth.StatusCode}; got != want[code] {
			t.Errorf("%v: %v, want %v", code, got, want[code])
		}
		if code != apikey.Valid && problemCodeOf(t, auth.body) != code.String() {
			t.Errorf("%v: forward-auth responds %s", code, auth.body)
		}
		if strings.Contains(verify.body, `"key_id"`) != (code >= apikey.Disabled) {
			t.Errorf("%v: %s", code, verify.body)
		}
	}
}

func TestStalenessIsRoundedUp(t *testing.T) {
	t.Parallel()
	for age, want := range map[time.Duration]int64{
		-1: 0, 0: 0, 1: 1, time.Millisecond: 1, time.Millisecond + 1: 2, 15 * time.Second: 15000,
	} {
		if got := apikey.StalenessMS(age); got != want {
			t.Errorf("%v: %d ms, want %d", age, got, want)
		}
	}
	asOf := time.Date(2026, 1, 2, 3, 4, 5, 999_999_999, time.FixedZone("", 3600))
	handler := newPublic(t, PublicConfig{Config: forwardauth.Config{Validator: answering(func(string) apikey.Verdict {
		return apikey.Verdict{Code: apikey.NotFound, AsOf: asOf}
	})}})
	got := answerOf(handler, verifyOf(`{"key":"key-of-root"}`))
	if !strings.Contains(got.body, `"as_of":"2026-01-02T02:04:05.999Z"`) {
		t.Error(got.body)
	}
}

func TestConfigurationIsChecked(t *testing.T) {
	t.Parallel()
	if _, err := NewPublic(PublicConfig{}); err == nil {
		t.Error("no validator, and no error")
	}
	if _, err := NewPublic(PublicConfig{Config: forwardauth.Config{Validator: goldenKeys{}, Realm: "a\nb"}}); err == nil {
		t.Error("a realm of two lines, and no error")
	}
	if _, err := NewOperations(OperationsConfig{Gatherer: prometheus.NewRegistry()}); err == nil {
		t.Error("no status, and no error")
	}
	if _, err := NewOperations(OperationsConfig{Status: func() Status { return Status{} }}); err == nil {
		t.Error("no gatherer, and no error")
	}
	handler := newPublic(t, PublicConfig{Config: forwardauth.Config{Validator: goldenKeys{}, Realm: `a "b" \c`}})
	got := answerOf(handler, httptest.NewRequest(http.MethodGet, "/v1/auth", nil))
	if challenge := got.Header.Get("WWW-Authenticate"); challenge != `Bearer realm="a \"b\" \\c"` {
		t.Errorf("the challenge is %s", challenge)
	}
}

// TestAnUntrustedProxyIsLoggedOnce: the line contains nothing of the request.
func TestAnUntrustedProxyIsLoggedOnce(t *testing.T) {
	t.Parallel()
	for _, test := range []struct {
		name, forwarded string
		trusted         []netip.Prefix
		lines           int
	}{
		{"no trusted proxy", "203.0.113.9", nil, 1},
		{"no proxy", "", nil, 0},
		{"some are trusted", "203.0.113.9", []netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, 0},
	} {
		core, logs := observer.New(zapcore.WarnLevel)
		handler := newPublic(t, PublicConfig{Config: forwardauth.Config{Validator: goldenKeys{}, TrustedProxies: test.trusted}, Logger: zap.New(core)})
		for _, path := range []string{"/v1/auth", "/v1/auth/policy/none", "/v1/auth"} {
			r := httptest.NewRequest(http.MethodGet, path, nil)
			if test.forwarded != "" {
				r.Header.Set("X-Forwarded-For", test.forwarded)
			}
			answerOf(handler, r)
		}
		if logs.Len() != test.lines || logs.FilterMessageSnippet("--trusted-proxies").Len() != test.lines || logs.FilterMessageSnippet("203.0").Len() != 0 {
			t.Errorf("%s: %v", test.name, logs.All())
		}
	}
}

func TestMetricsAreServed(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewRegistry()
	counter := prometheus.NewCounter(prometheus.CounterOpts{Name: "keytail_test_total", Help: "For a test."})
	broken := prometheus.NewDesc("keytail_broken", "Always in trouble.", nil, nil)
	registry.MustRegister(counter, brokenCollector{broken})
	counter.Add(3)
	core, logs := observer.New(zapcore.ErrorLevel)
	handler, err := NewOperations(OperationsConfig{
		Status: func() Status { return Status{} }, Gatherer: registry, Logger: zap.New(core),
	})
	if err != nil {
		t.Fatal(err)
	}
	got := answerOf(handler, httptest.NewRequest(http.MethodGet, "/metrics", nil))
	checkAlways(t, got)
	if got.StatusCode != http.StatusOK || !strings.Contains(got.body, "\nkeytail_test_total 3\n") {
		t.Errorf("%d: %s", got.StatusCode, got.body)
	}
	if logs.Len() != 1 {
		t.Errorf("%d error lines about the collector in trouble", logs.Len())
	}
}

// brokenCollector fails each time it is gathered.
type brokenCollector struct{ desc *prometheus.Desc }

func (b brokenCollector) Describe(ch chan<- *prometheus.Desc) { ch <- b.desc }
func (b brokenCollector) Collect(ch chan<- prometheus.Metric) {
	ch <- prometheus.NewInvalidMetric(b.desc, fmt.Errorf("in trouble"))
}

// TestRoutesDependOnNeitherMongoDBNorTheCache: Gin itself depends on MongoDB's
// bson package, for a body format that is not used here.
func TestRoutesDependOnNeitherMongoDBNorTheCache(t *testing.T) {
	t.Parallel()
	const self = "github.com/keytail/keytail/"
	for _, line := range goList(t, "{{.ImportPath}} {{join .Imports \" \"}}", ".") {
		path, imports, _ := strings.Cut(line, " ")
		if strings.Contains(path, "bigcache") || strings.HasPrefix(path, "go.mongodb.org/mongo-driver/v2/mongo") ||
			strings.HasPrefix(path, "go.mongodb.org/mongo-driver/v2/x/mongo") {
			t.Errorf("reaches %s", path)
		}
		if strings.HasPrefix(path, self) && strings.Contains(imports, "go.mongodb.org/") {
			t.Errorf("%s imports %s", path, imports)
		}
		if pkg, ours := strings.CutPrefix(path, self+"internal/"); ours {
			if pkg != "routes" && pkg != "apikey" && pkg != "forwardauth" && pkg != "clustertime" && pkg != "events" && pkg != "managedkey" && pkg != "rights" && pkg != "strictjson" && pkg != "instrument" && pkg != "lograte" && pkg != "timing" && pkg != "tracing" && pkg != "serverspan" && pkg != "webui" && pkg != "statuspage" {
				t.Errorf("reaches the package %s", pkg)
			}
		}
	}
}

func goList(t *testing.T, format, pkg string) []string {
	t.Helper()
	out, err := exec.CommandContext(t.Context(), "go", "list", "-deps", "-f", format, pkg).Output()
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(strings.TrimSpace(string(out)), "\n")
	if len(lines) < 100 {
		t.Fatalf("go list names %d packages, which cannot be all", len(lines))
	}
	return lines
}
