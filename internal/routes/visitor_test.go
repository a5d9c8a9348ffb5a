package routes

import (
	"context"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/rights"
)

// visitor is a browser: it keeps cookies, asks for pages, and says where its forms are.
type visitor struct {
	t       *testing.T
	handler http.Handler
	cookies map[string]*http.Cookie
	// site is Sec-Fetch-Site of what is not GET.
	site string
	// prepare changes each request. Nil: nothing does.
	prepare func(*http.Request)
}

func newVisitor(t *testing.T, handler http.Handler) *visitor {
	return &visitor{t: t, handler: handler, cookies: map[string]*http.Cookie{}, site: "same-origin"}
}

func (v *visitor) do(method, target string, form url.Values) reply {
	v.t.Helper()
	r := httptest.NewRequest(method, target, strings.NewReader(form.Encode()))
	r.Header.Set("Accept", "text/html,application/xhtml+xml")
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if v.site != "" {
			r.Header.Set("Sec-Fetch-Site", v.site)
		}
	}
	for _, cookie := range v.cookies {
		r.AddCookie(&http.Cookie{Name: cookie.Name, Value: cookie.Value})
	}
	if v.prepare != nil {
		v.prepare(r)
	}
	got := answerOf(v.handler, r)
	checkAlways(v.t, got)
	for _, cookie := range got.Cookies() {
		if v.cookies[cookie.Name] = cookie; cookie.MaxAge < 0 {
			delete(v.cookies, cookie.Name)
		}
	}
	return got
}

func (v *visitor) get(target string) reply { return v.do(http.MethodGet, target, nil) }

func (v *visitor) post(target string, pairs ...string) reply {
	form := url.Values{}
	for i := 0; i < len(pairs); i += 2 {
		form.Set(pairs[i], pairs[i+1])
	}
	return v.do(http.MethodPost, target, form)
}

// signIn fails the test if the token is refused.
func (v *visitor) signIn(token string) {
	v.t.Helper()
	if got := v.post(pathSignIn, "token", token); got.StatusCode != http.StatusSeeOther {
		v.t.Fatalf("signing in: %d %s", got.StatusCode, got.body)
	}
}

// follow posts a form and loads the page to which the answer sends the browser.
func (v *visitor) follow(target string, pairs ...string) reply {
	v.t.Helper()
	got := v.post(target, pairs...)
	if got.StatusCode != http.StatusSeeOther {
		v.t.Fatalf("%s: %d %s", target, got.StatusCode, got.body)
	}
	return v.get(got.Header.Get("Location"))
}

// doneSyncer is a fleet of one instance, which has applied everything.
type doneSyncer struct{ goldenSyncer }

func (doneSyncer) Wait(context.Context, clustertime.Time, bool) (SyncResult, error) {
	return SyncResult{Synced: true, Instances: []Instance{{ID: "a/1"}}}, nil
}

// testClock is a clock that a test moves.
type testClock struct{ at time.Time }

func (c *testClock) now() time.Time { return c.at }

// signedInAs is a visitor with a session of a caller with a role.
func signedInAs(t *testing.T, who rights.Identity, change ...func(*AdminConfig)) *visitor {
	t.Helper()
	handler := newGoldenAdmin(t, append([]func(*AdminConfig){func(c *AdminConfig) {
		c.Callers, c.Syncer = fakeAdmins{"the-token": who}, doneSyncer{}
	}}, change...)...)
	v := newVisitor(t, handler)
	v.signIn("the-token")
	return v
}

var ann = rights.Identity{Name: "ann", Role: rights.Admin}
