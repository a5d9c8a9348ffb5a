package routes

import (
	"context"
	"encoding/json"
	"errors"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keytail/keytail/internal/events"
	"github.com/keytail/keytail/internal/rights"
)

// pipe is the response of a stream, of which a test reads while it is written.
type pipe struct {
	*httptest.ResponseRecorder
	mutex sync.Mutex
	body  strings.Builder
}

func (p *pipe) Write(data []byte) (int, error) {
	p.mutex.Lock()
	defer p.mutex.Unlock()
	return p.body.Write(data)
}

func (p *pipe) WriteString(text string) (int, error) { return p.Write([]byte(text)) }

func (*pipe) Flush() {}

// updates are those since the last call.
func (p *pipe) updates(t *testing.T) (all []liveUpdate) {
	t.Helper()
	p.mutex.Lock()
	defer p.mutex.Unlock()
	for block := range strings.SplitSeq(strings.TrimSuffix(p.body.String(), "\n\n"), "\n\n") {
		data, found := strings.CutPrefix(block, "event: update\ndata: ")
		if block == "" {
			continue
		}
		var u liveUpdate
		if err := json.Unmarshal([]byte(data), &u); err != nil || !found {
			t.Fatalf("%v in %q", err, block)
		}
		all = append(all, u)
	}
	p.body.Reset()
	return all
}

// viewers are callers that a test can change.
type viewers struct {
	AdminCallers
	mutex sync.Mutex
	all   fakeAdmins
}

func (v *viewers) Token(token string) (rights.Identity, error) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	return v.all.Token(token)
}

func (v *viewers) set(role rights.Role) {
	v.mutex.Lock()
	defer v.mutex.Unlock()
	v.all = fakeAdmins{"viewer": {Name: "viewer", Role: role}}
}

// liveWorld is an admin listener with a hub of events, in a bubble of synctest.
type liveWorld struct {
	http.Handler
	hub     hubFeed
	callers *viewers
	state   string
	mutex   sync.Mutex
}

func newLiveWorld(t *testing.T, change ...func(*AdminConfig)) *liveWorld {
	t.Helper()
	w := &liveWorld{hub: newFeed(t, events.Config{}), callers: &viewers{}, state: "live"}
	w.callers.set(rights.Viewer)
	w.Handler = newGoldenAdmin(t, append([]func(*AdminConfig){func(c *AdminConfig) {
		c.Callers, c.Events, c.Status = w.callers, w.hub, func() Status {
			w.mutex.Lock()
			defer w.mutex.Unlock()
			return Status{State: w.state, StalenessMS: time.Now().UnixMilli() % 100000}
		}
	}}, change...)...)
	return w
}

func (w *liveWorld) change(state string) {
	w.mutex.Lock()
	from := w.state
	w.state = state
	w.mutex.Unlock()
	w.hub.StateChanged(from, state)
}

// open opens a stream until the test ends; ended is closed when the handler returns.
func (w *liveWorld) open(ctx context.Context, header ...string) (response *pipe, ended chan struct{}) {
	return w.openPath(ctx, pathStatusLive, header...)
}

func (w *liveWorld) openPath(ctx context.Context, path string, header ...string) (response *pipe, ended chan struct{}) {
	request := httptest.NewRequestWithContext(ctx, http.MethodGet, path, nil)
	request.Header.Set("Authorization", "Bearer viewer")
	for i := 0; i < len(header); i += 2 {
		request.Header.Set(header[i], header[i+1])
	}
	response, ended = &pipe{ResponseRecorder: httptest.NewRecorder()}, make(chan struct{})
	go func() {
		defer close(ended)
		w.ServeHTTP(response, request)
	}()
	return response, ended
}

func hasEnded(ended chan struct{}) bool {
	synctest.Wait()
	select {
	case <-ended:
		return true
	default:
		return false
	}
}

func partsOf(u liveUpdate) (ids []string) {
	for _, p := range u.Parts {
		ids = append(ids, p.ID)
	}
	return ids
}

// TestLivePageSendsWhatHasChanged: everything first, each second what a person watches, and
// a change of state at once. What is the same is not sent again.
func TestLivePageSendsWhatHasChanged(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newLiveWorld(t)
		ctx, stop := context.WithCancel(t.Context())
		response, ended := w.open(ctx)
		synctest.Wait()
		if first := response.updates(t); len(first) != 1 || len(first[0].Parts) < 10 || first[0].Title != "live: golden/1" {
			t.Errorf("first: %+v", first)
		}
		time.Sleep(liveInterval)
		synctest.Wait()
		if second := response.updates(t); len(second) != 1 || !slices.Equal(partsOf(second[0]), []string{"staleness"}) {
			t.Errorf("a second later: %v", second)
		}
		w.change("down")
		synctest.Wait()
		if third := response.updates(t); len(third) != 1 || !slices.Contains(partsOf(third[0]), "state") || !strings.Contains(third[0].Parts[0].HTML, "keytail is down") {
			t.Errorf("at the change of state: %v", third)
		}
		stop()
		if !hasEnded(ended) {
			t.Error("the client is gone, and the stream continues")
		}
	})
}

// TestLivePageEnds when the instance shuts down, when the token is removed, and when its
// role is taken away.
func TestLivePageEnds(t *testing.T) {
	t.Parallel()
	for name, end := range map[string]func(*liveWorld){
		"shutdown": func(w *liveWorld) { w.hub.Close() },
		"token":    func(w *liveWorld) { w.callers.mutex.Lock(); clear(w.callers.all); w.callers.mutex.Unlock() },
		"role":     func(w *liveWorld) { w.callers.set(rights.None) },
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				w := newLiveWorld(t)
				ctx, stop := context.WithCancel(t.Context())
				defer stop()
				_, ended := w.open(ctx)
				time.Sleep(time.Minute)
				if hasEnded(ended) {
					t.Fatal("the stream has ended by itself")
				}
				end(w)
				time.Sleep(slowUpdates * liveInterval)
				if !hasEnded(ended) {
					t.Error("the stream continues")
					stop()
					<-ended
				}
			})
		})
	}
}

// TestLivePagesAreBounded: others get an answer, and space when one is closed.
func TestLivePagesAreBounded(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newLiveWorld(t)
		ctx, stop := context.WithCancel(t.Context())
		one, close1 := context.WithCancel(ctx)
		_, first := w.open(one)
		all := []chan struct{}{first}
		for range maxLive - 1 {
			_, ended := w.open(ctx)
			all = append(all, ended)
		}
		synctest.Wait()
		response, ended := w.open(ctx)
		if !hasEnded(ended) || response.Code != http.StatusServiceUnavailable || !strings.Contains(response.body.String(), "TOO_MANY_WAITING") {
			t.Errorf("one too many: %d %s", response.Code, response.body.String())
		}
		close1()
		<-first
		if _, ended = w.open(ctx); hasEnded(ended) {
			t.Error("the place of a closed page is not free")
		}
		stop()
		for _, ended := range append(all, ended) {
			<-ended
		}
	})
}

// TestOneTokenHasNotAllLivePages: a viewer cannot keep the pages of others from their updates.
func TestOneTokenHasNotAllLivePages(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newLiveWorld(t, func(c *AdminConfig) { c.OpenPerToken = 100 })
		w.callers.all["other"] = rights.Identity{Name: "other", Role: rights.Viewer}
		ctx, stop := context.WithCancel(t.Context())
		var all []chan struct{}
		for range maxLivePerToken {
			_, ended := w.open(ctx)
			all = append(all, ended)
		}
		synctest.Wait()
		response, ended := w.open(ctx)
		if !hasEnded(ended) || response.Code != http.StatusServiceUnavailable {
			t.Errorf("one too many of the same token: %d", response.Code)
		}
		if _, ended = w.open(ctx, "Authorization", "Bearer other"); hasEnded(ended) {
			t.Error("there is no place for another token")
		}
		stop()
		for _, ended := range append(all, ended) {
			<-ended
		}
	})
}

// TestAnotherSiteGetsNoLivePage: the browser sends the password for it, too.
func TestAnotherSiteGetsNoLivePage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		w := newLiveWorld(t)
		for site, refused := range map[string]bool{"cross-site": true, "same-site": true, "same-origin": false, "none": false, "": false} {
			ctx, stop := context.WithCancel(t.Context())
			response, ended := w.open(ctx, "Sec-Fetch-Site", site)
			if hasEnded(ended) != refused || refused && response.Code != http.StatusForbidden {
				t.Errorf("%q: %d", site, response.Code)
			}
			stop()
			<-ended
		}
	})
}

// failingSyncer has a list at first, and then does not answer.
type failingSyncer struct {
	goldenSyncer
	asked *int
}

func (s failingSyncer) Instances(ctx context.Context) ([]Instance, error) {
	*s.asked++
	if *s.asked == 1 {
		return []Instance{{ID: "seen-before/1"}}, nil
	}
	<-ctx.Done()
	return nil, errors.New("no answer")
}

// TestPageComesAtOnceInAnOutage: the database is asked once in five seconds, for a second,
// and the last list is shown with its time.
func TestPageComesAtOnceInAnOutage(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		asked := 0
		w := newLiveWorld(t, func(c *AdminConfig) { c.Syncer = failingSyncer{asked: &asked} })
		page := func() (string, time.Duration) {
			began := time.Now()
			request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, "/", nil)
			request.Header.Set("Authorization", "Bearer viewer")
			return answerOf(w, request).body, time.Since(began)
		}
		if body, _ := page(); !strings.Contains(body, "seen-before/1") {
			t.Errorf("the first page: %s", body)
		}
		time.Sleep(listsInterval)
		for i, want := range []time.Duration{listsTimeout, 0, 0} {
			if body, took := page(); took != want || !strings.Contains(body, "seen-before/1") || !strings.Contains(body, "MongoDB does not answer") {
				t.Errorf("page %d took %v, want %v: %s", i, took, want, body)
			}
		}
		if asked != 2 {
			t.Errorf("the database was asked %d times", asked)
		}
	})
}

// TestStatusPageNeedsARole: what it shows is for viewers who are bound to no owner.
func TestStatusPageNeedsARole(t *testing.T) {
	t.Parallel()
	callers := everyIdentity()
	handler := newGoldenAdmin(t, func(c *AdminConfig) { c.Callers = callers })
	for _, token := range slices.Sorted(maps.Keys(callers)) {
		got := answerOf(handler, adminRequest(http.MethodGet, "/", basic(token)))
		want := http.StatusForbidden
		if strings.HasPrefix(token, "free-") && token != "free-none" {
			want = http.StatusOK
		}
		if got.StatusCode != want {
			t.Errorf("%s: %d, want %d", token, got.StatusCode, want)
		}
	}
}
