package routes

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/managedkey"
	"github.com/keytail/keytail/internal/rights"
)

// goldenKeyAdmin is a Keys with one key, which fails for certain ids.
type goldenKeyAdmin struct{}

// keyAdminErrors maps an id to its error.
var keyAdminErrors = map[string]error{
	"nobody":    managedkey.ErrNoSuchKey,
	"two":       managedkey.ErrAmbiguousID,
	"again":     fmt.Errorf("%w: another key has this hash", managedkey.ErrDuplicate),
	"off":       managedkey.ErrNotRotatable,
	"changed":   managedkey.ErrChanged,
	"no-place":  fmt.Errorf("%w: name the field with --map-name", managedkey.ErrCannotStore),
	"refused":   fmt.Errorf("%w: secret", managedkey.ErrRefused),
	"away":      fmt.Errorf("%w: secret", managedkey.ErrUnavailable),
	"slow":      fmt.Errorf("%w: create an index", managedkey.ErrSlow),
	"unknown":   &managedkey.UnknownError{KeyID: "650102030405060708090a0b", Cause: errors.New("secret")},
	"interrupt": fmt.Errorf("%w: secret", managedkey.ErrInterrupted),
	"no-reason": errors.New("secret"),
}

func goldenKey() managedkey.Key {
	return managedkey.Key{
		Record: apikey.Record{
			KeyID: "650102030405060708090a0b", UserID: "user-1", OrgID: "acme", Name: "a key", Scopes: []string{"read"},
			AllowedIPs: []netip.Prefix{netip.MustParsePrefix("192.0.2.7/32"), netip.MustParsePrefix("2001:db8::/32")},
			ExpiresAt:  time.Date(2027, 1, 1, 0, 0, 0, 0, time.UTC), Metadata: json.RawMessage(`{"plan":"pro"}`), Active: true,
		},
		KeyPrefix: "kt_abcdefgh", CreatedAt: goldenNow, LastUsed: goldenNow, UsageCount: 7, Digest: "0123456789abcdef",
	}
}

func (goldenKeyAdmin) written(id, secret string) (managedkey.Written, error) {
	key := goldenKey()
	return managedkey.Written{Key: key, Secret: secret, Revision: goldenProcessed}, keyAdminErrors[id]
}

func (d goldenKeyAdmin) Create(_ context.Context, _ managedkey.Caller, f managedkey.Fields) (managedkey.Written, error) {
	if err := f.CheckNew(goldenNow); err != nil {
		return managedkey.Written{}, err
	}
	return d.written(*f.UserID, "kt_secret")
}

func (goldenKeyAdmin) List(_ context.Context, by managedkey.Caller, q managedkey.Query) (managedkey.Page, error) {
	if q.After == "another" {
		return managedkey.Page{}, managedkey.Invalid("this cursor does not belong to this list")
	}
	if by.Owner != "" && by.Owner != "user-1" {
		return managedkey.Page{}, nil
	}
	bare := managedkey.Key{Record: apikey.Record{KeyID: "bare", Defect: "user_id is missing"}, UsageCount: -1, Digest: "fe"}
	return managedkey.Page{Keys: []managedkey.Key{goldenKey(), bare}, Next: "next"}, nil
}

func (goldenKeyAdmin) Get(_ context.Context, by managedkey.Caller, id string) (managedkey.Key, error) {
	if by.Owner != "" && by.Owner != "user-1" {
		return managedkey.Key{}, managedkey.ErrNoSuchKey
	}
	return goldenKey(), keyAdminErrors[id]
}

// Explain has a key that a request from an unknown address may not use, and one that
// no request can find.
func (goldenKeyAdmin) Explain(_ context.Context, by managedkey.Caller, id string, request *apikey.Request) (managedkey.Explanation, error) {
	if by.Owner != "" && by.Owner != "user-1" {
		return managedkey.Explanation{}, managedkey.ErrNoSuchKey
	}
	record := goldenKey().Record
	e := managedkey.Explanation{
		KeyID:    record.KeyID,
		Instance: apikey.Verdict{Source: apikey.SourceCache, AsOf: goldenNow.Add(-412 * time.Millisecond), Staleness: 412 * time.Millisecond, Revision: goldenProcessed},
		Database: apikey.Verdict{Source: apikey.SourceDirect, AsOf: goldenNow},
	}
	switch id {
	case "no-hash":
		e.Instance = apikey.Verdict{Code: apikey.NotFound, Reason: apikey.Reason{Kind: apikey.ReasonMissing, Name: "key_hash"}}
		e.Database = e.Instance
		return e, nil
	case "outage":
		e.Instance.Code, e.Database = apikey.Valid, apikey.Verdict{}
		return e, nil
	case "stale":
		e.Instance = apikey.Verdict{}
	default:
		e.Instance.Code = apikey.Decide(&record, request, goldenNow)
		e.Instance.Reason = apikey.ReasonFor(e.Instance.Code, &record, request)
	}
	record.Active = false
	e.Database.Code = apikey.Decide(&record, request, goldenNow)
	e.Database.Reason = apikey.ReasonFor(e.Database.Code, &record, request)
	return e, keyAdminErrors[id]
}

func (d goldenKeyAdmin) Update(_ context.Context, by managedkey.Caller, id string, f managedkey.Fields) (managedkey.Written, error) {
	if err := f.CheckChange(goldenNow); err != nil {
		return managedkey.Written{}, err
	}
	if by.IfMatch != nil && (len(by.IfMatch) != 1 || by.IfMatch[0] != goldenKey().Digest) {
		return managedkey.Written{}, managedkey.ErrChanged
	}
	return d.written(id, "")
}

func (d goldenKeyAdmin) Revoke(_ context.Context, _ managedkey.Caller, id string) (managedkey.Written, error) {
	w, err := d.written(id, "")
	w.Key.Record.Active = false
	return w, err
}

// RevokeLeaked knows the keys leaked-key (active) and leaked-again (off), and fails
// for an id of keyAdminErrors.
func (goldenKeyAdmin) RevokeLeaked(_ context.Context, by managedkey.Caller, text string) (managedkey.Leaked, error) {
	key := goldenKey()
	key.Record.Active = false
	leaked := managedkey.Leaked{Keys: []managedkey.Key{key}, Revoked: 1, Revision: goldenProcessed}
	switch {
	case keyAdminErrors[text] != nil:
		return managedkey.Leaked{}, keyAdminErrors[text]
	case text == "short":
		return managedkey.Leaked{}, managedkey.Invalid("key cannot be the text of a key")
	case by.Owner != "" && by.Owner != "user-1" || text != "leaked-key" && text != "leaked-again":
		return managedkey.Leaked{}, managedkey.ErrNoSuchKey
	case text == "leaked-again":
		leaked.Revoked = 0
	}
	return leaked, nil
}

// FindByText knows what RevokeLeaked knows.
func (d goldenKeyAdmin) FindByText(ctx context.Context, by managedkey.Caller, text string) ([]managedkey.Key, error) {
	leaked, err := d.RevokeLeaked(ctx, by, text)
	return leaked.Keys, err
}

// RevokeAll knows the keys of user-1 in acme, and fails for an id of
// keyAdminErrors.
func (goldenKeyAdmin) RevokeAll(_ context.Context, by managedkey.Caller, q managedkey.Query, dryRun bool) (managedkey.RevokedPage, error) {
	switch {
	case by.Owner+q.OrgID+q.ProjectID == "":
		return managedkey.RevokedPage{}, managedkey.Invalid("the owner of the keys is missing")
	case q.After == "another":
		return managedkey.RevokedPage{}, managedkey.Invalid("this cursor does not belong to this list")
	case keyAdminErrors[by.Owner] != nil:
		return managedkey.RevokedPage{}, keyAdminErrors[by.Owner]
	case by.Owner != "user-1" || q.OrgID != "" && q.OrgID != "acme":
		return managedkey.RevokedPage{}, nil
	}
	page := managedkey.RevokedPage{KeyIDs: []string{"k1", "k2"}, Next: "next"}
	if !dryRun {
		page.Revision = goldenProcessed
		page.Failed = []managedkey.FailedKey{
			{KeyID: "k3", Err: fmt.Errorf("%w: the validator rejects it", managedkey.ErrCannotStore)},
			{KeyID: "k4", Err: errors.New("secret")},
		}
	}
	return page, nil
}

func (d goldenKeyAdmin) Rotate(_ context.Context, _ managedkey.Caller, id string, overlap time.Duration) (managedkey.Written, error) {
	if err := managedkey.CheckOverlap(overlap); err != nil {
		return managedkey.Written{}, err
	}
	w, err := d.written(id, "kt_secret")
	w.Key.RotatedFrom, w.PreviousExpiresAt = id, goldenNow.Add(overlap)
	return w, err
}

func (d goldenKeyAdmin) Delete(_ context.Context, _ managedkey.Caller, id string) (managedkey.Written, error) {
	return d.written(id, "")
}

func (goldenKeyAdmin) Audit(_ context.Context, by managedkey.Caller, q managedkey.AuditQuery) (managedkey.AuditPage, error) {
	if q.KeyID == "away" {
		return managedkey.AuditPage{}, keyAdminErrors["away"]
	}
	return managedkey.AuditPage{Entries: []managedkey.Entry{
		{ID: "1", At: goldenNow, Actor: by.Actor, Action: "rotate", RequestID: "r", KeyID: "a", NewKeyID: "b", UserID: "u", Before: json.RawMessage(`{"expires_at":null}`), After: json.RawMessage(`{"expires_at":"x"}`)},
		{ID: "0", At: goldenNow, Actor: "bob", Action: "create", RequestID: "r", KeyID: "a", UserID: "u", After: json.RawMessage(`{}`)},
	}}, nil
}

// goldenAdmins are the callers that testdata/http/README.md describes.
func goldenAdmins() fakeAdmins {
	return fakeAdmins{
		"admin-token-of-ann":  {Name: "ann", Role: rights.Admin},
		"admin-token-of-bob":  {Name: "bob", Role: rights.Viewer},
		"admin-token-of-acme": {Name: "acme", Role: rights.Admin, Owner: managedkey.Owner{OrgID: "acme"}},
	}
}

func newGoldenAdmin(t testing.TB, change ...func(*AdminConfig)) http.Handler {
	t.Helper()
	config := AdminConfig{
		Callers: goldenAdmins(), Status: func() Status { return Status{} },
		Keys: goldenKeyAdmin{}, LogLevel: newLevel(), Instance: "golden/1", Syncer: goldenSyncer{}, Events: slowFeed{}, Requests: measured(t), Playground: &goldenPlayground{},
	}
	for _, f := range change {
		f(&config)
	}
	handler, err := NewAdmin(config)
	if err != nil {
		t.Fatal(err)
	}
	return handler
}

// askAdmin sends a request of ann's; header is name and value in turn.
func askAdmin(handler http.Handler, method, target, body string, header ...string) reply {
	r := httptest.NewRequest(method, target, strings.NewReader(body))
	r.Header.Set("Authorization", "Bearer admin-token-of-ann")
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i < len(header); i += 2 {
		r.Header.Set(header[i], header[i+1])
	}
	return answerOf(handler, r)
}

// TestEachErrorHasItsStatus: and the response contains nothing that is not for
// the caller.
func TestEachErrorHasItsStatus(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zapcore.WarnLevel)
	handler := newGoldenAdmin(t, func(c *AdminConfig) {
		c.Logger = zap.New(core)
		c.Requests = nil // some paths get errors here that they have not in the daemon
	})
	for id, want := range map[string]struct {
		status int
		code   string
		logged bool
	}{
		"nobody":    {404, "NO_SUCH_KEY", false},
		"two":       {400, "AMBIGUOUS_ID", false},
		"again":     {409, "DUPLICATE_KEY", false},
		"off":       {409, "NOT_ROTATABLE", false},
		"changed":   {412, "CHANGED_MEANWHILE", false},
		"no-place":  {422, "COLLECTION_CANNOT_HOLD", false},
		"refused":   {503, "DATABASE_REFUSES", true},
		"away":      {503, "DATABASE_UNAVAILABLE", true},
		"slow":      {503, "DATABASE_UNAVAILABLE", true},
		"unknown":   {503, "OUTCOME_UNKNOWN", true},
		"interrupt": {503, "DATABASE_UNAVAILABLE", true},
		"no-reason": {500, "INTERNAL_ERROR", true},
	} {
		for path, body := range map[string]string{"/v1/keys/revoke-leaked": `{"key":"` + id + `"}`, "/v1/keys/revoke": `{"user_id":"` + id + `"}`} {
			logs.TakeAll()
			if got := askAdmin(handler, "POST", path, body); got.StatusCode != want.status || problemCodeOf(t, got.body) != want.code || strings.Contains(got.body, "secret") || (logs.Len() > 0) != want.logged {
				t.Errorf("%s %s: %d %s, %d lines in the log", id, path, got.StatusCode, got.body, logs.Len())
			}
		}
		for _, call := range [][2]string{{"POST", "/rotate"}, {"POST", "/revoke"}, {"PATCH", ""}, {"DELETE", ""}, {"GET", ""}, {"GET", "/explain"}} {
			body := map[string]string{"/rotate": `{"overlap_seconds":0}`, "PATCH": `{"name":"x"}`}[call[1]+map[bool]string{true: call[0]}[call[1] == "" && call[0] == "PATCH"]]
			logs.TakeAll()
			got := askAdmin(handler, call[0], "/v1/keys/"+id+call[1], body)
			if got.StatusCode != want.status || problemCodeOf(t, got.body) != want.code || strings.Contains(got.body, "secret") || (logs.Len() > 0) != want.logged {
				t.Errorf("%s %v: %d %s, %d lines in the log", id, call, got.StatusCode, got.body, logs.Len())
			}
			if again := got.Header.Get("Retry-After"); (again != "") != (want.status == 503 && id != "unknown") {
				t.Errorf("%s: Retry-After %q", id, again)
			}
			if id == "unknown" && !strings.Contains(got.body, `"key_id":"650102030405060708090a0b"`) {
				t.Errorf("the key is not named: %s", got.body)
			}
			if id == "slow" && !strings.Contains(got.body, "create an index") {
				t.Errorf("the index is not named: %s", got.body)
			}
		}
	}
}

// TestALeakedKeyIsInNoRequestID: the response repeats it, and the audit keeps it.
func TestALeakedKeyIsInNoRequestID(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.DebugLevel)
	keys := &callersOfRevokeLeaked{}
	handler := newGoldenAdmin(t, func(c *AdminConfig) { c.Logger, c.Keys = zap.New(core), keys })
	for _, test := range []struct {
		target, body string
		status       int
	}{
		{"/v1/keys/revoke-leaked", `{"key":"leaked-key"}`, 200},
		{"/v1/keys/revoke-leaked", `{"key":"leaked-key","x":1}`, 400},
		{"/v1/keys/revoke-leaked?x=1", `{"key":"leaked-key"}`, 400},
	} {
		got := askAdmin(handler, "POST", test.target, test.body, "X-Request-Id", "incident:leaked-key")
		checkAlways(t, got, "leaked-key")
		if got.StatusCode != test.status {
			t.Errorf("%s %s: %d %s", test.target, test.body, got.StatusCode, got.body)
		}
	}
	got := askAdmin(handler, "POST", "/v1/keys/revoke-leaked", `{"key":"leaked-key"}`, "X-Request-Id", "incident-7")
	if id := got.Header.Get("X-Request-Id"); id != "incident-7" {
		t.Errorf("the request id is %q", id)
	}
	if len(keys.callers) != 2 || keys.callers[1].RequestID != "incident-7" || strings.Contains(fmt.Sprint(keys.callers, logs.All()), "leaked-key") {
		t.Errorf("for the audit: %+v, log: %v", keys.callers, logs.All())
	}
}

// callersOfRevokeLeaked records who called it.
type callersOfRevokeLeaked struct {
	goldenKeyAdmin
	callers []managedkey.Caller
}

func (k *callersOfRevokeLeaked) RevokeLeaked(ctx context.Context, by managedkey.Caller, text string) (managedkey.Leaked, error) {
	k.callers = append(k.callers, by)
	return k.goldenKeyAdmin.RevokeLeaked(ctx, by, text)
}

// TestHEADIsGET for every path of the admin listener that responds at once.
func TestHEADIsGET(t *testing.T) {
	t.Parallel()
	handler := newGoldenAdmin(t)
	for _, path := range []string{"/", "/livez", "/openapi.yaml", "/v1/status", "/v1/log-level", "/v1/instances", "/v1/keys", "/v1/keys/a", "/v1/keys/a/explain", "/v1/audit"} {
		if got := askAdmin(handler, "HEAD", path, ""); got.StatusCode != http.StatusOK {
			t.Errorf("HEAD %s: %d, want 200", path, got.StatusCode)
		}
	}
}

// TestPeriodsAreDaysOrHours, as in the command line.
func TestPeriodsAreDaysOrHours(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]time.Duration{"14d": 336 * time.Hour, "336h": 336 * time.Hour, "106751d": 106751 * 24 * time.Hour, "1h30m": 90 * time.Minute} {
		if got, problem := readPeriod("unused_for", text); problem != nil || got != want {
			t.Errorf("%s: %v, %v, want %v", text, got, problem, want)
		}
	}
}

func TestInvalidRequestsToTheAdminAPI(t *testing.T) {
	t.Parallel()
	handler := newGoldenAdmin(t)
	user := `{"user_id":"u",`
	many := func(n int) string { return "[" + strings.TrimSuffix(strings.Repeat(`"a",`, n), ",") + "]" }
	for name, test := range map[string]struct {
		method, target, body string
		status               int
		words                string
	}{
		"no body":              {"POST", "/v1/keys", "", 415, "application/json"},
		"no user":              {"POST", "/v1/keys", `{}`, 400, "user_id is missing"},
		"null user":            {"POST", "/v1/keys", `{"user_id":null}`, 400, "user_id is missing"},
		"unknown field":        {"POST", "/v1/keys", user + `"hash":"x"}`, 400, "may have only"},
		"the switch":           {"POST", "/v1/keys", user + `"is_active":true}`, 400, "may have only"},
		"other case":           {"POST", "/v1/keys", `{"User_ID":"u"}`, 400, "may have only"},
		"twice":                {"POST", "/v1/keys", user + `"user_id":"v"}`, 400, "repeated"},
		"user is a number":     {"POST", "/v1/keys", `{"user_id":7}`, 400, "user_id must be a string"},
		"user is long":         {"POST", "/v1/keys", `{"user_id":"` + strings.Repeat("u", 257) + `"}`, 400, "user_id is not valid"},
		"10,000 scopes":        {"POST", "/v1/keys", user + `"scopes":` + many(10000) + `}`, 400, "more than 256"},
		"long scopes":          {"POST", "/v1/keys", user + `"scopes":["` + strings.TrimSuffix(strings.Repeat(strings.Repeat("a", 256)+`","`, 17), `","`) + `"]}`, 400, "more than 4096 bytes"},
		"scope of two words":   {"POST", "/v1/keys", user + `"scopes":["a","b c"]}`, 400, "scopes[1] is not valid"},
		"scopes is a string":   {"POST", "/v1/keys", user + `"scopes":"a"}`, 400, "scopes must be an array"},
		"scopes has null":      {"POST", "/v1/keys", user + `"scopes":["a",null]}`, 400, "scopes must be an array"},
		"a name of 1 MB":       {"POST", "/v1/keys", user + `"name":"` + strings.Repeat("n", 1<<20) + `"}`, 413, "64 KiB"},
		"a long name":          {"POST", "/v1/keys", user + `"name":"` + strings.Repeat("n", 1025) + `"}`, 400, "name is not valid"},
		"control character":    {"POST", "/v1/keys", user + `"name":"a\u0000b"}`, 400, "control character"},
		"half a surrogate":     {"POST", "/v1/keys", user + `"name":"\ud800"}`, 400, "surrogate"},
		"past expiry":          {"POST", "/v1/keys", user + `"expires_at":"2026-11-23T20:00:00.532Z"}`, 400, "in the past"},
		"the year 1":           {"POST", "/v1/keys", user + `"expires_at":"0001-01-01T00:00:00Z"}`, 400, "in the past"},
		"expiry is a number":   {"POST", "/v1/keys", user + `"expires_at":2000000000}`, 400, "expires_at must be a time"},
		"expiry is a date":     {"POST", "/v1/keys", user + `"expires_at":"2090-01-01"}`, 400, "expires_at must be a time"},
		"a bad network":        {"POST", "/v1/keys", user + `"allowed_ips":["192.0.2.1","192.0.2.0/33"]}`, 400, "allowed_ips[1] is not valid"},
		"a zone":               {"POST", "/v1/keys", user + `"allowed_ips":["fe80::1%eth0"]}`, 400, "allowed_ips[0] is not valid"},
		"many networks":        {"POST", "/v1/keys", user + `"allowed_ips":[` + strings.TrimSuffix(strings.Repeat(`"192.0.2.1",`, 101), ",") + `]}`, 400, "more than 100"},
		"metadata is a list":   {"POST", "/v1/keys", user + `"metadata":[]}`, 400, "metadata must be an object"},
		"metadata, twice":      {"POST", "/v1/keys", user + `"metadata":{"a":[{"b":1,"b":2}]}}`, 400, "metadata repeats a field"},
		"metadata, deep":       {"POST", "/v1/keys", user + `"metadata":{"a":` + strings.Repeat("[", 9000) + strings.Repeat("]", 9000) + `}}`, 400, "nested too deep"},
		"metadata, large":      {"POST", "/v1/keys", user + `"metadata":{"a":"` + strings.Repeat("x", 8<<10) + `"}}`, 400, "metadata has more than 8192"},
		"metadata, surrogate":  {"POST", "/v1/keys", user + `"metadata":{"\udc00":1}}`, 400, "surrogate"},
		"patch of the user":    {"PATCH", "/v1/keys/a", `{"user_id":"u"}`, 400, "may have only"},
		"patch of nothing":     {"PATCH", "/v1/keys/a", `[]`, 400, "must be a JSON object"},
		"no overlap":           {"POST", "/v1/keys/a/rotate", `{}`, 400, "overlap_seconds is missing"},
		"overlap is a string":  {"POST", "/v1/keys/a/rotate", `{"overlap_seconds":"2"}`, 400, "whole number"},
		"overlap is a part":    {"POST", "/v1/keys/a/rotate", `{"overlap_seconds":1.5}`, 400, "whole number"},
		"overlap is null":      {"POST", "/v1/keys/a/rotate", `{"overlap_seconds":null}`, 400, "whole number"},
		"negative overlap":     {"POST", "/v1/keys/a/rotate", `{"overlap_seconds":-1}`, 400, "between 0 and"},
		"a year of overlap":    {"POST", "/v1/keys/a/rotate", `{"overlap_seconds":31536000}`, 400, "between 0 and"},
		"a body for a revoke":  {"POST", "/v1/keys/a/revoke", `{"is_active":true}`, 400, "no body"},
		"a body for a delete":  {"DELETE", "/v1/keys/a", `x`, 400, "no body"},
		"unknown parameter":    {"POST", "/v1/keys?users=u", user + `"name":""}`, 400, "may have only"},
		"two users":            {"GET", "/v1/keys?user_id=a&user_id=b", "", 400, "repeated"},
		"an empty user":        {"GET", "/v1/keys/a?user_id=", "", 400, "user_id is not valid"},
		"the query is broken":  {"GET", "/v1/keys?user_id=%zz", "", 400, "cannot be read"},
		"limit 0":              {"GET", "/v1/keys?limit=0", "", 400, "between 1 and 500"},
		"limit 501":            {"GET", "/v1/audit?limit=501", "", 400, "between 1 and 500"},
		"empty cursor":         {"GET", "/v1/keys?cursor=", "", 400, "cursor"},
		"another one's cursor": {"GET", "/v1/keys?cursor=another", "", 400, "does not belong"},
		"perhaps inactive":     {"GET", "/v1/keys?include_inactive=1", "", 400, "true or false"},
		"wait for everyone":    {"POST", "/v1/keys/a/revoke?wait=all", "", 400, "instance or fleet"},
		"timeout alone":        {"POST", "/v1/keys/a/revoke?timeout=1s", "", 400, "timeout needs wait"},
		"a long timeout":       {"POST", "/v1/keys/a/revoke?wait=fleet&timeout=2m", "", 400, "at most 1m"},
		"wait of a read":       {"GET", "/v1/keys/a?wait=fleet", "", 400, "may have only"},
		"empty org":            {"GET", "/v1/keys?org_id=", "", 400, "org_id is not valid"},
		"project, twice":       {"GET", "/v1/keys?project_id=a&project_id=b", "", 400, "repeated"},
		"unused for days":      {"GET", "/v1/keys?unused_for=1.5d", "", 400, "such as 14d or 336h"},
		"unused for aeons":     {"GET", "/v1/keys?unused_for=106752d", "", 400, "such as 14d or 336h"},
		"unused for less":      {"GET", "/v1/keys?unused_for=-200000d", "", 400, "such as 14d or 336h"},
		"unused for 0 days":    {"GET", "/v1/keys?unused_for=0d", "", 400, "more than 0"},
		"unused for nothing":   {"GET", "/v1/keys?unused_for=0s", "", 400, "more than 0"},
		"expires before":       {"GET", "/v1/keys?expires_within=-1h", "", 400, "more than 0"},
		"audit of an org":      {"GET", "/v1/audit?org_id=a", "", 400, "may have only"},
		"leaked: no body":      {"POST", "/v1/keys/revoke-leaked", "", 415, "application/json"},
		"leaked: nothing":      {"POST", "/v1/keys/revoke-leaked", `{}`, 400, "key is missing"},
		"leaked: empty":        {"POST", "/v1/keys/revoke-leaked", `{"key":""}`, 400, "key is missing"},
		"leaked: null":         {"POST", "/v1/keys/revoke-leaked", `{"key":null}`, 400, "key must be a string"},
		"leaked: twice":        {"POST", "/v1/keys/revoke-leaked", `{"key":"leaked-key","key":"x"}`, 400, "repeated"},
		"leaked: and another":  {"POST", "/v1/keys/revoke-leaked", `{"key":"leaked-key","dry_run":true}`, 400, "only the field key"},
		"leaked: in the query": {"POST", "/v1/keys/revoke-leaked?key=leaked-key", `{"key":"leaked-key"}`, 400, "may have only"},
		"leaked: no key":       {"POST", "/v1/keys/revoke-leaked", `{"key":"short"}`, 400, "cannot be the text"},
		"leaked: unknown":      {"POST", "/v1/keys/revoke-leaked", `{"key":"key-of-nobody"}`, 404, "NO_SUCH_KEY"},
		"leaked: another's":    {"POST", "/v1/keys/revoke-leaked?user_id=other", `{"key":"leaked-key"}`, 404, "NO_SUCH_KEY"},
		"leaked: long":         {"POST", "/v1/keys/revoke-leaked", `{"key":"` + strings.Repeat("k", 17<<10) + `"}`, 413, "16 KiB"},
		"leaked: read":         {"PUT", "/v1/keys/revoke-leaked", "", 405, ""},
		"owner: nobody":        {"POST", "/v1/keys/revoke", `{}`, 400, "owner of the keys is missing"},
		"owner: no body":       {"POST", "/v1/keys/revoke", "", 415, "application/json"},
		"owner: empty user":    {"POST", "/v1/keys/revoke", `{"user_id":"","org_id":"acme"}`, 400, "user_id is not valid"},
		"owner: null user":     {"POST", "/v1/keys/revoke", `{"user_id":null,"org_id":"acme"}`, 400, "user_id must be a string"},
		"owner: in the query":  {"POST", "/v1/keys/revoke?user_id=user-1", `{"org_id":"acme"}`, 400, "may have only"},
		"owner: other field":   {"POST", "/v1/keys/revoke", `{"user":"user-1","org_id":"acme"}`, 400, "only the fields"},
		"owner: dry run":       {"POST", "/v1/keys/revoke", `{"user_id":"user-1","dry_run":"true"}`, 400, "dry_run must be"},
		"owner: null dry run":  {"POST", "/v1/keys/revoke", `{"user_id":"user-1","dry_run":null}`, 400, "dry_run must be"},
		"owner: limit 501":     {"POST", "/v1/keys/revoke", `{"user_id":"user-1","limit":501}`, 400, "between 1 and 500"},
		"owner: limit text":    {"POST", "/v1/keys/revoke", `{"user_id":"user-1","limit":"5"}`, 400, "between 1 and 500"},
		"owner: empty cursor":  {"POST", "/v1/keys/revoke", `{"user_id":"user-1","cursor":""}`, 400, "cursor must be"},
		"owner: other cursor":  {"POST", "/v1/keys/revoke", `{"user_id":"user-1","cursor":"another"}`, 400, "does not belong"},
		"id with a control":    {"GET", "/v1/keys/a%00", "", 400, "control character"},
		"path below":           {"GET", "/v1/keys/a/b", "", 404, ""},
		"a slash":              {"GET", "/v1/keys/", "", 404, ""},
		"another method":       {"PUT", "/v1/keys/a", "", 405, ""},
	} {
		got := askAdmin(handler, test.method, test.target, test.body)
		if got.StatusCode != test.status || !strings.Contains(got.body, test.words) || got.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s: %d %.300s", name, got.StatusCode, got.body)
		}
	}
}

// TestAKeyMayHaveTheIDOfAPath: POST /v1/keys/revoke is about an owner, and the key
// with the id revoke is still reached.
func TestAKeyMayHaveTheIDOfAPath(t *testing.T) {
	t.Parallel()
	handler := newGoldenAdmin(t)
	for _, id := range []string{"revoke", "revoke-leaked"} {
		for _, call := range [][3]string{{"GET", ""}, {"POST", "/revoke"}, {"PATCH", "", `{"name":"x"}`}, {"DELETE", ""}, {"POST", "/rotate", `{"overlap_seconds":1}`}} {
			if got := askAdmin(handler, call[0], "/v1/keys/"+id+call[1], call[2]); got.StatusCode/100 != 2 || !strings.Contains(got.body, `"id":"650102030405060708090a0b"`) {
				t.Errorf("%s %v: %d %s", id, call, got.StatusCode, got.body)
			}
		}
	}
}

func TestIfMatchFollowsRFC9110(t *testing.T) {
	t.Parallel()
	handler := newGoldenAdmin(t)
	const tag = `"0123456789abcdef"`
	for value, status := range map[string]int{
		tag: 200, "*": 200, " * ": 200, `"x"`: 412, "W/" + tag: 412, tag + `, "x"`: 412, "0123456789abcdef": 400, `"`: 400, "": 400, `*, "x"`: 400, `"a"b"`: 400,
	} {
		if got := askAdmin(handler, "PATCH", "/v1/keys/a", `{"name":"x"}`, "If-Match", value); got.StatusCode != status {
			t.Errorf("%q: %d, want %d: %s", value, got.StatusCode, status, got.body)
		}
	}
}

func TestAWriteSucceedsEvenIfItsWaitFails(t *testing.T) {
	t.Parallel()
	for name, syncer := range map[string]Syncer{"busy": brokenSyncer{ErrTooManyWaiting}, "away": brokenSyncer{ErrDatabaseUnavailable}, "slow": slowSyncer{}} {
		handler := newGoldenAdmin(t, func(c *AdminConfig) { c.Syncer = syncer })
		got := askAdmin(handler, "POST", "/v1/keys/a/rotate?wait=fleet&timeout=10ms", `{"overlap_seconds":1}`)
		if got.StatusCode != http.StatusCreated || !strings.Contains(got.body, `"synced":false`) || !strings.Contains(got.body, `"key":"kt_secret"`) {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.body)
		}
	}
	handler := newGoldenAdmin(t, func(c *AdminConfig) { c.Syncer = nil })
	if got := askAdmin(handler, "POST", "/v1/keys/a/revoke?wait=fleet", ""); got.StatusCode != http.StatusBadRequest {
		t.Errorf("without write acknowledgements: %d %s", got.StatusCode, got.body)
	}
	if got := askAdmin(handler, "POST", "/v1/keys/a/revoke", ""); got.StatusCode != http.StatusOK {
		t.Errorf("without write acknowledgements: %d %s", got.StatusCode, got.body)
	}
}

type brokenSyncer struct{ err error }

func (b brokenSyncer) Wait(context.Context, clustertime.Time, bool) (SyncResult, error) {
	return SyncResult{}, b.err
}
func (b brokenSyncer) Instances(context.Context) ([]Instance, error) { return nil, b.err }

// TestADisconnectDoesNotInterruptAWrite: the context of the write outlives the
// request.
func TestADisconnectDoesNotInterruptAWrite(t *testing.T) {
	t.Parallel()
	handler := newGoldenAdmin(t, func(c *AdminConfig) { c.Keys = alive{t: t} })
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	r := httptest.NewRequestWithContext(ctx, http.MethodPost, "/v1/keys/a/revoke", http.NoBody)
	r.Header.Set("Authorization", "Bearer admin-token-of-ann")
	if got := answerOf(handler, r); got.StatusCode != http.StatusOK {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
}

type alive struct {
	goldenKeyAdmin
	t *testing.T
}

func (a alive) Revoke(ctx context.Context, by managedkey.Caller, id string) (managedkey.Written, error) {
	if ctx.Err() != nil || by.Actor != "ann" || by.RequestID == "" {
		a.t.Errorf("%v, %+v", ctx.Err(), by)
	}
	return a.goldenKeyAdmin.Revoke(ctx, by, id)
}

func FuzzKeys(f *testing.F) {
	f.Add("POST", "/v1/keys", "wait=fleet", `{"user_id":"u","scopes":["a"],"metadata":{"a":[1,{"$date":"x"}]},"expires_at":"2090-01-01T00:00:00Z"}`, "")
	f.Add("PATCH", "/v1/keys/a%2Fb", "user_id=u", `{"name":null,"allowed_ips":["::/0"]}`, `"0123456789abcdef"`)
	f.Add("POST", "/v1/keys/revoke-leaked", "wait=fleet", `{"key":"leaked-key"}`, "")
	f.Add("POST", "/v1/keys/revoke", "", `{"user_id":"user-1","dry_run":true,"limit":1,"cursor":"x"}`, "")
	f.Add("POST", "/v1/keys/a/rotate", "", `{"overlap_seconds":1e3}`, "*")
	f.Add("GET", "/v1/audit", "limit=1&cursor=x", "", "")
	handler := newGoldenAdmin(f)
	f.Fuzz(func(t *testing.T, method, path, query, body, ifMatch string) {
		r, err := http.NewRequest(method, "http://keytail"+path, strings.NewReader(body))
		if err != nil || !strings.HasPrefix(path, "/v1/") {
			t.Skip()
		}
		r.URL.RawQuery = query
		r.Header.Set("Authorization", "Bearer admin-token-of-ann")
		r.Header.Set("Content-Type", "application/json")
		if ifMatch != "" {
			r.Header.Set("If-Match", ifMatch)
		}
		got := answerOf(handler, r)
		if got.StatusCode == http.StatusInternalServerError && !strings.Contains(path, "no-reason") && !strings.Contains(body, "no-reason") {
			t.Errorf("%s %s: %s", method, path, got.body)
		}
		if got.StatusCode < 300 && method != http.MethodHead && !json.Valid([]byte(got.body)) {
			t.Errorf("%s %s: %d %q", method, path, got.StatusCode, got.body)
		}
	})
}
