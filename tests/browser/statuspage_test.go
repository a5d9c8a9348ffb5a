package browser

import (
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"
)

// TestStatusPageFollowsAnOutage: an open page shows stale, down and the recovery without
// being loaded again. In each state it is accessible in each look, obeys its own policy,
// and talks to no other server.
func TestStatusPageFollowsAnOutage(t *testing.T) {
	w := startDaemon(t)
	b := openBrowser(t, viewerToken)
	w.validate(w.key, w.key, "kt_unknown-key", w.key)
	b.use(looks[0])
	b.open(w.url + "/")
	b.await("h1", "keytail is live")
	b.await("#connection", "keeps itself up to date")
	b.await("#fleet", "(this one)")
	w.createKeys(4)
	b.await("#audit", "user-7")
	b.await("#verdicts", "VALID")
	b.await("#delays", "changes took effect within")
	evaluate[bool](b, `window.loadedOnce = true`)
	b.check("live")

	mend := w.failWrites()
	b.await("h1", "keytail is stale")
	b.await("#why", "Heartbeats are not acknowledged.")
	b.await("#why", "Do not restart keytail")
	b.check("stale")

	w.gate.close()
	b.await("#mongodb", "No primary is known")
	w.validate(w.key)
	b.await("h1", "keytail is down")
	b.await("#why", "Requests are answered with UNAVAILABLE.")
	b.await("#fleet", "MongoDB does not answer")
	b.check("down")

	w.gate.reopen()
	mend()
	b.await("#mongodb", "primary")
	w.validate(w.key)
	b.await("h1", "keytail is live")
	b.await("#why", "The last outage ended at")
	if !evaluate[bool](b, `window.loadedOnce === true`) {
		t.Error("the page was loaded again")
	}
	b.mustBeQuiet(w.url)
}

// check checks a state in each look, and makes its pictures.
func (b *browser) check(state string) { b.t.Helper(); b.checkAs("status-" + state) }

// checkAs checks a page in each look, and makes its pictures.
func (b *browser) checkAs(state string) {
	b.t.Helper()
	for _, l := range looks {
		b.use(l)
		b.mustBeAccessible(state + ", " + l.name)
		if overflow := evaluate[int](b, `document.documentElement.scrollWidth - document.documentElement.clientWidth`); overflow > 0 {
			b.t.Errorf("%s, %s: the page is %d pixels wider than the window", state, l.name, overflow)
		}
		b.picture(state, l)
	}
	b.use(looks[0])
}

// TestStatusPageWorksWithoutScripts: it has everything, and loads itself again.
func TestStatusPageWorksWithoutScripts(t *testing.T) {
	w := startDaemon(t)
	b := openBrowser(t, viewerToken)
	command(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.open(w.url + "/")
	for _, want := range []string{"keytail is live", "This page loads again every few seconds", "(this one)", "orders-7", "primary", "--max-stale"} {
		if text := b.text("main"); !strings.Contains(text, want) {
			t.Errorf("without scripts the page lacks %q: %s", want, text)
		}
	}
	if evaluate[string](b, `(document.querySelector("noscript meta[http-equiv=refresh]") || {content: ""}).content`) == "" {
		t.Error("the page does not load itself again")
	}
}

// TestStatusShowsNoSecret: neither the tokens nor a key that was validated.
func TestStatusShowsNoSecret(t *testing.T) {
	w := startDaemon(t)
	w.validate(w.key)
	w.createKeys(1)
	for _, path := range []string{"/", "/v1/status"} {
		text := w.get(path)
		for _, secret := range []string{viewerToken, adminToken, w.key} {
			if strings.Contains(text, secret) {
				t.Errorf("%s has a secret: %s", path, text)
			}
		}
		if !strings.Contains(text, "orders-7") {
			t.Errorf("%s is not a status: %s", path, text)
		}
	}
}

// TestStatusPageSaysThatItIsOld when the token has been removed: the stream ends, and what
// is shown must not look like the present.
func TestStatusPageSaysThatItIsOld(t *testing.T) {
	w := startDaemon(t)
	b := openBrowser(t, viewerToken)
	b.open(w.url + "/")
	b.await("#connection", "keeps itself up to date")
	w.writeTokens("other=another-token-0123456789 role=viewer\n")
	b.await("#connection", "No connection to keytail since")
}
