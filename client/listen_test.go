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

	"github.com/keytail/keytail/auth"
)

// fleet is a daemon in a bubble: one instance sends events, and another answers, who
// lags behind by lag.
type fleet struct {
	mutex sync.Mutex
	// lag is how old the truth of answers is.
	lag time.Duration
	// revokedAt is when the key was revoked, at revision 9. Zero: it is not.
	revokedAt time.Time
	// noAnswer and noEvents: whoever asks for these is refused.
	noAnswer, noEvents bool
	// busy: whoever wants to listen is to come again after 7 s.
	busy bool
	// exact: a subscriber that goes on is told of no resync.
	exact bool
	// state is what a resync says.
	state string
	// out is where the events go, nil while nobody listens. opened counts those who
	// did, and asked the answers. from are their Last-Event-IDs.
	out           *io.PipeWriter
	opened, asked int
	from          []string
}

func (f *fleet) RoundTrip(r *http.Request) (*http.Response, error) {
	if r.Header.Get("Authorization") != "Bearer "+callerToken {
		return nil, errors.New("no token")
	}
	if r.URL.Path == "/v1/events" {
		return f.listen(r)
	}
	return f.answer(r)
}

func respond(contentType string, body io.ReadCloser) *http.Response {
	return &http.Response{StatusCode: http.StatusOK, Status: "200 OK", Header: http.Header{"Content-Type": {contentType}}, Body: body}
}

func (f *fleet) answer(r *http.Request) (*http.Response, error) {
	var q question
	if err := json.NewDecoder(r.Body).Decode(&q); err != nil {
		return nil, err
	}
	time.Sleep(time.Millisecond)
	f.mutex.Lock()
	defer f.mutex.Unlock()
	f.asked++
	if f.noAnswer {
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

func (f *fleet) listen(r *http.Request) (*http.Response, error) {
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

// says sends one event, or a comment.
func (f *fleet) says(lines string) {
	f.mutex.Lock()
	out := f.out
	f.mutex.Unlock()
	if out != nil {
		_, _ = io.WriteString(out, lines+"\n\n")
	}
}

func (f *fleet) set(change func(f *fleet)) {
	f.mutex.Lock()
	defer f.mutex.Unlock()
	change(f)
}

func (f *fleet) revoke() { f.set(func(f *fleet) { f.revokedAt = time.Now() }) }

func (f *fleet) breaks() {
	f.set(func(f *fleet) { _ = f.out.CloseWithError(syscall.ECONNRESET) })
}

// alive sends keep-alives until ctx ends.
func (f *fleet) alive(ctx context.Context) {
	for sleep(ctx, 5*time.Second) {
		f.says(": keep-alive")
	}
}

const (
	revoked = "id: i-1\nevent: invalidation\ndata: {\"key_id\":\"k\",\"revision\":\"0000000000000009\"}"
	other   = "id: i-1\nevent: invalidation\ndata: {\"key_id\":\"other\",\"revision\":\"0000000000000008\"}"
)

// stage is a client that listens to a fleet, in a bubble.
type stage struct {
	*fleet
	t      *testing.T
	client *Client
	log    bytes.Buffer
}

// onStage runs a test in a bubble in which time passes when all wait.
func onStage(t *testing.T, test func(s *stage), change ...func(*Config)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		s := &stage{fleet: &fleet{state: "live"}, t: t}
		s.client = newClient(t, "http://keytail", func(c *Config) {
			c.Transport, c.Logger = s.fleet, slog.New(slog.NewTextHandler(&s.log, nil))
			for _, f := range change {
				f(c)
			}
		})
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- s.client.Run(ctx) }()
		go s.alive(ctx)
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

// stream lets a request in and returns its principal; the handler waits for the
// function returned.
func (s *stage) stream(opts ...auth.Option) (*auth.Principal, func()) {
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
		s.t.Fatalf("not let in: %d %s", recorder.Code, recorder.Body)
	}
	return p, func() { close(out); <-gone }
}

// ends waits for the end of a principal and returns after how long it came.
func (s *stage) ends(p *auth.Principal, want error, bound time.Duration) time.Duration {
	s.t.Helper()
	began := time.Now()
	select {
	case <-p.Done():
	case <-time.After(bound):
		s.t.Fatalf("it goes on after %v", bound)
	}
	var code *auth.RevokedError
	if want != nil && !errors.Is(p.Err(), want) || want == nil && (!errors.As(p.Err(), &code) || code.Code != auth.Disabled) {
		s.t.Errorf("it has ended with %v", p.Err())
	}
	return time.Since(began)
}

func (s *stage) goesOn(p *auth.Principal, d time.Duration) {
	s.t.Helper()
	select {
	case <-p.Done():
		s.t.Fatalf("it has ended: %v", p.Err())
	case <-time.After(d):
	}
}

func (s *stage) count() (asked, opened int) {
	s.mutex.Lock()
	defer s.mutex.Unlock()
	return s.asked, s.opened
}

// bound is DESIGN.md's, with a second for rechecks.
const bound = DefaultMaxStale + DefaultMaxStale/pollsPerBound + DefaultMaxStale/looksPerBound + time.Second

// TestARevokedKeyIsCutAtOnce: whoever answers lags behind, and is asked for the
// revision of the event.
func TestARevokedKeyIsCutAtOnce(t *testing.T) {
	onStage(t, func(s *stage) {
		s.set(func(f *fleet) { f.lag = DefaultMaxStale })
		time.Sleep(time.Minute)
		p, leave := s.stream()
		defer leave()
		s.says(other)
		s.goesOn(p, time.Minute)
		s.revoke()
		s.says(revoked)
		if took := s.ends(p, nil, bound); took > 10*time.Millisecond {
			t.Errorf("after %v", took)
		}
	})
}

// TestAQuietStreamCostsNothing when all is settled.
func TestAQuietStreamCostsNothing(t *testing.T) {
	onStage(t, func(s *stage) {
		p, leave := s.stream()
		defer leave()
		s.goesOn(p, time.Minute)
		asked, opened := s.count()
		s.goesOn(p, time.Hour)
		if now, again := s.count(); now != asked || again != opened || opened != 1 {
			t.Errorf("asked %d times in an hour, and %d connections", now-asked, again)
		}
		if asked < 5 {
			t.Errorf("asked %d times while changes might have been missed", asked)
		}
	})
}

// TestNoHole: in each of these the event of the revocation does not come, or came
// before anybody watched, and whoever answers lags behind by as much as may be.
func TestNoHole(t *testing.T) {
	for name, test := range map[string]func(s *stage, revoke func()){
		"before the subscription began": func(s *stage, revoke func()) {
			s.breaks()
			s.set(func(f *fleet) { f.lag = DefaultMaxStale })
			synctest.Wait()
			revoke()
			time.Sleep(time.Second) // it is connected again
		},
		"while nobody listens": func(s *stage, revoke func()) {
			s.set(func(f *fleet) { f.noEvents = true })
			s.breaks()
			time.Sleep(7 * time.Minute)
			revoke()
		},
		"just before the connection is back": func(s *stage, revoke func()) {
			s.set(func(f *fleet) { f.noEvents = true })
			s.breaks()
			time.Sleep(7 * time.Minute)
			s.set(func(f *fleet) { f.noEvents = false })
			revoke()
		},
		"in a connection that is dead": func(s *stage, revoke func()) {
			s.set(func(f *fleet) { f.out = nil }) // what is sent gets lost
			revoke()
		},
		"at an instance that is stale": func(s *stage, revoke func()) {
			revoke()
			time.Sleep(DefaultMaxStale - time.Second)
			s.says("id: i-1\nevent: state\ndata: {\"from\":\"live\",\"to\":\"stale\"}")
		},
		"at an instance that was stale from the start": func(s *stage, revoke func()) {
			s.set(func(f *fleet) { f.state = "stale" })
			s.breaks()
			time.Sleep(10 * time.Minute)
			revoke()
		},
		"at one that does not tell its state": func(s *stage, revoke func()) {
			s.set(func(f *fleet) { f.state = "" })
			s.breaks()
			time.Sleep(10 * time.Minute)
			revoke()
		},
		"at one whose state is newer than this client": func(s *stage, revoke func()) {
			s.says("id: i-1\nevent: state\ndata: {\"from\":\"live\",\"to\":\"pondering\"}")
			time.Sleep(10 * time.Minute)
			revoke()
		},
		"in a loss": func(s *stage, revoke func()) {
			revoke()
			s.says("id: i-1\nevent: loss\ndata: {\"reason\":\"drop\"}")
		},
		"after a loss, before the state is told": func(s *stage, revoke func()) {
			s.says("id: i-1\nevent: loss\ndata: {\"reason\":\"drop\"}")
			time.Sleep(DefaultMaxStale/pollsPerBound - time.Second)
			revoke()
		},
		"in a resync": func(s *stage, revoke func()) {
			revoke()
			s.says("id: j-1\nevent: resync\ndata: {\"reason\":\"slow\",\"state\":\"live\"}")
		},
		"in an event that is newer than this client": func(s *stage, revoke func()) {
			revoke()
			s.says("id: i-1\nevent: many\ndata: [\"k\"]")
		},
		"in an event that cannot be read": func(s *stage, revoke func()) {
			revoke()
			s.says("id: i-1\nevent: invalidation\ndata: {\"key_id\":\"k\",\"revision\":\"now\"}")
		},
		"in one that is no JSON": func(s *stage, revoke func()) {
			revoke()
			s.says("id: i-1\nevent: invalidation\ndata: k")
		},
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				time.Sleep(time.Minute)
				s.set(func(f *fleet) { f.lag = DefaultMaxStale })
				p, leave := s.stream()
				defer leave()
				var at time.Time
				test(s, func() { s.revoke(); at = time.Now() })
				s.ends(p, nil, time.Until(at.Add(bound)))
				t.Logf("cut %v after the revocation", time.Since(at))
			})
		})
	}
}

// TestAWatchThatBeginsLate: its verdict is from one that lags behind, and the event
// came before.
func TestAWatchThatBeginsLate(t *testing.T) {
	for name, before := range map[string]func(s *stage){
		"heard":     func(s *stage) { s.says(revoked) },
		"not heard": func(s *stage) { s.breaks(); time.Sleep(5 * time.Second) },
	} {
		t.Run(name, func(t *testing.T) {
			onStage(t, func(s *stage) {
				time.Sleep(time.Minute)
				s.set(func(f *fleet) { f.lag = DefaultMaxStale })
				s.revoke()
				before(s)
				synctest.Wait()
				time.Sleep(time.Second)
				p, leave := s.stream()
				defer leave()
				t.Logf("cut after %v", s.ends(p, nil, bound))
			})
		})
	}
}

// TestWhateverHappens: random faults, and the bound.
func TestWhateverHappens(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	for n := range uint64(200) {
		random := rand.New(rand.NewPCG(seed, n))
		onStage(t, func(s *stage) {
			s.set(func(f *fleet) {
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
					s.breaks()
				case 1:
					s.set(func(f *fleet) { f.noEvents = !f.noEvents })
					s.breaks()
				case 2:
					s.says("id: i-1\nevent: state\ndata: {\"from\":\"live\",\"to\":\"stale\"}")
				case 3:
					s.says("id: i-1\nevent: state\ndata: {\"from\":\"stale\",\"to\":\"live\"}")
				case 4:
					s.says(other)
				}
				time.Sleep(time.Duration(random.Int64N(int64(20 * time.Second))))
			}
			s.revoke()
			at := time.Now()
			// Whoever is not connected now, or is when it breaks, hears nothing of it.
			missed := random.IntN(2) == 0
			if missed {
				s.breaks()
			} else {
				s.says(revoked)
			}
			s.ends(p, nil, bound)
			if t.Failed() {
				t.Fatalf("seed %d, %d: %v, missed %v, cut after %v", seed, n, trace, missed, time.Since(at))
			}
		})
	}
}

// TestTheConnectionIsMadeAgainFromTheLastEvent, with pauses that grow.
func TestTheConnectionIsMadeAgainFromTheLastEvent(t *testing.T) {
	onStage(t, func(s *stage) {
		s.set(func(f *fleet) { f.exact = true })
		s.says("id: i-7\nevent: invalidation\ndata: {\"key_id\":\"other\",\"revision\":\"0000000000000008\"}")
		s.set(func(f *fleet) { f.noEvents = true })
		s.breaks()
		time.Sleep(10 * time.Minute)
		if _, opened := s.count(); opened < 40 || opened > 200 {
			t.Errorf("%d tries in ten minutes", opened)
		}
		s.set(func(f *fleet) { f.noEvents = false })
		time.Sleep(time.Minute)
		synctest.Wait()
		if got := s.from[len(s.from)-1]; got != "i-7" {
			t.Errorf("it goes on from %q", got)
		}
		if text := s.log.String(); strings.Count(text, "are not heard") != 1 || strings.Count(text, "heard again") != 1 {
			t.Errorf("logged %s", text)
		}
	})
}

// TestAConnectionThatIsClosedAtOnceIsNoGoodOne: each one has all watches rechecked.
func TestAConnectionThatIsClosedAtOnceIsNoGoodOne(t *testing.T) {
	onStage(t, func(s *stage) {
		_, leave := s.stream()
		defer leave()
		ctx, cancel := context.WithTimeout(s.t.Context(), 10*time.Minute)
		defer cancel()
		for sleep(ctx, 10*time.Millisecond) {
			s.breaks()
		}
		if asked, opened := s.count(); opened > 150 || asked > 6*opened {
			t.Errorf("%d connections and %d questions in ten minutes", opened, asked)
		}
	})
}

func TestAnOutageCutsThoseWhoWantIt(t *testing.T) {
	onStage(t, func(s *stage) {
		time.Sleep(time.Minute)
		cut, leave := s.stream(auth.CancelOnOutage())
		defer leave()
		keep, leave2 := s.stream()
		defer leave2()
		// As long as one of both is there, the truth is not lost.
		s.set(func(f *fleet) { f.noAnswer = true })
		s.goesOn(cut, 10*time.Minute)
		s.set(func(f *fleet) { f.noAnswer, f.noEvents = false, true })
		s.breaks()
		s.goesOn(cut, 10*time.Minute)

		s.set(func(f *fleet) { f.noAnswer = true })
		took := s.ends(cut, auth.ErrStalenessExceeded, 2*bound)
		if took < DefaultMaxStale {
			t.Errorf("cut after %v", took)
		}
		t.Logf("cut %v after the last answer", took)
		s.goesOn(keep, 10*time.Minute)
		// When it is over, those who stayed are asked about.
		s.revoke()
		s.set(func(f *fleet) { f.noAnswer = false })
		s.ends(keep, nil, bound)
		s.set(func(f *fleet) { f.revokedAt = time.Time{} })
		again, leave3 := s.stream(auth.CancelOnOutage())
		defer leave3()
		s.goesOn(again, 10*time.Minute)
	})
}

func TestRunIsRunOnce(t *testing.T) {
	onStage(t, func(s *stage) {
		if err := s.client.Run(s.t.Context()); err == nil {
			t.Error("twice at once")
		}
	})
}

// TestRunCanBeRunAgain, and hears again.
func TestRunCanBeRunAgain(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := &stage{fleet: &fleet{state: "live"}, t: t}
		s.client = newClient(t, "http://keytail", func(c *Config) { c.Transport = s.fleet })
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

// TestAShortBoundIsKept between two tries to listen, whose pauses are longer.
func TestAShortBoundIsKept(t *testing.T) {
	const short = time.Second
	for n := range 20 {
		onStage(t, func(s *stage) {
			s.set(func(f *fleet) { f.lag, f.noEvents = short, true })
			s.breaks()
			time.Sleep(5*time.Minute + time.Duration(n)*time.Second)
			p, leave := s.stream()
			defer leave()
			s.goesOn(p, time.Minute)
			s.revoke()
			s.ends(p, nil, short+short/pollsPerBound+short/looksPerBound+time.Second/2)
		}, func(c *Config) { c.MaxStale = short })
	}
}

// TestEveryConnectionHasAllRechecked, also one that goes on exactly.
func TestEveryConnectionHasAllRechecked(t *testing.T) {
	onStage(t, func(s *stage) {
		s.set(func(f *fleet) { f.exact = true })
		p, leave := s.stream()
		defer leave()
		s.goesOn(p, time.Minute)
		asked, _ := s.count()
		s.breaks()
		s.goesOn(p, time.Second)
		if now, opened := s.count(); now-asked != 2 || opened != 2 {
			t.Errorf("asked %d times, and %d connections", now-asked, opened)
		}
	})
}

// TestWhoIsToComeLaterDoes.
func TestWhoIsToComeLaterDoes(t *testing.T) {
	onStage(t, func(s *stage) {
		s.set(func(f *fleet) { f.busy = true })
		s.breaks()
		time.Sleep(time.Second)
		_, before := s.count()
		time.Sleep(6 * time.Second)
		if _, now := s.count(); now != before {
			t.Errorf("%d tries before the time", now-before)
		}
		time.Sleep(time.Minute)
		if _, now := s.count(); now == before {
			t.Error("none after it")
		}
	})
}

// TestAStreamMayBeSilentForLongerThanAnAnswer, also in its beginning.
func TestAStreamMayBeSilentForLongerThanAnAnswer(t *testing.T) {
	heard := make(chan struct{}, 9)
	server := serve(t, func(w http.ResponseWriter, r *http.Request) {
		timer := time.NewTimer(200 * time.Millisecond)
		defer timer.Stop()
		select {
		case <-timer.C:
		case <-r.Context().Done():
			t.Error("it has not waited")
		}
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "id: i-0\nevent: resync\ndata: {\"state\":\"live\"}\n\n")
		_ = http.NewResponseController(w).Flush()
		heard <- struct{}{}
		<-r.Context().Done()
	})
	c := newClient(t, server.URL, func(c *Config) { c.HeaderTimeout = 50 * time.Millisecond })
	runs(t, c)
	<-heard
	if n := len(server.seen()); n != 1 {
		t.Errorf("%d connections", n)
	}
}
