package routes

import (
	"crypto/sha256"
	"crypto/tls"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/managedkey"
	"github.com/keytail/keytail/internal/rights"
)

func overTLS(r *http.Request) { r.TLS = &tls.ConnectionState{} }

// TestTheCookieOfASession: nothing but this listener gets it, and no script.
func TestTheCookieOfASession(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		address string
		prepare func(*http.Request)
		cookie  string
		secure  bool
	}{
		"plain":     {"http://localhost:9091", nil, "keytail-session-9091", false},
		"tls":       {"https://keytail.example", overTLS, "__Host-keytail-session", true},
		"tls, port": {"https://keytail.example:9091", overTLS, "__Host-keytail-session-9091", true},
		"tls ends at a proxy": {"http://keytail.example", func(r *http.Request) {
			r.Header.Set("Origin", "https://keytail.example")
		}, "__Host-keytail-session", true},
	} {
		v := newVisitor(t, newGoldenAdmin(t))
		v.prepare = c.prepare
		got := v.post(c.address+pathSignIn, "token", "admin-token-of-ann")
		cookie := v.cookies[c.cookie]
		if got.StatusCode != http.StatusSeeOther || got.Header.Get("Location") != "/" || cookie == nil {
			t.Fatalf("%s: %d, cookies %v", name, got.StatusCode, got.Cookies())
		}
		if !cookie.HttpOnly || cookie.SameSite != http.SameSiteStrictMode || cookie.Path != "/" || cookie.Domain != "" || cookie.Secure != c.secure || cookie.MaxAge != 0 {
			t.Errorf("%s: %s", name, cookie.Raw)
		}
		if len(cookie.Value) != 43 || strings.Contains(got.Header.Get("Location")+got.body, cookie.Value) {
			t.Errorf("%s: the id is %q", name, cookie.Value)
		}
		if page := v.get(c.address + "/keys"); page.StatusCode != http.StatusOK || !strings.Contains(page.body, "<strong>ann (admin)</strong>") || !strings.Contains(page.body, "Sign out") {
			t.Errorf("%s: %d %s", name, page.StatusCode, page.body)
		}
	}
}

// TestNobodyCanPlantASession: an id that the browser had before is never used, and a
// cookie that another host or the network may have set does not count over TLS.
func TestNobodyCanPlantASession(t *testing.T) {
	t.Parallel()
	v := newVisitor(t, newGoldenAdmin(t))
	v.cookies["keytail-session"] = &http.Cookie{Name: "keytail-session", Value: "planted"}
	v.signIn("admin-token-of-ann")
	first := v.cookies["keytail-session"].Value
	v.signIn("admin-token-of-ann")
	second := v.cookies["keytail-session"].Value
	if first == "planted" || first == second {
		t.Errorf("ids %q, %q", first, second)
	}
	for name, c := range map[string]struct {
		header string
		tls    bool
		status int
	}{
		"the session":        {"keytail-session=" + second, false, 200},
		"the one before":     {"keytail-session=" + first, false, 303},
		"a planted one":      {"keytail-session=planted", false, 303},
		"two, planted first": {"keytail-session=planted; keytail-session=" + second, false, 303},
		"two, planted last":  {"keytail-session=" + second + "; keytail-session=planted", false, 303},
		"plain over TLS":     {"keytail-session=" + second, true, 303},
		"secure over TLS":    {"__Host-keytail-session=" + second, true, 200},
		"secure goes first":  {"keytail-session=planted; __Host-keytail-session=" + second, false, 200},
		"of another port":    {"keytail-session-9091=" + second, false, 303},
	} {
		v.cookies = nil
		v.prepare = func(r *http.Request) {
			r.Header.Set("Cookie", c.header)
			if c.tls {
				overTLS(r)
			}
		}
		if got := v.get("/keys"); got.StatusCode != c.status {
			t.Errorf("%s: %d", name, got.StatusCode)
		}
	}
}

// halfSent is the body of a form that is never sent completely.
type halfSent struct {
	reading chan struct{} // closed by the first Read
	end     chan struct{} // closed: the client is gone
}

func (h halfSent) Read([]byte) (int, error) {
	close(h.reading)
	<-h.end
	return 0, io.ErrUnexpectedEOF
}

// TestHalfSentFormsKeepNobodyOut: who has not signed in can neither fill the listener with
// forms, nor keep other clients from signing in.
func TestHalfSentFormsKeepNobodyOut(t *testing.T) {
	t.Parallel()
	handler := newGoldenAdmin(t)
	post := func(client string, body io.Reader) *http.Request {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, pathSignIn, body)
		r.RemoteAddr = client + ":1"
		r.Header.Set("Sec-Fetch-Site", "same-origin")
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return r
	}
	status := func(client string) int {
		return answerOf(handler, post(client, strings.NewReader("token=admin-token-of-ann"))).StatusCode
	}
	var ended sync.WaitGroup
	end := make(chan struct{})
	for i, client := range []string{"192.0.2.1", "192.0.2.1", "192.0.2.2", "192.0.2.2"} {
		if got := status("192.0.2.3"); got != http.StatusSeeOther {
			t.Errorf("with %d half-sent forms of others: %d", i, got)
		}
		form := halfSent{make(chan struct{}), end}
		ended.Go(func() { handler.ServeHTTP(httptest.NewRecorder(), post(client, form)) })
		<-form.reading
		if got := status(client); i%2 == 1 && got != http.StatusServiceUnavailable {
			t.Errorf("%s, with two half-sent forms of its own: %d", client, got)
		}
	}
	if got := status("192.0.2.3"); got != http.StatusServiceUnavailable {
		t.Errorf("with %d half-sent forms: %d", maxSigningIn, got)
	}
	if got := answerOf(handler, adminRequest(http.MethodGet, "/v1/status", bearer("admin-token-of-ann"))); got.StatusCode != http.StatusOK {
		t.Errorf("a token in a header: %d", got.StatusCode)
	}
	close(end)
	ended.Wait()
	if got := status("192.0.2.1"); got != http.StatusSeeOther {
		t.Errorf("after the forms: %d", got)
	}
}

// TestHalfSentFormsOfAViewerKeepNobodyOut: a viewer cannot fill the listener with forms.
func TestHalfSentFormsOfAViewerKeepNobodyOut(t *testing.T) {
	t.Parallel()
	handler := newGoldenAdmin(t, func(c *AdminConfig) { c.Callers = everyIdentity() })
	post := func(token string, body io.Reader) *http.Request {
		r := httptest.NewRequestWithContext(t.Context(), http.MethodPost, pathFindPage, body)
		bearer(token)(r)
		r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		return r
	}
	var ended sync.WaitGroup
	end := make(chan struct{})
	for range maxFinding {
		form := halfSent{make(chan struct{}), end}
		ended.Go(func() { handler.ServeHTTP(httptest.NewRecorder(), post("free-viewer", form)) })
		<-form.reading
	}
	for token, refused := range map[string]bool{"free-viewer": true, "user-viewer": false} {
		got := answerOf(handler, post(token, strings.NewReader("key=a"))).StatusCode
		if (got == http.StatusServiceUnavailable) != refused {
			t.Errorf("%s: %d", token, got)
		}
	}
	close(end)
	ended.Wait()
}

// changingAdmins are callers whose file changes.
type changingAdmins struct {
	fakeAdmins
	expired bool
}

func (c *changingAdmins) SignedIn(hash [sha256.Size]byte) (rights.Identity, error) {
	who, err := c.fakeAdmins.SignedIn(hash)
	if err == nil && c.expired {
		err = rights.ErrExpired
	}
	return who, err
}

// TestASessionEnds, and its rights are those that the token has at each request.
func TestASessionEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		change func(v *visitor, clock *testClock, callers *changingAdmins)
		status int // of the page of a new key
	}{
		"in use":         {func(_ *visitor, clock *testClock, _ *changingAdmins) { clock.at = clock.at.Add(29 * time.Minute) }, 200},
		"idle":           {func(_ *visitor, clock *testClock, _ *changingAdmins) { clock.at = clock.at.Add(30 * time.Minute) }, 303},
		"signed out":     {func(v *visitor, _ *testClock, _ *changingAdmins) { v.post(pathSignOut) }, 303},
		"token removed":  {func(_ *visitor, _ *testClock, callers *changingAdmins) { delete(callers.fakeAdmins, "token") }, 303},
		"token replaced": {func(_ *visitor, _ *testClock, callers *changingAdmins) { callers.fakeAdmins = fakeAdmins{"new": ann} }, 303},
		"token expired":  {func(_ *visitor, _ *testClock, callers *changingAdmins) { callers.expired = true }, 303},
		"fewer rights": {func(_ *visitor, _ *testClock, callers *changingAdmins) {
			callers.fakeAdmins["token"] = rights.Identity{Name: "ann", Role: rights.Viewer}
		}, 403},
		"used for 8 h":    {func(v *visitor, clock *testClock, _ *changingAdmins) { useFor(v, clock, 8*time.Hour) }, 303},
		"used for 7.5 h":  {func(v *visitor, clock *testClock, _ *changingAdmins) { useFor(v, clock, 7*time.Hour+30*time.Minute) }, 200},
		"nothing changed": {func(*visitor, *testClock, *changingAdmins) {}, 200},
	} {
		clock, callers := &testClock{goldenNow}, &changingAdmins{fakeAdmins: fakeAdmins{"token": ann}}
		v := newVisitor(t, newGoldenAdmin(t, func(config *AdminConfig) { config.Callers, config.Now = callers, clock.now }))
		v.signIn("token")
		old := v.cookies["keytail-session"]
		c.change(v, clock, callers)
		v.cookies["keytail-session"] = old // also if the browser was told to forget it
		got := v.get(pathNewKeyPage)
		if got.StatusCode != c.status {
			t.Errorf("%s: %d %s", name, got.StatusCode, got.body)
		}
		if c.status == http.StatusSeeOther {
			if to := got.Header.Get("Location"); to != "/sign-in?next=%2Fkeys%2Fnew" {
				t.Errorf("%s: to %s", name, to)
			}
			if post := v.post(pathNewKeyPage, "user_id", "user-1"); post.StatusCode != http.StatusUnauthorized || !strings.Contains(post.body, "Nobody is signed in") {
				t.Errorf("%s, a form: %d %s", name, post.StatusCode, post.body)
			}
		}
	}
}

func useFor(v *visitor, clock *testClock, d time.Duration) {
	for end := clock.at.Add(d); clock.at.Before(end); {
		clock.at = clock.at.Add(10 * time.Minute)
		v.get("/keys")
	}
}

// TestWrongTokensAreRefusedAndNoted, and are in no log.
func TestWrongTokensAreRefusedAndNoted(t *testing.T) {
	t.Parallel()
	core, logs := observer.New(zap.DebugLevel)
	for name, c := range map[string]struct {
		callers AdminCallers
		token   string
		site    string
		status  int
		want    []string
	}{
		"wrong":      {goldenAdmins(), "wrong-token", "same-origin", 401, []string{"login_failed 192.0.2.1  wrong"}},
		"expired":    {expiredCallers{goldenAdmins()}, "admin-token-of-ann", "same-origin", 401, []string{"login_failed 192.0.2.1 ann expired"}},
		"none":       {goldenAdmins(), "", "same-origin", 401, nil},
		"cross-site": {goldenAdmins(), "admin-token-of-ann", "cross-site", 403, []string{"denied 192.0.2.1  cross_origin"}},
		"silent":     {goldenAdmins(), "admin-token-of-ann", "", 403, []string{"denied 192.0.2.1  cross_origin"}},
		"right":      {goldenAdmins(), "admin-token-of-ann", "same-origin", 303, nil},
	} {
		var n noted
		v := newVisitor(t, newGoldenAdmin(t, func(config *AdminConfig) {
			config.Callers, config.Refusals, config.Logger = c.callers, &n, zap.New(core)
		}))
		v.site = c.site
		v.prepare = func(r *http.Request) { r.Header.Set("X-Request-Id", "incident:"+c.token) }
		got := v.post(pathSignIn, "token", c.token)
		if got.StatusCode != c.status || !slices.Equal(n.all, c.want) || (len(v.cookies) > 0) != (c.status == 303) {
			t.Errorf("%s: %d, noted %q, cookies %v", name, got.StatusCode, n.all, v.cookies)
		}
		if c.token != "" {
			checkAlways(t, got, c.token)
		}
		if challenge := got.Header.Get("WWW-Authenticate"); (c.status == 401) != (challenge == adminChallenge) {
			t.Errorf("%s: the challenge is %q", name, challenge)
		}
	}
	guesses := 0
	for _, line := range logs.All() {
		if text := fmt.Sprint(line.Message, line.ContextMap()); strings.Contains(text, "wrong-token") || strings.Contains(text, "admin-token") {
			t.Errorf("a token is in the log: %s", text)
		}
		if strings.Contains(line.Message, "someone is guessing") {
			guesses++
		}
	}
	if guesses != 2 { // of the wrong and the expired one
		t.Errorf("%d lines about guesses", guesses)
	}
}

// TestSessionsAreForPagesOnly: no cookie opens the API.
func TestSessionsAreForPagesOnly(t *testing.T) {
	t.Parallel()
	v := signedInAs(t, ann)
	for _, r := range adminRights {
		if !strings.HasPrefix(r.path, "/v1/") {
			continue
		}
		if got := v.do(r.method, strings.ReplaceAll(r.path, ":id", "a"), nil); got.StatusCode != http.StatusUnauthorized {
			t.Errorf("%s: %d", r.operation, got.StatusCode)
		}
	}
}

// TestFormsOfOtherSitesAreRefused, with a session and with a certificate, before anything
// is done.
func TestFormsOfOtherSitesAreRefused(t *testing.T) {
	t.Parallel()
	keys := recordingKeys{map[string][]managedkey.Caller{}}
	withKeys := func(c *AdminConfig) { c.Keys, c.Callers = keys, fakeAdmins{"the-token": ann, "ann": ann} }
	session := signedInAs(t, ann, withKeys)
	certified := newVisitor(t, session.handler)
	for how, v := range map[string]*visitor{"session": session, "certificate": certified} {
		for name, c := range map[string]struct {
			site, origin string
			allowed      bool
		}{
			"another site":     {"cross-site", "https://evil.example", false},
			"a sibling":        {"same-site", "https://other.example.com", false},
			"an old browser":   {"", "https://evil.example", false},
			"a hidden origin":  {"", "null", false},
			"nothing said":     {"", "", false},
			"the page itself":  {"same-origin", "http://example.com", true},
			"an old page here": {"", "http://example.com", true},
		} {
			v.site = c.site
			v.prepare = func(r *http.Request) {
				if c.origin != "" {
					r.Header.Set("Origin", c.origin)
				}
				if how == "certificate" {
					certificate("ann")(r)
				}
			}
			for _, path := range []string{pathNewKeyPage, pathRotatePage, pathRevokePage, pathFindPage} {
				clear(keys.callers)
				got := v.post("http://example.com"+path, "user_id", "u")
				if refused := got.StatusCode == http.StatusForbidden; refused == c.allowed || refused && len(keys.callers) > 0 {
					t.Errorf("%s, %s, %s: %d %v", how, name, path, got.StatusCode, keys.callers)
				}
			}
		}
	}
	session.site, session.prepare = "cross-site", nil
	if got := session.post(pathSignOut); got.StatusCode != http.StatusForbidden || session.get("/keys").StatusCode != http.StatusOK {
		t.Errorf("another site can sign out: %d", got.StatusCode)
	}
}

// TestThePasswordOfABrowserReads, and does not hide a session.
func TestThePasswordOfABrowserReads(t *testing.T) {
	t.Parallel()
	v := newVisitor(t, newGoldenAdmin(t))
	v.prepare = basic("admin-token-of-ann")
	page := v.get("/keys/view?id=a")
	if page.StatusCode != http.StatusOK || strings.Contains(page.body, "Revoke…") || !strings.Contains(page.body, "Sign in to do more") {
		t.Errorf("%d %s", page.StatusCode, page.body)
	}
	if got := v.post(pathRevokePage, "id", "a"); got.StatusCode != http.StatusUnauthorized {
		t.Errorf("a password revokes: %d", got.StatusCode)
	}
	v.signIn("admin-token-of-ann")
	if got := v.post(pathRevokePage, "id", "a"); got.StatusCode != http.StatusSeeOther {
		t.Errorf("with a session: %d %s", got.StatusCode, got.body)
	}
}

func TestSignInGoesToPagesOfThisListenerOnly(t *testing.T) {
	t.Parallel()
	for next, want := range map[string]string{
		"/keys/view?id=a%26b&ip=%3A%3A1": "/keys/view?id=a%26b&ip=%3A%3A1", "/": "/", "/keys": "/keys",
		"": "", "//evil.example/keys": "", "https://evil.example/keys": "", "/\\evil.example": "", "/v1/keys": "", "/sign-out": "",
		"/keys/../..//evil.example": "", "javascript:alert(1)": "", "keys": "", "/keys#x": "/keys", "\x00/keys": "",
	} {
		if got := safeNext(next); got != want {
			t.Errorf("%q becomes %q, want %q", next, got, want)
		}
	}
	v := newVisitor(t, newGoldenAdmin(t))
	if page := v.get("/sign-in?" + url.Values{"next": {`/keys?user_id="><script>`}}.Encode()); strings.Contains(page.body, "<script") {
		t.Errorf("not escaped: %s", page.body)
	}
	got := v.post(pathSignIn, "token", "admin-token-of-acme")
	if to := got.Header.Get("Location"); to != "/keys" {
		t.Errorf("a bound caller begins at %s", to)
	}
}
