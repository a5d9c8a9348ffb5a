package browser

import (
	"slices"
	"strconv"
	"strings"
	"testing"

	"github.com/chromedp/cdproto/emulation"

	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/keystore"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/playground"
)

// nodeFaults are the faults of the in-memory server of the test, as --dev stages them.
type nodeFaults struct{ node *devmongo.Server }

func (f nodeFaults) Cut()    { f.node.BlackHole(servicesName) }
func (f nodeFaults) Freeze() { f.node.Freeze("") }
func (f nodeFaults) Heal()   { f.node.Heal() }

// servicesName is the application name of keytail's client.
const servicesName = "keytail"

// withPlayground adds the playground to a daemon. The TTL cache has the name of keytail's
// client, so that the same faults hit it.
func withPlayground(w *world, config *daemon.Config) {
	keys := func(name string) *playground.Database {
		store, err := keystore.New(keystore.Config{Client: w.server.Client(w.t, name), Database: database})
		if err != nil {
			w.t.Fatal(err)
		}
		return playground.NewDatabase(store, "")
	}
	config.Playground = &playground.Config{Service: keys(servicesName), Owner: keys("owner"), Faults: nodeFaults{w.server.Node}}
}

// pressButton presses a button of the playground by keyboard.
func (b *browser) pressButton(selector string) {
	b.t.Helper()
	b.tabTo(selector)
	b.press(enter)
}

// TestPlaygroundShowsWhatAStaleCacheDoes: a revoked key is refused by keytail at once and
// let in by the TTL cache; with a frozen primary keytail says UNAVAILABLE after max_stale,
// and the TTL cache goes on. The page is accessible in each state and look.
func TestPlaygroundShowsWhatAStaleCacheDoes(t *testing.T) {
	w := startDaemon(t, withPlayground)
	b := openBrowser(t, "")
	b.use(looks[0])
	b.signIn(w, "/playground", "Who still lets a revoked key in?")
	b.await("#connection", "keeps itself up to date")
	evaluate[bool](b, `window.loadedOnce = true`)
	b.await("#keys", "There is no key yet")
	b.mustBeAccessible("playground, empty")

	b.pressButton("#do-create")
	b.awaitLanes("#k1-lanes", "VALID", "VALID", "VALID")
	b.pressButton("#k1-main")
	b.await("#k1-changes", "keytail refused it after")
	b.await("#k1-changes", "The TTL cache still lets it in")
	b.awaitLanes("#k1-lanes", "DISABLED", "DISABLED", "still VALID")
	if focused := evaluate[string](b, `document.activeElement.getAttribute('aria-label') || document.activeElement.tagName`); focused != "Restore Key A" {
		t.Errorf("the focus is on %q", focused)
	}

	b.pressButton("#do-create")
	b.awaitLanes("#k2-lanes", "VALID", "VALID", "VALID")
	b.pressButton("#do-freeze")
	b.await("#faults", "The primary is frozen")
	b.awaitLanes("#k2-lanes", "VALID", "UNAVAILABLE", "VALID")
	b.await("#age", "keytail is down")
	b.pressButton("#k2-main")
	b.await("#k2-top", "The revocation waits for MongoDB")
	evaluate[bool](b, `document.querySelector("#news").scrollIntoView(), true`)
	b.checkAs("playground-frozen")

	b.pressButton("#do-freeze")
	b.await("#age", "keytail is live")
	if !evaluate[bool](b, `window.loadedOnce === true`) {
		t.Error("the page was loaded again")
	}
	b.mustBeQuiet(w.url)
	if page := evaluate[string](b, `document.documentElement.outerHTML`); strings.Count(page, "kt_") != 2 {
		t.Errorf("the page shows more of the keys than their prefixes: %s", page)
	}
}

// awaitLanes waits until the lanes of a key have these answers: MongoDB, keytail, the TTL
// cache.
func (b *browser) awaitLanes(id string, want ...string) {
	b.t.Helper()
	var got []string
	mongotest.Eventually(b.t, patience, func() bool {
		got = evaluate[[]string](b, `[...document.querySelectorAll(`+strconv.Quote(id+" .answer .state")+`)].map(e => e.textContent)`)
		return slices.Equal(got, want)
	}, id, " never has ", want)
}

// TestPlaygroundWorksWithoutScripts: the buttons are forms.
func TestPlaygroundWorksWithoutScripts(t *testing.T) {
	w := startDaemon(t, withPlayground)
	b := openBrowser(t, "")
	b.signIn(w, "/playground", "Who still lets a revoked key in?")
	command(b, emulation.SetScriptExecutionDisabled, emulation.SetScriptExecutionDisabledParams{Value: true})
	b.reload()
	b.pressButton("#do-create")
	b.await("#k1-top", "Key A")
	b.pressButton("#k1-main")
	b.await("#k1-changes", "Revoked at")
	b.await("#connection", "This page loads again")
}
