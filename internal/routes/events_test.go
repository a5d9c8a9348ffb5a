package routes

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/gin-gonic/gin"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/events"
	"github.com/keytail/keytail/internal/forwardauth"
)

// hubFeed is a real hub.
type hubFeed struct{ *events.Hub }

func (f hubFeed) Subscribe(lastID string) (Subscription, error) {
	s, err := f.Hub.SubscribeAdmin(lastID)
	if err != nil {
		return nil, err
	}
	return s, nil
}

func newFeed(t *testing.T, config events.Config) hubFeed {
	t.Helper()
	config.Text = func(id apikey.DocID) (string, bool) { return string(id), true }
	hub, err := events.New(config)
	if err != nil {
		t.Fatal(err)
	}
	return hubFeed{hub}
}

// serverWithShortTimeouts has timeouts that are shorter than a stream of events.
func serverWithShortTimeouts(t *testing.T, feed Events) *httptest.Server {
	t.Helper()
	server := httptest.NewUnstartedServer(newPublic(t, PublicConfig{Config: forwardauth.Config{Validator: loadKeys(t)}, Callers: fakeTokens{"caller": "web"}, Events: feed}))
	server.Config.ReadTimeout, server.Config.WriteTimeout = 50*time.Millisecond, 50*time.Millisecond
	server.Start()
	t.Cleanup(server.Close)
	return server
}

func listen(t *testing.T, server *httptest.Server, lastID string) *http.Response {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL+api.PathEvents, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer caller")
	if lastID != "" {
		request.Header.Set("Last-Event-ID", lastID)
	}
	response, err := server.Client().Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = response.Body.Close() })
	return response
}

// block reads one event, whole.
func block(t *testing.T, lines *bufio.Reader) string {
	t.Helper()
	var all strings.Builder
	for {
		line, err := lines.ReadString('\n')
		if err != nil {
			t.Fatalf("the stream ends: %v", err)
		}
		if line == "\n" {
			return all.String()
		}
		all.WriteString(line)
	}
}

func TestEventsOnTheWire(t *testing.T) {
	t.Parallel()
	feed := newFeed(t, events.Config{})
	server := serverWithShortTimeouts(t, feed)
	response := listen(t, server, "")
	if response.StatusCode != http.StatusOK || response.Header.Get("Content-Type") != "text/event-stream" || response.Header.Get("Cache-Control") != "no-store" {
		t.Fatalf("status %d, %v", response.StatusCode, response.Header)
	}
	lines := bufio.NewReader(response.Body)
	first := block(t, lines)
	if !strings.HasPrefix(first, "id: ") || !strings.HasSuffix(first, "-0\nevent: resync\ndata: {\"reason\":\"start\"}\n") {
		t.Errorf("first comes %q", first)
	}
	boot := strings.TrimPrefix(first[:strings.IndexByte(first, '-')], "id: ")
	// The server's own limits have passed by then.
	time.AfterFunc(200*time.Millisecond, func() {
		feed.Invalidated("key\n1", 0x6923a1c000000003)
		feed.Lost("drop")
		feed.StateChanged("live", "stale")
		feed.KeyExpires("k2", time.Date(2027, 1, 2, 3, 4, 5, 0, time.UTC))
	})
	for _, want := range []string{
		"id: " + boot + "-1\nevent: invalidation\ndata: {\"key_id\":\"key\\n1\",\"revision\":\"6923a1c000000003\"}\n",
		"id: " + boot + "-2\nevent: loss\ndata: {\"reason\":\"drop\"}\n",
		"id: " + boot + "-3\nevent: state\ndata: {\"from\":\"live\",\"to\":\"stale\"}\n",
		"id: " + boot + "-4\nevent: expiring\ndata: {\"key_id\":\"k2\",\"expires_at\":\"2027-01-02T03:04:05Z\"}\n",
	} {
		if got := block(t, lines); got != want {
			t.Errorf("got %q, want %q", got, want)
		}
	}
	again := bufio.NewReader(listen(t, server, boot+"-2").Body)
	if got := block(t, again); !strings.HasPrefix(got, "id: "+boot+"-3\nevent: state\n") {
		t.Errorf("after the second event comes %q", got)
	}
	if got := block(t, bufio.NewReader(listen(t, server, "x-1").Body)); !strings.HasSuffix(got, "event: resync\ndata: {\"reason\":\"malformed\",\"state\":\"stale\"}\n") {
		t.Errorf("after an id that is none comes %q", got)
	}
	feed.Close()
	if rest, err := io.ReadAll(lines); err != nil || len(rest) != 0 {
		t.Errorf("after the shutdown comes %q, %v", rest, err)
	}
	refused := listen(t, server, "")
	if refused.StatusCode != http.StatusServiceUnavailable || refused.Header.Get("Retry-After") != "1" {
		t.Errorf("after the shutdown: status %d", refused.StatusCode)
	}
}

func TestTooManySubscribersAreRefused(t *testing.T) {
	t.Parallel()
	server := serverWithShortTimeouts(t, newFeed(t, events.Config{MaxSubscribers: 1}))
	block(t, bufio.NewReader(listen(t, server, "").Body))
	if got := listen(t, server, "").StatusCode; got != http.StatusServiceUnavailable {
		t.Errorf("status %d", got)
	}
}

// TestOneTokenCannotHoldAllStreams: others still get one, and so does the token once it
// has closed one of its own.
func TestOneTokenCannotHoldAllStreams(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(newPublic(t, PublicConfig{
		Config: forwardauth.Config{Validator: loadKeys(t)}, Callers: fakeTokens{"caller": "web", "another": "batch"},
		Events: newFeed(t, events.Config{}), OpenPerToken: 2,
	}))
	t.Cleanup(server.Close)
	open := func(token string) (status int, end func()) {
		ctx, cancel := context.WithCancel(t.Context())
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, server.URL+api.PathEvents, nil)
		if err != nil {
			t.Fatal(err)
		}
		request.Header.Set("Authorization", "Bearer "+token)
		response, err := server.Client().Do(request)
		if err != nil {
			t.Fatal(err)
		}
		end = func() { cancel(); _ = response.Body.Close() }
		t.Cleanup(end)
		return response.StatusCode, end
	}
	var ends []func()
	for i, want := range []int{http.StatusOK, http.StatusOK, http.StatusServiceUnavailable} {
		status, end := open("caller")
		if status != want {
			t.Fatalf("stream %d: status %d, want %d", i+1, status, want)
		}
		ends = append(ends, end)
	}
	if status, _ := open("another"); status != http.StatusOK {
		t.Errorf("another token: status %d", status)
	}
	ends[0]()
	for deadline := time.Now().Add(10 * time.Second); ; {
		if status, _ := open("caller"); status == http.StatusOK {
			break
		}
		if time.Now().After(deadline) {
			t.Fatal("a stream that has ended still counts")
		}
	}
}

// closing counts the subscriptions that have ended.
type closing struct {
	Events
	closed *atomic.Int64
}

type closingSubscription struct {
	Subscription
	closed *atomic.Int64
}

func (c closing) Subscribe(lastID string) (Subscription, error) {
	s, err := c.Events.Subscribe(lastID)
	return closingSubscription{s, c.closed}, err
}

func (s closingSubscription) Close() {
	s.Subscription.Close()
	s.closed.Add(1)
}

// TestAClientThatStopsReadingIsDisconnected: its connection is full, and a write
// does not end in time.
func TestAClientThatStopsReadingIsDisconnected(t *testing.T) {
	feed := newFeed(t, events.Config{History: 8})
	var closed atomic.Int64
	engine := gin.New()
	engine.GET(api.PathEvents, func(c *gin.Context) {
		// In place of writeTimeout, which a test cannot wait for.
		c.Writer = impatient{c.Writer}
		stream(closing{feed, &closed})(c)
	})
	server := serve(t, engine)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", server.Listener.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if _, err := io.WriteString(conn, "GET /v1/events HTTP/1.1\r\nHost: a\r\n\r\n"); err != nil {
		t.Fatal(err)
	}
	long := apikey.DocID(strings.Repeat("x", 200))
	for deadline := time.Now().Add(30 * time.Second); closed.Load() == 0; {
		feed.Invalidated(long, 1)
		if time.Now().After(deadline) {
			t.Fatal("it is not cut")
		}
	}
}

// impatient makes every deadline a short one.
type impatient struct{ gin.ResponseWriter }

func (w impatient) SetWriteDeadline(at time.Time) error {
	return http.NewResponseController(w.ResponseWriter).SetWriteDeadline(at.Add(100*time.Millisecond - writeTimeout))
}

func (w impatient) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// TestASlowClientGetsResyncBeforeTheEnd: the ring has overtaken it.
func TestASlowClientGetsResyncBeforeTheEnd(t *testing.T) {
	t.Parallel()
	server := serverWithShortTimeouts(t, slowFeed{})
	rest, err := io.ReadAll(listen(t, server, "").Body)
	if err != nil || string(rest) != "id: a-7\nevent: resync\ndata: {\"reason\":\"slow\"}\n\n" {
		t.Errorf("got %q, %v", rest, err)
	}
}

type slowFeed struct{}

func (slowFeed) Subscribe(string) (Subscription, error) { return slowFeed{}, nil }
func (slowFeed) Close()                                 {}
func (slowFeed) Next(context.Context) ([]events.Event, error) {
	return []events.Event{{ID: "a-7", Kind: events.Resync, Reason: events.ReasonSlow}}, events.ErrSlow
}

// TestAStreamIsKeptAlive depends on the cause with which Next's context ends.
func TestAStreamIsKeptAlive(t *testing.T) {
	t.Parallel()
	rest, err := io.ReadAll(listen(t, serverWithShortTimeouts(t, &quietFeed{}), "").Body)
	if err != nil || string(rest) != ": keep-alive\n\n" {
		t.Errorf("got %q, %v", rest, err)
	}
}

// quietFeed has no events, and then ends.
type quietFeed struct{ reads atomic.Int64 }

func (f *quietFeed) Subscribe(string) (Subscription, error) { return f, nil }
func (f *quietFeed) Close()                                 {}
func (f *quietFeed) Next(ctx context.Context) ([]events.Event, error) {
	if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > keepAlive {
		return nil, errors.New("there is no deadline")
	}
	if f.reads.Add(1) == 1 {
		return nil, errIdle
	}
	return nil, events.ErrClosed
}

// TestAResumedStreamRespondsImmediately: the next event may be late.
func TestAResumedStreamRespondsImmediately(t *testing.T) {
	t.Parallel()
	feed := newFeed(t, events.Config{})
	server := serverWithShortTimeouts(t, feed)
	first := block(t, bufio.NewReader(listen(t, server, "").Body))
	began := time.Now()
	response := listen(t, server, strings.TrimPrefix(first[:strings.IndexByte(first, '\n')], "id: "))
	if took := time.Since(began); response.StatusCode != http.StatusOK || took >= keepAlive {
		t.Errorf("status %d after %v", response.StatusCode, took)
	}
	// And then by a comment.
	lines := bufio.NewReader(response.Body)
	if got := block(t, lines); got != ": keep-alive\n" {
		t.Errorf("got %q", got)
	}
	if took := time.Since(began); took < keepAlive || took > 2*keepAlive {
		t.Errorf("a comment after %v", took)
	}
}
