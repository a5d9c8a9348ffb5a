package client

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/auth"
	"github.com/keytail/keytail/internal/timing"
)

// fakeFleet is a RoundTripper with two instances: one sends events, and the other one,
// which lags behind, answers verify.
type fakeFleet struct {
	mutex sync.Mutex
	// lag is the staleness of verdicts.
	lag time.Duration
	// revokedAt is when the key was revoked, at revision 9. Zero: it was not.
	revokedAt time.Time
	// noVerify and noEvents: such requests are refused.
	noVerify, noEvents bool
	// busy: event streams get a 503 with Retry-After: 7.
	busy bool
	// exact: a stream that continues after an event gets no resync.
	exact bool
	// state is the state in a resync.
	state string
	// out is the event stream, nil without one. opened counts event streams, and verifies
	// the requests of the other kind. from has the Last-Event-ID of each stream.
	out              *io.PipeWriter
	opened, verifies int
	from             []string
}

func (f *fakeFleet) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Authorization") != "Bearer "+callerToken {
		return nil, errors.New("no token")
	}
	if r.URL.Path == "/v1/events" {
		return f.openStream(r)
	}
	return f.verify(r)
}

func respond(contentType string, body io.ReadCloser) *http.Response {
	return &http.Response{StatusCode: http.StatusOK, Status: "200 OK", Header: http.Header{"Content-Type": {contentType}}, Body: body}
}

func (f *fakeFleet) verify(r *http.Request) (*http.Response, error) {
	var q api.VerifyRequest
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		return nil, err
	}
	time.Sleep(time.Millisecond)
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.verifies++
	if f.noVerify {
		return nil, syscall.ECONNREFUSED
	}
	asOf, revision := time.Now().Add(-f.lag), 1
	if q.MinRevision != "" {
		asOf, revision = time.Now(), 9
	}
	body := fmt.Sprintf(`{"valid":true,"code":"VALID","key_id":"k","user_id":"u","scopes":[],"as_of":%q,"staleness_ms":%d,"revision":"%016x"}`,
		asOf.Format(time.RFC3339Nano), time.Since(asOf).Milliseconds(), revision)
	if !f.revokedAt.IsZero() && !f.revokedAt.After(asOf) {
		body = `{"valid":false,"code":"DISABLED","key_id":"k","revision":"0000000000000009"}`
	}
	return respond("application/json", io.NopCloser(strings.NewReader(body))), nil
}

func (f *fakeFleet) openStream(r *http.Request) (*http.Response, error) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.opened++
	if f.noEvents {
		return nil, syscall.ECONNREFUSED
	}
	if f.busy {
		response := respond("application/problem+json", io.NopCloser(strings.NewReader(`{"code":"TOO_MANY_WAITING","detail":"too many"}`)))
		response.StatusCode, response.Header["Retry-After"] = http.StatusServiceUnavailable, []string{"7"}
		return response, nil
	}
	from := r.Header.Get("Last-Event-ID")
	f.from = append(f.from, from)
	in, out := io.Pipe()
	f.out = out
	context.AfterFunc(r.Context(), func() { _ = out.CloseWithError(r.Context().Err()) })
	if from == "" || !f.exact {
		go func() {
			_, _ = fmt.Fprintf(out, "id: i-0\nevent: resync\ndata: {\"reason\":\"start\",\"state\":%q}\n\n", f.state)
		}()
	}
	return respond("text/event-stream", in), nil
}

// send sends one event, or a comment.
func (f *fakeFleet) send(lines string) {
	f.mutex.Lock()
	out := f.out
	f.mutex.Unlock()
	if out != nil {
		_, _ = io.WriteString(out, lines+"\n\n")
	}
}

func (f *fakeFleet) set(change func(f *fakeFleet)) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	change(f)
}

func (f *fakeFleet) revoke() { f.set(func(f *fakeFleet) { f.revokedAt = time.Now() }) }

func (f *fakeFleet) disconnect() {
	f.set(func(f *fakeFleet) { _ = f.out.CloseWithError(syscall.ECONNRESET) })
}

// keepAlive sends keep-alives until ctx ends.
func (f *fakeFleet) keepAlive(ctx context.Context) {
	for timing.Sleep(ctx, 5*time.Second) {
		f.send(": keep-alive")
	}
}

const (
	revoked = "id: i-1\nevent: invalidation\ndata: {\"key_id\":\"k\",\"revision\":\"0000000000000009\"}"
	other   = "id: i-1\nevent: invalidation\ndata: {\"key_id\":\"other\",\"revision\":\"0000000000000008\"}"
)

// rig is a running client with a fakeFleet, in a synctest bubble.
type rig struct {
	*fakeFleet
	t      *testing.T
	client *Client
	log    bytes.Buffer
}

// withRig runs a test in a synctest bubble.
func withRig(t *testing.T, test func(s *rig), change ...func(*Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &rig{fakeFleet: &fakeFleet{state: "live"}, t: t}
		s.client = newClient(t, "http://keytail", func(c *Config) {
			c.Transport, c.Logger = s.fakeFleet, slog.New(slog.NewTextHandler(&s.log, nil))
			for _, f := range change {
				f(c)
			}
		})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.client.Run(ctx) }()
		go s.keepAlive(ctx)
		synctest.Wait()
		test(s)
		stop()
		if err := <-done; err != nil {
			t.Error(err)
		}
		if n := s.client.watches.Watching(); n != 0 {
			t.Errorf("%d watches are left", n)
		}
	})
}

// stream starts a request and returns its principal; the handler returns when the
// returned function is called.
func (s *rig) stream(opts ...auth.Option) (*auth.Principal, func()) {
	s.t.Helper()
	in, out, gone := make(chan *auth.Principal, 1), make(chan struct{}), make(chan struct{})
	handler := s.client.Middleware(opts...)(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		p := auth.FromContext(r.Context())
		p.Done()
		in <- p
		<-out
	}))
	request := httptest.NewRequest(http.MethodGet, "/", nil)
	request.Header.Set("X-Api-Key", secret)
	recorder := httptest.NewRecorder()
	go func() {
		handler.ServeHTTP(recorder, request)
		close(in)
		close(gone)
	}()
	p := <-in
	if p == nil {
		s.t.Fatalf("the request was refused: %d %s", recorder.Code, recorder.Body)
	}
	return p, func() { close(out); <-gone }
}

// mustEnd waits for the end of Done and returns how long it took.
func (s *rig) mustEnd(p *auth.Principal, want error, bound time.Duration) time.Duration {
	s.t.Helper()
	began := time.Now()
	select {
	case <-p.Done():
	case <-time.After(bound):
		s.t.Fatalf("Done is still open after %v", bound)
	}
	var code *auth.RevokedError
	if want != nil && !errors.Is(p.Err(), want) || want == nil && (!errors.As(p.Err(), &code) || code.Code != auth.Disabled) {
		s.t.Errorf("Done is closed with %v", p.Err())
	}
	return time.Since(began)
}

// mustBeOpen waits and checks that Done is still open.
func (s *rig) mustBeOpen(p *auth.Principal, d time.Duration) {
	s.t.Helper()
	select {
	case <-p.Done():
		s.t.Fatalf("Done is closed: %v", p.Err())
	case <-time.After(d):
	}
}

func (s *rig) count() (verifies, opened int) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.verifies, s.opened
}

// bound is the bound in DESIGN.md, with a second for rechecks.
const bound = DefaultMaxStale + DefaultMaxStale/recheckFraction + DefaultMaxStale/tickFraction + time.Second

// The instance that answers lags behind, and gets the revision of the event.
func TestRevocationEndsAWatchImmediately(t *testing.T) {
	withRig(t, func(s *rig) {
		s.set(func(f *fakeFleet) { f.lag = DefaultMaxStale })
		time.Sleep(time.Minute)
		p, leave := s.stream()
		defer leave()
		s.send(other)
		s.mustBeOpen(p, time.Minute)
		s.revoke()
		s.send(revoked)
		if took := s.mustEnd(p, nil, bound); took > 10*time.Millisecond {
			t.Errorf("ended after %v", took)
		}
	})
}

func TestIdleWatchMakesNoRequests(t *testing.T) {
	withRig(t, func(s *rig) {
		p, leave := s.stream()
		defer leave()
		s.mustBeOpen(p, time.Minute)
		verifies, opened := s.count()
		s.send("id: i-1\nevent: expiring\ndata: {\"key_id\":\"k\",\"expires_at\":\"2027-01-02T03:04:05Z\"}") // no change
		s.mustBeOpen(p, time.Hour)
		if now, again := s.count(); now != verifies || again != opened || opened != 1 {
			t.Errorf("%d verifies in an hour, and %d connections", now-verifies, again)
		}
		if verifies < 5 {
			t.Errorf("%d verifies while changes may be missed", verifies)
		}
	})
}

// In each case the event of the revocation does not arrive, or arrived before the watch,
// and the instance that answers lags behind as far as it may.
func TestRevocationWithoutAnEvent(t *testing.T) {
	for name, test := range map[string]func(s *rig, revoke func()){
		"before the stream is open": func(s *rig, revoke func()) {
			s.disconnect()
			s.set(func(f *fakeFleet) { f.lag = DefaultMaxStale })
			synctest.Wait()
			revoke()
			time.Sleep(time.Second) // the stream is open again
		},
		"while disconnected": func(s *rig, revoke func()) {
			s.set(func(f *fakeFleet) { f.noEvents = true })
			s.disconnect()
			time.Sleep(7 * time.Minute)
			revoke()
		},
		"just before the stream is open again": func(s *rig, revoke func()) {
			s.set(func(f *fakeFleet) { f.noEvents = true })
			s.disconnect()
			time.Sleep(7 * time.Minute)
			s.set(func(f *fakeFleet) { f.noEvents = false })
			revoke()
		},
		"in a broken connection": func(s *rig, revoke func()) {
			s.set(func(f *fakeFleet) { f.out = nil }) // events get lost
			revoke()
		},
		"at a stale instance": func(s *rig, revoke func()) {
			revoke()
			time.Sleep(DefaultMaxStale - time.Second)
			s.send("id: i-1\nevent: state\ndata: {\"from\":\"live\",\"to\":\"stale\"}")
		},
		"at an instance that was stale from the start": func(s *rig, revoke func()) {
			s.set(func(f *fakeFleet) { f.state = "stale" })
			s.disconnect()
			time.Sleep(10 * time.Minute)
			revoke()
		},
		"at an instance without a state": func(s *rig, revoke func()) {
			s.set(func(f *fakeFleet) { f.state = "" })
			s.disconnect()
			time.Sleep(10 * time.Minute)
			revoke()
		},
		"at an instance in an unknown state": func(s *rig, revoke func()) {
			s.send("id: i-1\nevent: state\ndata: {\"from\":\"live\",\"to\":\"unknown\"}")
			time.Sleep(10 * time.Minute)
			revoke()
		},
		"during a loss": func(s *rig, revoke func()) {
			revoke()
			s.send("id: i-1\nevent: loss\ndata: {\"reason\":\"drop\"}")
		},
		"after a loss, before the state changes": func(s *rig, revoke func()) {
			s.send("id: i-1\nevent: loss\ndata: {\"reason\":\"drop\"}")
			time.Sleep(DefaultMaxStale/recheckFraction - time.Second)
			revoke()
		},
		"before a resync": func(s *rig, revoke func()) {
			revoke()
			s.send("id: j-1\nevent: resync\ndata: {\"reason\":\"slow\",\"state\":\"live\"}")
		},
		"in an unknown event": func(s *rig, revoke func()) {
			revoke()
			s.send("id: i-1\nevent: many\ndata: [\"k\"]")
		},
		"in an event with an invalid revision": func(s *rig, revoke func()) {
			revoke()
			s.send("id: i-1\nevent: invalidation\ndata: {\"key_id\":\"k\",\"revision\":\"now\"}")
		},
		"in an event that is not JSON": func(s *rig, revoke func()) {
			revoke()
			s.send("id: i-1\nevent: invalidation\ndata: k")
		},
	} {
		t.Run(name, func(t *testing.T) {
			withRig(t, func(s *rig) {
				time.Sleep(time.Minute)
				s.set(func(f *fakeFleet) { f.lag = DefaultMaxStale })
				p, leave := s.stream()
				defer leave()
				var at time.Time
				test(s, func() { s.revoke(); at = time.Now() })
				s.mustEnd(p, nil, time.Until(at.Add(bound)))
				t.Logf("ended %v after the revocation", time.Since(at))
			})
		})
	}
}

// The verdict is from an instance that lags behind, and the event arrived before the
// watch.
func TestWatchThatBeginsAfterTheEvent(t *testing.T) {
	for name, before := range map[string]func(s *rig){
		"event received": func(s *rig) { s.send(revoked) },
		"event missed":   func(s *rig) { s.disconnect(); time.Sleep(5 * time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			withRig(t, func(s *rig) {
				time.Sleep(time.Minute)
				s.set(func(f *fakeFleet) { f.lag = DefaultMaxStale })
				s.revoke()
				before(s)
				synctest.Wait()
				time.Sleep(time.Second)
				p, leave := s.stream()
				defer leave()
				t.Logf("ended after %v", s.mustEnd(p, nil, bound))
			})
		})
	}
}

func TestBoundHoldsWithRandomFaults(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	for n := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, n))
		withRig(t, func(s *rig) {
			s.set(func(f *fakeFleet) {
				f.lag = time.Duration(random.Int64N(int64(DefaultMaxStale)))
				f.exact = random.IntN(2) == 0
			})
			time.Sleep(time.Duration(random.Int64N(int64(time.Minute))))
			p, leave := s.stream()
			defer leave()
			var trace []string
			for range random.IntN(6) {
				what := random.IntN(5)
				trace = append(trace, fmt.Sprint(what))
				switch what {
				case 0:
					s.disconnect()
				case 1:
					s.set(func(f *fakeFleet) { f.noEvents = !f.noEvents })
					s.disconnect()
				case 2:
					s.send("id: i-1\nevent: state\ndata: {\"from\":\"live\",\"to\":\"stale\"}")
				case 3:
					s.send("id: i-1\nevent: state\ndata: {\"from\":\"stale\",\"to\":\"live\"}")
				case 4:
					s.send(other)
				}
				time.Sleep(time.Duration(random.Int64N(int64(20 * time.Second))))
			}
			s.revoke()
			at := time.Now()
			// Without a connection the event is missed.
			missed := random.IntN(2) == 0
			if missed {
				s.disconnect()
			} else {
				s.send(revoked)
			}
			s.mustEnd(p, nil, bound)
			if t.Failed() {
				t.Fatalf("seed %d, %d: %v, missed %v, ended after %v", seed, n, trace, missed, time.Since(at))
			}
		})
	}
}

// The pauses grow.
func TestStreamContinuesAfterTheLastEvent(t *testing.T) {
	withRig(t, func(s *rig) {
		s.set(func(f *fakeFleet) { f.exact = true })
		s.send("id: i-7\nevent: invalidation\ndata: {\"key_id\":\"other\",\"revision\":\"0000000000000008\"}")
		s.set(func(f *fakeFleet) { f.noEvents = true })
		s.disconnect()
		time.Sleep(10 * time.Minute)
		if _, opened := s.count(); opened < 40 || opened > 200 {
			t.Errorf("%d connections in ten minutes", opened)
		}
		s.set(func(f *fakeFleet) { f.noEvents = false })
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := s.from[len(s.from)-1]; got != "i-7" {
			t.Errorf("Last-Event-ID is %q", got)
		}
		if text := s.log.String(); strings.Count(text, "is disconnected") != 1 || strings.Count(text, "connected again") != 1 {
			t.Errorf("logged %s", text)
		}
	})
}

// Each connection rechecks all watches.
func TestStreamThatIsClosedImmediatelyKeepsThePause(t *testing.T) {
	withRig(t, func(s *rig) {
		_, leave := s.stream()
		defer leave()
		ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Minute)
		defer cancel()
		for timing.Sleep(ctx, 10*time.Millisecond) {
			s.disconnect()
		}
		if verifies, opened := s.count(); opened > 150 || verifies > 6*opened {
			t.Errorf("%d connections and %d verifies in ten minutes", opened, verifies)
		}
	})
}

func TestCancelOnOutage(t *testing.T) {
	withRig(t, func(s *rig) {
		time.Sleep(time.Minute)
		cancel, leave := s.stream(auth.CancelOnOutage())
		defer leave()
		keep, leave2 := s.stream()
		defer leave2()
		// One of the two is enough.
		s.set(func(f *fakeFleet) { f.noVerify = true })
		s.mustBeOpen(cancel, 10*time.Minute)
		s.set(func(f *fakeFleet) { f.noVerify, f.noEvents = false, true })
		s.disconnect()
		s.mustBeOpen(cancel, 10*time.Minute)

		s.set(func(f *fakeFleet) { f.noVerify = true })
		took := s.mustEnd(cancel, auth.ErrStalenessExceeded, 2*bound)
		if took < DefaultMaxStale {
			t.Errorf("ended after %v", took)
		}
		t.Logf("ended %v after the last verdict", took)
		s.mustBeOpen(keep, 10*time.Minute)
		// After the outage the others are rechecked.
		s.revoke()
		s.set(func(f *fakeFleet) { f.noVerify = false })
		s.mustEnd(keep, nil, bound)
		s.set(func(f *fakeFleet) { f.revokedAt = time.Time{} })
		again, leave3 := s.stream(auth.CancelOnOutage())
		defer leave3()
		s.mustBeOpen(again, 10*time.Minute)
	})
}

func TestRunTwiceAtTheSameTimeFails(t *testing.T) {
	withRig(t, func(s *rig) {
		if err := s.client.Run(s.t.Context()); err == nil {
			t.Error("Run returned nil")
		}
	})
}

func TestRunAfterRun(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &rig{fakeFleet: &fakeFleet{state: "live"}, t: t}
		s.client = newClient(t, "http://keytail", func(c *Config) { c.Transport = s.fakeFleet })
		for range 2 {
			ctx, stop := context.WithTimeout(t.Context(), time.Minute)
			if err := s.client.Run(ctx); err != nil {
				t.Fatal(err)
			}
			stop()
		}
		if _, opened := s.count(); opened < 2 {
			t.Errorf("%d connections", opened)
		}
	})
}

// The bound is shorter than the pauses between connections.
func TestBoundHoldsWithAShortMaxStale(t *testing.T) {
	const short = time.Second
	for n := range 20 {
		withRig(t, func(s *rig) {
			s.set(func(f *fakeFleet) { f.lag, f.noEvents = short, true })
			s.disconnect()
			time.Sleep(5*time.Minute + time.Duration(n)*time.Second)
			p, leave := s.stream()
			defer leave()
			s.mustBeOpen(p, time.Minute)
			s.revoke()
			s.mustEnd(p, nil, short+short/recheckFraction+short/tickFraction+time.Second/2)
		}, func(c *Config) { c.MaxStale = short })
	}
}

// Also one that continues after the last event.
func TestEveryConnectionRechecksAllWatches(t *testing.T) {
	withRig(t, func(s *rig) {
		s.set(func(f *fakeFleet) { f.exact = true })
		p, leave := s.stream()
		defer leave()
		s.mustBeOpen(p, time.Minute)
		verifies, _ := s.count()
		s.disconnect()
		s.mustBeOpen(p, time.Second)
		if now, opened := s.count(); now-verifies != 2 || opened != 2 {
			t.Errorf("%d verifies and %d connections", now-verifies, opened)
		}
	})
}

func TestRetryAfterIsHonoured(t *testing.T) {
	withRig(t, func(s *rig) {
		s.set(func(f *fakeFleet) { f.busy = true })
		s.disconnect()
		time.Sleep(time.Second)
		_, before := s.count()
		time.Sleep(6 * time.Second)
		if _, now := s.count(); now != before {
			t.Errorf("%d connections before Retry-After", now-before)
		}
		time.Sleep(time.Minute)
		if _, now := s.count(); now == before {
			t.Error("no connection after Retry-After")
		}
	})
}

func TestStreamMayBeSilentForLongerThanHeaderTimeout(t *testing.T) {
	connected := make(chan struct{}, 9)
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		timer := time.NewTimer(200 * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			t.Error("the client closed the connection")
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "id: i-0\nevent: resync\ndata: {\"state\":\"live\"}\n\n")
		_ = http.NewResponseController(w).Flush()
		connected <- struct{}{}
		<-r.Context().Done()
	})
	c := newClient(t, server.URL, func(c *Config) { c.HeaderTimeout = 50 * time.Millisecond })
	runClient(t, c)
	<-connected
	if n := len(server.requests()); n != 1 {
		t.Errorf("%d connections", n)
	}
}
