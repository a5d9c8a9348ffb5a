package routes

import (
	"context"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/managedkey"
	"github.com/keytail/keytail/internal/rights"
)

// recordingKeys records the callers, by method.
type recordingKeys struct {
	callers map[string][]managedkey.Caller
}

func (k recordingKeys) add(method string, by managedkey.Caller) {
	k.callers[method] = append(k.callers[method], by)
}

func (k recordingKeys) Create(_ context.Context, by managedkey.Caller, _ managedkey.Fields) (w managedkey.Written, err error) {
	k.add("createKey", by)
	return w, err
}

func (k recordingKeys) List(_ context.Context, by managedkey.Caller, _ managedkey.Query) (p managedkey.Page, err error) {
	k.add("listKeys", by)
	return p, err
}

func (k recordingKeys) Get(_ context.Context, by managedkey.Caller, _ string) (key managedkey.Key, err error) {
	k.add("getKey", by)
	return key, err
}

func (k recordingKeys) FindByText(_ context.Context, by managedkey.Caller, _ string) (keys []managedkey.Key, err error) {
	k.add("submitFindKey", by)
	return keys, err
}

func (k recordingKeys) Explain(_ context.Context, by managedkey.Caller, _ string, _ *apikey.Request) (e managedkey.Explanation, err error) {
	k.add("explainKey", by)
	return e, err
}

func (k recordingKeys) Update(_ context.Context, by managedkey.Caller, _ string, _ managedkey.Fields) (w managedkey.Written, err error) {
	k.add("updateKey", by)
	return w, err
}

func (k recordingKeys) Revoke(_ context.Context, by managedkey.Caller, _ string) (w managedkey.Written, err error) {
	k.add("revokeKey", by)
	return w, err
}

func (k recordingKeys) RevokeLeaked(_ context.Context, by managedkey.Caller, _ string) (l managedkey.Leaked, err error) {
	k.add("revokeLeakedKey", by)
	return l, err
}

func (k recordingKeys) RevokeAll(_ context.Context, by managedkey.Caller, _ managedkey.Query, _ bool) (p managedkey.RevokedPage, err error) {
	k.add("revokeKeysOfOwner", by)
	return p, err
}

func (k recordingKeys) Rotate(_ context.Context, by managedkey.Caller, _ string, _ time.Duration) (w managedkey.Written, err error) {
	k.add("rotateKey", by)
	return w, err
}

func (k recordingKeys) Delete(_ context.Context, by managedkey.Caller, _ string) (w managedkey.Written, err error) {
	k.add("deleteKey", by)
	return w, err
}

func (k recordingKeys) Audit(_ context.Context, by managedkey.Caller, _ managedkey.AuditQuery) (p managedkey.AuditPage, err error) {
	k.add("listAudit", by)
	return p, err
}

// bodies are those of the operations that have one.
var bodies = map[string]string{
	"createKey": `{"user_id":"other","org_id":"other"}`, "updateKey": `{"name":"x"}`, "rotateKey": `{"overlap_seconds":0}`,
	"revokeLeakedKey": `{"key":"leaked-key"}`, "revokeKeysOfOwner": `{"user_id":"other","org_id":"other"}`,
}

// TestTheBindingOfATokenReachesEveryOperation, also if the request names another owner.
func TestTheBindingOfATokenReachesEveryOperation(t *testing.T) {
	t.Parallel()
	keys := recordingKeys{map[string][]managedkey.Caller{}}
	owner := managedkey.Owner{UserID: "user-1", OrgID: "acme"}
	handler := newGoldenAdmin(t, func(c *AdminConfig) {
		c.Keys, c.Callers = keys, fakeAdmins{"admin-token-of-ann": rights.Identity{Name: "tenant", Role: rights.Admin, Owner: owner}}
	})
	for _, r := range adminRights {
		if !strings.HasPrefix(r.path, "/v1/keys") && r.path != "/v1/audit" {
			continue
		}
		query := "?user_id=other"
		if r.operation == "revokeKeysOfOwner" {
			query = "" // its body names the owner
		}
		got := askAdmin(handler, r.method, strings.ReplaceAll(r.path, ":id", "a")+query, bodies[r.operation])
		if got.StatusCode >= http.StatusMultipleChoices {
			t.Errorf("%s: %d %s", r.operation, got.StatusCode, got.body)
		}
		callers := keys.callers[r.operation]
		if len(callers) != 1 || callers[0].Bound != owner || callers[0].Owner != "other" || callers[0].Actor != "tenant" {
			t.Errorf("%s is called by %+v", r.operation, callers)
		}
	}
}

// noted records refusals.
type noted struct{ all []string }

func (n *noted) Note(r managedkey.Refusal) {
	n.all = append(n.all, fmt.Sprintf("%s %s %s %s", r.Action, r.Source, r.Actor, r.Cause))
}

// expiredCallers are callers whose tokens have all expired.
type expiredCallers struct{ fakeAdmins }

func (e expiredCallers) Token(token string) (rights.Identity, error) {
	who, err := e.fakeAdmins.Token(token)
	if err == nil {
		err = rights.ErrExpired
	}
	return who, err
}

// TestRefusedRequestsAreNoted, with where they come from; a browser's first request,
// which has no token, is not.
func TestRefusedRequestsAreNoted(t *testing.T) {
	t.Parallel()
	two := func(r *http.Request) {
		r.Header["Authorization"] = []string{"Bearer free-viewer", "Bearer free-viewer"}
	}
	crossOrigin := func(r *http.Request) {
		certificate("free-admin")(r)
		r.Header.Set("Sec-Fetch-Site", "cross-site")
	}
	callers := everyIdentity()
	for name, c := range map[string]struct {
		callers AdminCallers
		prepare func(*http.Request)
		status  int
		want    []string
	}{
		"a wrong token":    {callers, bearer("wrong"), 401, []string{"login_failed 192.0.2.1  wrong"}},
		"an expired token": {expiredCallers{callers}, bearer("free-admin"), 401, []string{"login_failed 192.0.2.1 free expired"}},
		"two tokens":       {callers, two, 401, []string{"login_failed 192.0.2.1  wrong"}},
		"beyond its role":  {callers, bearer("free-viewer"), 403, []string{"denied 192.0.2.1 free deleteKey"}},
		"a page's request": {callers, crossOrigin, 403, []string{"denied 192.0.2.1 free cross_origin"}},
		"no token":         {callers, func(*http.Request) {}, 401, nil},
		"allowed":          {callers, bearer("free-admin"), 200, nil},
	} {
		var n noted
		handler := newGoldenAdmin(t, func(config *AdminConfig) { config.Callers, config.Refusals = c.callers, &n })
		r := httptest.NewRequest(http.MethodDelete, "/v1/keys/a", nil)
		r.RemoteAddr = "192.0.2.1:4711"
		c.prepare(r)
		if got := answerOf(handler, r); got.StatusCode != c.status || !slices.Equal(n.all, c.want) {
			t.Errorf("%s: %d, noted %q", name, got.StatusCode, n.all)
		}
		if c.status != http.StatusUnauthorized {
			continue
		}
		r.URL.Path = "/v1/none"
		if answerOf(handler, r); len(n.all) != 2*len(c.want) {
			t.Errorf("%s: for a path that does not exist, noted %q", name, n.all)
		}
	}
}

// TestARefusedRequestRepeatsNoKey: its body is not read, so its request id may be the
// leaked key.
func TestARefusedRequestRepeatsNoKey(t *testing.T) {
	t.Parallel()
	handler := newGoldenAdmin(t)
	for token, status := range map[string]int{"admin-token-of-bob": 403, "wrong": 401} {
		got := askAdmin(handler, "POST", "/v1/keys/revoke-leaked", `{"key":"leaked-key"}`, "X-Request-Id", "leaked-key", "Authorization", "Bearer "+token)
		checkAlways(t, got, "leaked-key", token)
		if got.StatusCode != status {
			t.Errorf("%s: %d %s", token, got.StatusCode, got.body)
		}
	}
}

func TestTheActionOfTheAuditIsChecked(t *testing.T) {
	t.Parallel()
	handler := newGoldenAdmin(t)
	for action, status := range map[string]int{"revoke": 200, "login_failed": 200, "": 400, "a b": 400, "REVOKE": 400, "$ne": 400, strings.Repeat("a", 33): 400} {
		if got := askAdmin(handler, "GET", "/v1/audit?action="+strings.ReplaceAll(action, " ", "%20"), ""); got.StatusCode != status {
			t.Errorf("%q: %d %s", action, got.StatusCode, got.body)
		}
	}
}
