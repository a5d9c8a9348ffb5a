package browser

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/mongotest"
)

// codeOf is what a request with a key gets.
func (w *world) codeOf(text string) string {
	ctx, cancel := context.WithTimeout(w.t.Context(), 10*time.Second)
	defer cancel()
	v := w.daemon.Core.Validator.Validate(ctx, text, &apikey.Request{})
	return v.Code.String()
}

// signIn begins at a page, which sends the browser to the form and back.
func (b *browser) signIn(w *world, path, heading string) {
	b.t.Helper()
	b.open(w.url + path)
	b.await("h1", "Sign in")
	mongotest.Eventually(b.t, patience, func() bool {
		return evaluate[string](b, `(document.activeElement || {}).id || ""`) == "token"
	}, "the field of the token never has the focus")
	b.press(adminToken + enter)
	b.await("h1", heading)
	b.await(".user", "ann (admin)")
}

// value is what a field has.
func (b *browser) value(selector string) string {
	b.t.Helper()
	return evaluate[string](b, `(document.querySelector('`+selector+`') || {value: ""}).value`)
}

// newKey is the text of the key that the page shows, copied by keyboard.
func (b *browser) newKey() string {
	b.t.Helper()
	b.await("#new-key", "The text of the new key")
	b.tabTo("#key-text")
	b.shortcut("a", "selectAll")
	b.shortcut("c", "copy")
	return b.value("#key-text")
}

// TestKeysByKeyboard: a person signs in, creates a key, copies its text, finds it by the
// text, rotates it, revokes it and signs out, without a mouse. Every page is accessible in
// each look, obeys its own policy, and talks to no other server.
func TestKeysByKeyboard(t *testing.T) {
	w := startDaemon(t)
	b := openBrowser(t, "")
	b.use(looks[0])
	b.open(w.url + "/keys")
	b.await("h1", "Sign in")
	b.checkAs("keys-sign-in")
	b.signIn(w, "/", "keytail is live")
	b.follow(`a[href="/keys"]`, "Keys")
	b.checkAs("keys-list")

	b.follow(`a[href="/keys/new"]`, "Create a key")
	for _, field := range [][2]string{{"user_id", "user-of-the-test"}, {"name", "billing <b>export</b>"}, {"scopes", "orders:read invoices:read"}} {
		b.tabTo("#" + field[0])
		b.press(field[1])
	}
	b.checkAs("keys-new")
	b.follow(`button[type=submit]:not(.quiet)`, "Key billing <b>export</b>")
	b.await("[role=status]", "Every instance has applied it (1 of 1)")
	b.checkAs("keys-created")
	first := b.newKey()
	if code := w.codeOf(first); code != "VALID" {
		t.Errorf("the new key %d characters long is %s", len(first), code)
	}
	b.reload()
	b.await("h1", "Key billing")
	if text := b.text("html") + evaluate[string](b, `document.documentElement.outerHTML`); strings.Contains(text, first) {
		t.Error("the text is shown again")
	}

	b.follow(`a[href="/keys"]`, "Keys")
	b.tabTo("#user_id")
	b.press("user-of-the-test" + enter)
	b.await("tbody", "billing <b>export</b>")
	b.follow(`a[href="/keys/find"]`, "Which key is this?")
	b.tabTo("#key")
	b.shortcut("v", "paste")
	if pasted := b.value("#key"); pasted != first {
		t.Errorf("%d characters were copied and pasted, want %d", len(pasted), len(first))
	}
	b.press(enter)
	b.await("[role=status]", "billing <b>export</b>")
	b.checkAs("keys-find")
	b.follow(`tbody a`, "Key billing")

	b.follow(`a[href^="/keys/rotate"]`, "Rotate billing")
	b.checkAs("keys-rotate")
	b.tabTo("#overlap_seconds")
	b.press("1 day")
	b.follow(`main button[type=submit]`, "Key billing")
	b.await("[role=status]", "The key was rotated")
	second := b.newKey()
	if second == first || w.codeOf(first) != "VALID" || w.codeOf(second) != "VALID" {
		t.Error("after the rotation not both keys are valid")
	}

	b.follow(`a[href^="/keys/revoke"]`, "Revoke billing")
	b.checkAs("keys-revoke")
	b.follow(`main button[type=submit]`, "Key billing")
	b.await("[role=status]", "The key is revoked. Every instance has applied it (1 of 1).")
	b.checkAs("keys-revoked")
	if w.codeOf(first) != "VALID" || w.codeOf(second) != "DISABLED" {
		t.Errorf("after the revocation: %s, %s", w.codeOf(first), w.codeOf(second))
	}
	b.follow(`.frame button`, "Sign in")
	b.open(w.url + "/keys")
	b.await("h1", "Sign in")
	b.mustBeQuiet(w.url)
	for _, address := range b.requests {
		if strings.Contains(address, first) || strings.Contains(address, second) || strings.Contains(address, adminToken) {
			t.Errorf("a secret is in the address %s", address)
		}
	}
}

func (b *browser) reload() {
	b.t.Helper()
	ctx, cancel := context.WithTimeout(b.ctx, patience)
	defer cancel()
	if err := chromedp.Do(ctx, chromedp.Reload()); err != nil {
		b.t.Fatal(err)
	}
}

// TestOtherSitesCannotRevoke: a page of another site, and one of another port of the same
// host, to which the browser does send the session, post the form of a revocation.
func TestOtherSitesCannotRevoke(t *testing.T) {
	w := startDaemon(t)
	b := openBrowser(t, "")
	b.use(looks[0])
	b.signIn(w, "/keys", "Keys")
	attacker := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		_, _ = rw.Write([]byte(`<h1>win a prize</h1><form method="post" action="` + w.url + `/keys/revoke">
<input name="id" value="key-of-the-test"></form><script>document.forms[0].submit()</script>`))
	}))
	t.Cleanup(attacker.Close)
	sameHost := attacker.URL
	for address, want := range map[string]string{
		sameHost: "Forbidden",
		strings.Replace(sameHost, "127.0.0.1", "localhost", 1): "Unauthorized",
	} {
		b.open(address)
		b.await("h1", want)
		if code := w.codeOf(w.key); code != "VALID" {
			t.Errorf("%s has revoked the key: %s", address, code)
		}
	}
	b.open(w.url + "/keys/revoke?id=key-of-the-test")
	b.follow(`main button[type=submit]`, "Key a key")
	if code := w.codeOf(w.key); code != "DISABLED" {
		t.Errorf("the page itself cannot revoke: %s", code)
	}
}
