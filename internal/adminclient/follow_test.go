package adminclient

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/httpclient"
)

// sendEvents sends events with these ids, and their ends.
func sendEvents(w http.ResponseWriter, ids ...string) {
	w.Header().Set("Content-Type", "text/event-stream")
	for _, id := range ids {
		_, _ = fmt.Fprintf(w, "id: %s\nevent: invalidation\ndata: {\"key_id\":\"k%s\"}\n\n", id, id)
	}
	_ = http.NewResponseController(w).Flush()
}

// errEnough ends a Follow.
var errEnough = errors.New("enough")

// follow returns the ids up to the one that is the last, and what was broken.
func follow(t *testing.T, c *Client, from, last string) (ids []string, broken []error, err error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	err = c.Follow(ctx, from, func(e Event) error {
		if e.Kind != "invalidation" || string(e.Data) != `{"key_id":"k`+e.ID+`"}` {
			t.Errorf("%+v", e)
		}
		if ids = append(ids, e.ID); e.ID == last {
			return errEnough
		}
		return nil
	}, func(err error) { broken = append(broken, err) })
	return ids, broken, err
}

// TestFollowResumesAfterTheLastEvent: a stream that ends, is refused for a while,
// and breaks in the middle of an event.
func TestFollowResumesAfterTheLastEvent(t *testing.T) {
	var server *fake
	server = serve(t, func(w http.ResponseWriter, r *http.Request) {
		switch len(server.seen()) {
		case 1:
			sendEvents(w, "1", "2")
		case 2:
			w.Header().Set("Retry-After", "0")
			answers(http.StatusServiceUnavailable, "application/problem+json", `{"detail":"about to stop","code":"SHUTTING_DOWN"}`)(w, r)
		case 3:
			sendEvents(w, "3")
			_, _ = io.WriteString(w, "id: 4\nevent: invalid")
			panic(http.ErrAbortHandler)
		default:
			sendEvents(w, "4")
			<-r.Context().Done()
		}
	})
	ids, broken, err := follow(t, client(t, server.URL), "0", "4")
	if !errors.Is(err, errEnough) || fmt.Sprint(ids) != "[1 2 3 4]" || len(broken) != 3 {
		t.Fatalf("%v, %v, %v", ids, broken, err)
	}
	if !errors.Is(broken[0], httpclient.ErrEnded) || !strings.Contains(broken[1].Error(), "about to stop") {
		t.Errorf("%v", broken)
	}
	var from []string
	for _, request := range server.seen() {
		from = append(from, request.header.Get("Last-Event-ID"))
		if request.uri != "/v1/events" || request.header.Get("Authorization") != "Bearer "+token {
			t.Errorf("%+v", request)
		}
	}
	if fmt.Sprint(from) != "[0 2 2 3]" {
		t.Errorf("went on from %v", from)
	}
}

// TestFollowReconnectsAfterSilence: keep-alives count as activity. The time of silence is long, so that a
// machine that stands still for a moment is not taken for a silent server.
func TestFollowReconnectsAfterSilence(t *testing.T) {
	t.Parallel()
	const idle, keepAlive = 2 * time.Second, 50 * time.Millisecond
	var server *fake
	server = serve(t, func(w http.ResponseWriter, r *http.Request) {
		if len(server.seen()) > 1 {
			sendEvents(w, "2")
			return
		}
		sendEvents(w, "1")
		for range idle/keepAlive + 10 {
			timer := time.NewTimer(keepAlive)
			<-timer.C
			_, _ = io.WriteString(w, ": keep-alive\n\n")
			_ = http.NewResponseController(w).Flush()
		}
		<-r.Context().Done()
	})
	c, err := New(Config{Config: httpclient.Config{URL: server.URL, Idle: idle}})
	if err != nil {
		t.Fatal(err)
	}
	defer c.Close()
	began := time.Now()
	ids, broken, err := follow(t, c, "", "2")
	if !errors.Is(err, errEnough) || fmt.Sprint(ids) != "[1 2]" || len(broken) != 1 || !errors.Is(broken[0], httpclient.ErrSilent) {
		t.Errorf("%v, %v, %v", ids, broken, err)
	}
	if d := time.Since(began); d < 2*idle {
		t.Errorf("cut after %v, in spite of the keep-alives", d)
	}
}

func TestFollowEndsOnPermanentErrors(t *testing.T) {
	refusing := serve(t, answers(http.StatusUnauthorized, "application/problem+json", `{"detail":"d","code":"UNAUTHENTICATED"}`))
	var later *fake
	later = serve(t, func(w http.ResponseWriter, r *http.Request) {
		if len(later.seen()) == 1 {
			sendEvents(w, "1")
			return
		}
		answers(http.StatusNotFound, "application/problem+json", `{"detail":"d","code":"NO_SUCH_PATH"}`)(w, r)
	})
	text := serve(t, func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "id: 1\nevent: invalidation\ndata: k1\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	page := serve(t, answers(http.StatusOK, "text/html", "<html>"))
	for name, test := range map[string]struct {
		url, text string
		broken    int
	}{
		"wrong token":      {refusing.URL, "does not accept this token", 0},
		"unreachable":      {"http://127.0.0.1:1", "connection refused", 0},
		"refused later":    {later.URL, "has no /v1/events", 1},
		"not even a start": {page.URL, "answers 200 OK, and not as keytail does", 0},
		"no JSON":          {text.URL, "event's data is not JSON", 0},
	} {
		_, broken, err := follow(t, client(t, test.url), "", "none")
		if err == nil || !strings.Contains(err.Error(), test.text) || len(broken) != test.broken {
			t.Errorf("%s: %v, %v", name, err, broken)
		}
	}
}

func TestFollowEndsWithItsContext(t *testing.T) {
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		sendEvents(w, "1")
		<-r.Context().Done()
	})
	ctx, cancel := context.WithCancel(t.Context())
	err := client(t, server.URL).Follow(ctx, "", func(Event) error { cancel(); return nil }, nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("%v", err)
	}
}

type roundTripper func(*http.Request) (*http.Response, error)

func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestAnotherTransport(t *testing.T) {
	c, err := New(Config{Config: httpclient.Config{URL: "http://127.0.0.1:1", Transport: roundTripper(func(*http.Request) (*http.Response, error) { return nil, errEnough })}})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := c.Get(t.Context(), "k", ""); !errors.Is(err, errEnough) {
		t.Error(err)
	}
}
