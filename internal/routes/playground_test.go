package routes

import (
	"context"
	"errors"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keytail/keytail/internal/rights"
	"github.com/keytail/keytail/internal/webui"
)

// goldenPlayground notes what its buttons do. The button "fail" fails.
type goldenPlayground struct {
	mutex sync.Mutex
	done  []string
	parts []webui.Part
}

func (p *goldenPlayground) Write(w http.ResponseWriter, frame webui.View) error { //nolint:gocritic // hugeParam: as the real one
	w.Header().Set("Content-Type", "text/html; charset=utf-8")
	for _, link := range frame.Links {
		_, _ = w.Write([]byte(link.Path + " "))
	}
	return nil
}

func (p *goldenPlayground) Parts() ([]webui.Part, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return slices.Clone(p.parts), nil
}

func (p *goldenPlayground) set(parts ...webui.Part) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	p.parts = parts
}

func (p *goldenPlayground) Do(_ context.Context, action, key string) error {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	if action == "fail" {
		return errors.New("there is no such button")
	}
	p.done = append(p.done, action+" "+key)
	return nil
}

// TestAListenerWithoutAPlaygroundHasNoTrace of it, neither a path nor a link.
func TestAListenerWithoutAPlaygroundHasNoTrace(t *testing.T) {
	t.Parallel()
	for _, has := range []bool{true, false} {
		v := signedInAs(t, ann, func(c *AdminConfig) {
			if !has {
				c.Playground = nil
			}
		})
		found := map[bool]int{true: http.StatusOK, false: http.StatusNotFound}[has]
		if got := v.get(pathPlayground).StatusCode; got != found {
			t.Errorf("%v: the page: %d", has, got)
		}
		written := map[bool]int{true: http.StatusSeeOther, false: http.StatusNotFound}[has]
		if got := v.post(pathPlayground, "action", "cut").StatusCode; got != written {
			t.Errorf("%v: a button: %d", has, got)
		}
		if got := v.get(pathPlaygroundLive).StatusCode; (got == http.StatusNotFound) == has {
			t.Errorf("%v: the updates: %d", has, got)
		}
		if offered := strings.Contains(v.get("/").body, `href="`+pathPlayground+`"`); offered != has {
			t.Errorf("%v: a link to it: %v", has, offered)
		}
	}
}

// TestButtonsOfThePlayground reach it with the key that they belong to, and only from a
// page of this listener.
func TestButtonsOfThePlayground(t *testing.T) {
	t.Parallel()
	p := &goldenPlayground{}
	v := signedInAs(t, ann, func(c *AdminConfig) { c.Playground = p })
	if got := v.post(pathPlayground, "action", "revoke", "key", "2"); got.StatusCode != http.StatusSeeOther || got.Header.Get("Location") != pathPlayground {
		t.Errorf("revoke: %d, to %q", got.StatusCode, got.Header.Get("Location"))
	}
	if got := v.post(pathPlayground, "action", "fail"); got.StatusCode != http.StatusBadRequest || !strings.Contains(got.body, "there is no such button") {
		t.Errorf("a button that fails: %d %s", got.StatusCode, got.body)
	}
	if got := v.post(pathPlayground, "action", "cut", "force", "1"); got.StatusCode != http.StatusBadRequest {
		t.Errorf("an unknown field: %d", got.StatusCode)
	}
	for _, site := range []string{"cross-site", "same-site", ""} {
		v.site = site
		if got := v.post(pathPlayground, "action", "freeze"); got.StatusCode != http.StatusForbidden {
			t.Errorf("from %q: %d", site, got.StatusCode)
		}
	}
	if want := []string{"revoke 2"}; !slices.Equal(p.done, want) {
		t.Errorf("done: %q, want %q", p.done, want)
	}
}

// TestPlaygroundSendsWhatHasChanged several times a second, and a part with a version only
// if that has changed.
func TestPlaygroundSendsWhatHasChanged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p := &goldenPlayground{}
		w := newLiveWorld(t, func(c *AdminConfig) { c.Playground = p })
		w.callers.set(rights.Admin)
		ctx, stop := context.WithCancel(t.Context())
		p.set(webui.Part{ID: "lanes", HTML: "1"}, webui.Part{ID: "keys", HTML: "1", Version: "A"})
		response, ended := w.openPath(ctx, pathPlaygroundLive)
		for i, step := range []struct {
			parts []webui.Part
			want  []string
		}{
			{nil, []string{"lanes", "keys"}},
			{[]webui.Part{{ID: "lanes", HTML: "2"}, {ID: "keys", HTML: "2", Version: "A"}}, []string{"lanes"}},
			{[]webui.Part{{ID: "lanes", HTML: "2"}, {ID: "keys", HTML: "2", Version: "B"}}, []string{"keys"}},
		} {
			if step.parts != nil {
				p.set(step.parts...)
				time.Sleep(playgroundInterval)
			}
			synctest.Wait()
			if got := response.updates(t); len(got) != 1 || !slices.Equal(partsOf(got[0]), step.want) {
				t.Errorf("step %d: %+v, want %v", i, got, step.want)
			}
		}
		w.callers.set(rights.Viewer) // the line of the token has changed
		time.Sleep(slowUpdates * playgroundInterval)
		if !hasEnded(ended) {
			t.Error("a viewer goes on watching")
		}
		stop()
		<-ended
	})
}
