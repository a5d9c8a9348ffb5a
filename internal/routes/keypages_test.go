package routes

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/managedkey"
	"github.com/keytail/keytail/internal/rights"
)

// keyForms are the forms of the pages, each as a browser sends it.
var keyForms = map[string][]string{
	pathNewKeyPage: {"user_id", "user-1", "name", ""},
	pathRotatePage: {"id", "a", "digest", "0123456789abcdef", "overlap_seconds", "3600"},
	pathRevokePage: {"id", "a"},
	pathFindPage:   {"key", "leaked-key"},
}

// pageOf is the address of the page with a form.
func pageOf(path string) string {
	if path == pathRotatePage || path == pathRevokePage {
		return path + "?id=a"
	}
	return path
}

// TestPagesOfferWhatTheCallerMayDo, and the server refuses the rest.
func TestPagesOfferWhatTheCallerMayDo(t *testing.T) {
	t.Parallel()
	for role, allowed := range map[rights.Role][]string{
		rights.Viewer:   {pathFindPage},
		rights.Operator: {pathFindPage, pathRevokePage},
		rights.Admin:    {pathFindPage, pathRevokePage, pathRotatePage, pathNewKeyPage},
	} {
		for _, owner := range []managedkey.Owner{{}, {UserID: "user-1"}, {OrgID: "acme"}} {
			var n noted
			v := signedInAs(t, rights.Identity{Name: "ann", Role: role, Owner: owner}, func(c *AdminConfig) { c.Refusals = &n })
			offers := v.get("/keys").body + v.get("/keys/view?id=a").body
			for path, form := range keyForms {
				may := slices.Contains(allowed, path)
				if strings.Contains(offers, `href="`+path) != may {
					t.Errorf("%v %+v: %s is offered: %v", role, owner, path, !may)
				}
				page, post := v.get(pageOf(path)), v.post(path, form...)
				if (page.StatusCode == http.StatusOK) != may || !may && page.StatusCode != http.StatusForbidden {
					t.Errorf("%v %+v: GET %s: %d %s", role, owner, path, page.StatusCode, page.body)
				}
				if (post.StatusCode < http.StatusBadRequest) != may || !may && post.StatusCode != http.StatusForbidden {
					t.Errorf("%v %+v: POST %s: %d %s", role, owner, path, post.StatusCode, post.body)
				}
			}
			if strings.Contains(offers, `href="/"`) != (owner == managedkey.Owner{}) {
				t.Errorf("%v %+v: the status page is offered, or not", role, owner)
			}
			if refused := len(n.all); refused != 2*(len(keyForms)-len(allowed)) {
				t.Errorf("%v: noted %q", role, n.all)
			}
		}
	}
}

// TestPagesNeedTheRightsOfTheAPI: there is no second set of rules.
func TestPagesNeedTheRightsOfTheAPI(t *testing.T) {
	t.Parallel()
	for page, operation := range map[string]string{
		"keysPage": "listKeys", "keyPage": "getKey", "findKeyPage": "getKey", "submitFindKey": "getKey", "newKeyPage": "createKey", "submitNewKey": "createKey",
		"rotateKeyPage": "rotateKey", "submitRotateKey": "rotateKey", "revokeKeyPage": "revokeKey", "submitRevokeKey": "revokeKey",
	} {
		if wantRights[page] != wantRights[operation] {
			t.Errorf("%s needs %+v, %s %+v", page, wantRights[page], operation, wantRights[operation])
		}
	}
}

// TestTheBindingReachesEveryPage: each call has the owner of the token.
func TestTheBindingReachesEveryPage(t *testing.T) {
	t.Parallel()
	owner := managedkey.Owner{UserID: "user-1", OrgID: "acme"}
	keys := recordingKeys{map[string][]managedkey.Caller{}}
	v := signedInAs(t, rights.Identity{Name: "tenant", Role: rights.Admin, Owner: owner}, func(c *AdminConfig) { c.Keys = keys })
	for path, form := range keyForms {
		v.get(path + "?id=a")
		v.post(path, form...)
	}
	v.get("/keys?user_id=other")
	v.get("/keys/view?id=a")
	for _, method := range []string{"listKeys", "getKey", "explainKey", "listAudit", "createKey", "rotateKey", "revokeKey", "submitFindKey"} {
		if len(keys.callers[method]) == 0 {
			t.Errorf("%s is not called", method)
		}
	}
	for method, callers := range keys.callers {
		for _, by := range callers {
			if by.Bound != owner || by.Actor != "tenant" || by.RequestID == "" {
				t.Errorf("%s is called by %+v", method, by)
			}
		}
	}
}

// TestGETChangesNothing, whatever its query has.
func TestGETChangesNothing(t *testing.T) {
	t.Parallel()
	keys := recordingKeys{map[string][]managedkey.Caller{}}
	v := signedInAs(t, ann, func(c *AdminConfig) { c.Keys = keys })
	for _, path := range pagePaths {
		for _, query := range []string{"", "?id=a", "?id=a&digest=x&overlap_seconds=0", "?user_id=u", "?key=leaked-key"} {
			v.get(path + query)
			v.do(http.MethodHead, path+query, nil)
		}
	}
	reads := []string{"listKeys", "getKey", "explainKey", "listAudit"}
	for method := range keys.callers {
		if !slices.Contains(reads, method) {
			t.Errorf("GET calls %s", method)
		}
	}
	if len(keys.callers) != len(reads) {
		t.Errorf("called: %v", keys.callers)
	}
}

// TestTheTextOfANewKeyIsShownOnce, to the caller that made it, within two minutes, and is
// in no address and no log.
func TestTheTextOfANewKeyIsShownOnce(t *testing.T) {
	t.Parallel()
	const secret = "kt_secret"
	for path, form := range map[string][]string{pathNewKeyPage: keyForms[pathNewKeyPage], pathRotatePage: keyForms[pathRotatePage]} {
		core, logs := observer.New(zap.DebugLevel)
		clock := &testClock{goldenNow}
		v := signedInAs(t, ann, func(c *AdminConfig) {
			c.Now, c.Logger = clock.now, zap.New(core)
			c.Callers = fakeAdmins{"the-token": ann, "bob-token": {Name: "bob", Role: rights.Admin}}
		})
		answer := v.post(path, form...)
		to := answer.Header.Get("Location")
		if answer.StatusCode != http.StatusSeeOther || !strings.HasPrefix(to, "/keys/view?id=") || strings.Contains(fmt.Sprint(answer.Header, answer.body), secret) {
			t.Fatalf("%s: %d %v %s", path, answer.StatusCode, answer.Header, answer.body)
		}
		v.do(http.MethodHead, to, nil)
		v.get("/keys/view?id=another-key")
		mine := v.cookies
		bob := newVisitor(t, v.handler)
		bob.signIn("bob-token")
		bob.cookies["keytail-outcome"] = mine["keytail-outcome"]
		if page := bob.get(to); strings.Contains(page.body, secret) {
			t.Error("another caller sees the text")
		}
		if page := v.get(to); strings.Count(page.body, secret) != 1 || !strings.Contains(page.body, "Every instance has applied it") {
			t.Errorf("%s: %s", path, page.body)
		}
		if page := v.get(to); strings.Contains(page.body, secret) || strings.Contains(page.body, "role=\"status\"") {
			t.Error("shown again")
		}
		to = v.post(path, form...).Header.Get("Location")
		clock.at = clock.at.Add(2 * time.Minute)
		if page := v.get(to); strings.Contains(page.body, secret) {
			t.Error("shown after two minutes")
		}
		for _, line := range logs.All() {
			if strings.Contains(fmt.Sprint(line.Message, line.ContextMap()), secret) {
				t.Errorf("in the log: %v", line)
			}
		}
	}
}

// TestABrowserThatLeavesHasNotSeenTheText: it is there when it comes back.
func TestABrowserThatLeavesHasNotSeenTheText(t *testing.T) {
	t.Parallel()
	v := signedInAs(t, ann)
	to := v.post(pathNewKeyPage, keyForms[pathNewKeyPage]...).Header.Get("Location")
	v.prepare = func(r *http.Request) {
		ctx, cancel := context.WithCancel(r.Context())
		cancel()
		*r = *r.WithContext(ctx)
	}
	v.get(to)
	v.prepare = nil
	if page := v.get(to); !strings.Contains(page.body, "kt_secret") {
		t.Error("the text is lost")
	}
}

// TestRevokingSaysWhatHappens before and after.
func TestRevokingSaysWhatHappens(t *testing.T) {
	t.Parallel()
	v := signedInAs(t, ann)
	if page := v.get("/keys/revoke?id=a"); !strings.Contains(page.body, "What will happen") || !strings.Contains(page.body, `<form action="/keys/revoke" method="post">`) {
		t.Errorf("%s", page.body)
	}
	page := v.follow(pathRevokePage, "id", "a")
	if !strings.Contains(page.body, "The key is revoked.") || !strings.Contains(page.body, "Every instance has applied it (1 of 1)") {
		t.Errorf("%s", page.body)
	}
}

// TestWhatAnInstanceHasNotAppliedIsNamed, with a link that asks again.
func TestWhatAnInstanceHasNotAppliedIsNamed(t *testing.T) {
	t.Parallel()
	v := signedInAs(t, ann, func(c *AdminConfig) { c.Syncer = lateSyncer{} })
	page := v.follow(pathRevokePage, "id", "a")
	again := "/keys/view?id=650102030405060708090a0b&amp;revision=6923a1c000000003"
	if !strings.Contains(page.body, "Missing: <code>late/1</code>") || !strings.Contains(page.body, `href="`+again+`"`) {
		t.Errorf("%s", page.body)
	}
	page = v.get(strings.ReplaceAll(again, "&amp;", "&"))
	if !strings.Contains(page.body, "The change with the revision 6923a1c000000003") || !strings.Contains(page.body, "late/1") {
		t.Errorf("%s", page.body)
	}
	if page = v.get("/keys/view?id=a&revision=x"); page.StatusCode != http.StatusBadRequest {
		t.Errorf("%d", page.StatusCode)
	}
}

// TestAKeyIsRotatedAsItWasShown: the page says which content it has shown. A revocation
// does not depend on it.
func TestAKeyIsRotatedAsItWasShown(t *testing.T) {
	t.Parallel()
	keys := recordingKeys{map[string][]managedkey.Caller{}}
	v := signedInAs(t, ann, func(c *AdminConfig) { c.Keys = keys })
	for path, form := range keyForms {
		v.post(path, form...)
	}
	if by := keys.callers["rotateKey"]; len(by) != 1 || !slices.Equal(by[0].IfMatch, []string{"0123456789abcdef"}) {
		t.Errorf("rotated by %+v", by)
	}
	if by := keys.callers["revokeKey"]; len(by) != 1 || by[0].IfMatch != nil {
		t.Errorf("revoked by %+v", by)
	}
	if page := signedInAs(t, ann).get("/keys/rotate?id=a"); !strings.Contains(page.body, `name="digest" value="0123456789abcdef"`) {
		t.Errorf("%s", page.body)
	}
}

// lateSyncer is a fleet of which one instance does not answer.
type lateSyncer struct{ goldenSyncer }

func (lateSyncer) Wait(context.Context, clustertime.Time, bool) (SyncResult, error) {
	return SyncResult{Instances: []Instance{{ID: "late/1"}, {ID: "live/2"}}, Missing: []string{"late/1"}}, nil
}

// TestMistakesShowTheFormAgain, as it was written.
func TestMistakesShowTheFormAgain(t *testing.T) {
	t.Parallel()
	v := signedInAs(t, ann)
	for name, c := range map[string]struct {
		path   string
		form   []string
		status int
		want   []string
	}{
		"no user":        {pathNewKeyPage, []string{"name", "my name"}, 400, []string{"user_id is missing", `value="my name"`}},
		"metadata":       {pathNewKeyPage, []string{"user_id", "u", "metadata", "{"}, 400, []string{"metadata must be a JSON object"}},
		"no object":      {pathNewKeyPage, []string{"user_id", "u", "metadata", "[]"}, 400, []string{"metadata must be an object"}},
		"an address":     {pathNewKeyPage, []string{"user_id", "u", "allowed_ips", "10.0.0.1 x"}, 400, []string{"allowed_ips[1] is not valid", `value="10.0.0.1 x"`}},
		"a time":         {pathNewKeyPage, []string{"user_id", "u", "expires_at", "tomorrow"}, 400, []string{"expires_at must be a time"}},
		"unknown field":  {pathNewKeyPage, []string{"user_id", "u", "is_admin", "1"}, 400, []string{"the form may have only"}},
		"not UTF-8":      {pathNewKeyPage, []string{"user_id", "\xff"}, 400, []string{"user_id is not UTF-8"}},
		"duplicate":      {pathNewKeyPage, []string{"user_id", "again"}, 409, []string{"another key has this hash"}},
		"unknown result": {pathNewKeyPage, []string{"user_id", "unknown"}, 503, []string{`href="/keys/view?id=650102030405060708090a0b"`}},
		"no overlap":     {pathRotatePage, []string{"id", "a", "digest", "d"}, 400, []string{"overlap_seconds is missing", "What will happen"}},
		"no digest":      {pathRotatePage, []string{"id", "a", "overlap_seconds", "0"}, 400, []string{"digest is missing"}},
		"no key":         {pathRevokePage, []string{"id", "nobody"}, 404, []string{"this key does not exist"}},
		"no id":          {pathRevokePage, nil, 400, []string{"id is missing"}},
		"no text":        {pathFindPage, []string{"key", " "}, 400, []string{"key is missing"}},
		"no such text":   {pathFindPage, []string{"key", "stranger"}, 404, []string{"this key does not exist"}},
		"away":           {pathRevokePage, []string{"id", "away"}, 503, []string{"the database did not answer"}},
	} {
		got := v.post(c.path, c.form...)
		if got.StatusCode != c.status || strings.Contains(got.body, ": secret") {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.body)
		}
		for _, want := range c.want {
			if !strings.Contains(got.body, want) {
				t.Errorf("%s: no %q in %s", name, want, got.body)
			}
		}
	}
	if got := v.get("/keys?unused_for=soon&user_id=u"); got.StatusCode != http.StatusBadRequest || !strings.Contains(got.body, "unused_for must be a duration") || !strings.Contains(got.body, `value="soon"`) {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	if got := v.get("/keys/view?id=a&ip=x"); got.StatusCode != http.StatusOK || !strings.Contains(got.body, "is not valid") && !strings.Contains(got.body, "ip must") {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
}

// TestOfSeveralMistakesAlwaysTheSameIsNamed: whoever sends a form again sees what has
// changed.
func TestOfSeveralMistakesAlwaysTheSameIsNamed(t *testing.T) {
	t.Parallel()
	v := signedInAs(t, ann)
	for _, form := range [][]string{
		{"user_id", "u", "metadata", "{", "expires_at", "tomorrow", "allowed_ips", "x", "scopes", "a,b"},
		{"user_id", "\xff", "name", "\xff", "is_admin", "1"},
	} {
		first := v.post(pathNewKeyPage, form...).body
		for range 20 {
			if again := v.post(pathNewKeyPage, form...).body; again != first {
				t.Fatalf("%q is answered with\n%s\nand with\n%s", form, first, again)
			}
		}
	}
}

// TestFieldsOfTheFormAreThoseOfTheAPI.
func TestFieldsOfTheFormAreThoseOfTheAPI(t *testing.T) {
	t.Parallel()
	keys := &creating{}
	v := signedInAs(t, ann, func(c *AdminConfig) { c.Keys = keys })
	v.post(pathNewKeyPage, "user_id", "u", "org_id", "", "name", "n", "scopes", " a:b  c ", "allowed_ips", "10.0.0.0/8", "expires_at", "2027-01-02T15:04", "metadata", `{"plan": "pro"}`)
	f := keys.fields
	if *f.UserID != "u" || f.OrgID != nil || *f.Name != "n" || !slices.Equal(*f.Scopes, []string{"a:b", "c"}) || len(*f.AllowedIPs) != 1 ||
		!f.ExpiresAt.Equal(time.Date(2027, 1, 2, 15, 4, 0, 0, time.UTC)) || string(*f.Metadata) != `{"plan": "pro"}` {
		t.Errorf("%+v", f)
	}
}

// creating keeps the fields of the last key.
type creating struct {
	goldenKeyAdmin
	fields managedkey.Fields
}

func (k *creating) Create(ctx context.Context, by managedkey.Caller, f managedkey.Fields) (managedkey.Written, error) {
	k.fields = f
	return k.goldenKeyAdmin.Create(ctx, by, f)
}

// hostileKeys has a key of which every text is an attack.
type hostileKeys struct{ goldenKeyAdmin }

const attack = `"><script>alert(1)</script><a href='javascript:x`

func hostileKey() managedkey.Key {
	key := goldenKey()
	r := &key.Record
	r.KeyID, r.UserID, r.OrgID, r.ProjectID, r.Name, r.Defect = attack, attack, attack, attack, attack, attack
	r.Scopes, r.Metadata = []string{attack}, json.RawMessage(`{"x":"</code><script>alert(1)</script>"}`)
	key.KeyPrefix, key.RotatedFrom = attack, "javascript:alert(1)"
	return key
}

func (hostileKeys) Get(context.Context, managedkey.Caller, string) (managedkey.Key, error) {
	return hostileKey(), nil
}

func (hostileKeys) List(context.Context, managedkey.Caller, managedkey.Query) (managedkey.Page, error) {
	return managedkey.Page{Keys: []managedkey.Key{hostileKey()}, Next: attack}, nil
}

func (hostileKeys) Audit(context.Context, managedkey.Caller, managedkey.AuditQuery) (managedkey.AuditPage, error) {
	return managedkey.AuditPage{Entries: []managedkey.Entry{{Actor: attack, Action: attack, Cause: attack, RequestID: attack}}}, nil
}

func (hostileKeys) FindByText(context.Context, managedkey.Caller, string) ([]managedkey.Key, error) {
	return []managedkey.Key{hostileKey()}, nil
}

// TestTextsOfKeysAreEscaped on every page, and pages may run no script.
func TestTextsOfKeysAreEscaped(t *testing.T) {
	t.Parallel()
	v := signedInAs(t, ann, func(c *AdminConfig) { c.Keys = hostileKeys{} })
	pages := map[string]reply{
		"list": v.get("/keys?user_id=%22%3E%3Cscript%3E"), "view": v.get("/keys/view?id=x&ip=%22%3E%3Cscript%3E"),
		"rotate": v.get("/keys/rotate?id=x"), "revoke": v.get("/keys/revoke?id=x"), "find": v.post("/keys/find", "key", attack),
		"new": v.post("/keys/new", "name", attack, "metadata", attack),
	}
	for name, page := range pages {
		if strings.Contains(page.body, "<script") || strings.Contains(page.body, `href='`) || strings.Contains(page.body, `="javascript:`) {
			t.Errorf("%s: %s", name, page.body)
		}
		if policy := page.Header.Get("Content-Security-Policy"); !strings.Contains(policy, "script-src 'none'") || !strings.Contains(policy, "default-src 'none'") {
			t.Errorf("%s: the policy is %q", name, policy)
		}
		if page.Header.Get("Referrer-Policy") != "same-origin" {
			t.Errorf("%s: with %q a browser hides the origin of forms", name, page.Header.Get("Referrer-Policy"))
		}
	}
	if !strings.Contains(pages["list"].body, "/keys/view?id=%22%3e%3cscript%3e") {
		t.Errorf("no link to the key: %s", pages["list"].body)
	}
}

// TestATextThatIsSearchedForIsNotRepeated.
func TestATextThatIsSearchedForIsNotRepeated(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.DebugLevel)
	v := signedInAs(t, ann, func(c *AdminConfig) { c.Logger = zap.New(core) })
	v.prepare = func(r *http.Request) { r.Header.Set("X-Request-Id", "incident:leaked-key-2") }
	for _, form := range [][]string{{"key", "leaked-key"}, {"key", "leaked-key", "x", "1"}, {"key", "leaked-key-2"}, {"key", " leaked-key\r\n"}} {
		got := v.post(pathFindPage, form...)
		checkAlways(t, got, "leaked-key")
		if found := strings.Contains(got.body, "The key with this text"); found != (len(form) == 2 && form[1] != "leaked-key-2") {
			t.Errorf("%q: %d %s", form, got.StatusCode, got.body)
		}
	}
	if text := fmt.Sprint(logs.All()); strings.Contains(text, "leaked-key") {
		t.Errorf("in the log: %s", text)
	}
}

// awayKeys has no database.
type awayKeys struct{ hostileKeys }

func (awayKeys) List(context.Context, managedkey.Caller, managedkey.Query) (managedkey.Page, error) {
	return managedkey.Page{}, managedkey.ErrUnavailable
}

// TestTheListInAnOutage leads to the page that says why, and shows no empty result.
func TestTheListInAnOutage(t *testing.T) {
	t.Parallel()
	v := signedInAs(t, ann, func(c *AdminConfig) { c.Keys = awayKeys{} })
	got := v.get("/keys")
	if got.StatusCode != http.StatusServiceUnavailable || !strings.Contains(got.body, "The page Status says since when, why, and what to do.") {
		t.Errorf("%d %s", got.StatusCode, got.body)
	}
	for _, wrong := range []string{"nothing was written", `id="result"`, "No key has all of this"} {
		if strings.Contains(got.body, wrong) {
			t.Errorf("%q is in %s", wrong, got.body)
		}
	}
}
