package playground

import (
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/webui"
)

// TestThePageHasNoKey, neither as a whole nor in its parts, in any state.
func TestThePageHasNoKey(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		look := func(when string, want ...string) {
			t.Helper()
			recorder := httptest.NewRecorder()
			if err := w.Write(recorder, webui.View{}); err != nil {
				t.Fatal(err)
			}
			all := recorder.Body.String()
			parts, err := w.Parts()
			if err != nil {
				t.Fatal(err)
			}
			for _, part := range parts {
				if !strings.Contains(all, `id="`+part.ID+`"`) {
					t.Errorf("%s: the page has no element %s", when, part.ID)
				}
				all += part.HTML
			}
			if strings.Contains(all, "secret-text") {
				t.Errorf("%s: the page has the text of a key", when)
			}
			for _, text := range want {
				if strings.Count(all, text) < 2 {
					t.Errorf("%s: the page or its parts lack %q", when, text)
				}
			}
		}
		look("empty", "There is no key yet")
		w.do(commandCreate, "")
		time.Sleep(time.Second)
		look("a key", "kt_1…", `value="revoke"`, "VALID")
		w.do(commandFreeze, "")
		time.Sleep(20 * time.Second)
		w.do(commandRevoke, "1")
		look("frozen", "waits for MongoDB", "Thaw the primary", "primary frozen", "UNAVAILABLE")
		w.do(commandHeal, "")
		time.Sleep(time.Second)
		look("revoked", `value="restore"`, "still VALID", "Revoked at")
		w.do(commandDelete, "1")
		time.Sleep(time.Second)
		look("deleted", `value="forget"`, "NOT_FOUND")
		w.do(commandForget, "1")
		look("forgotten", "There is no key yet")
	})
}

// TestKeysAreSentAgainOnlyWhenThereAreOthers: a button must not go while it is pressed.
func TestKeysAreSentAgainOnlyWhenThereAreOthers(t *testing.T) {
	inWorld(t, func(t *testing.T, w *world) {
		version := func() string {
			parts, err := w.Parts()
			if err != nil {
				t.Fatal(err)
			}
			for _, p := range parts {
				if p.ID == "keys" {
					return p.Version
				}
			}
			return ""
		}
		none := version()
		w.do(commandCreate, "")
		one := version()
		time.Sleep(time.Second)
		w.do(commandRevoke, "1")
		if later := version(); none == one || none == "" || later != one {
			t.Errorf("versions: %q, %q, %q", none, one, later)
		}
	})
}
