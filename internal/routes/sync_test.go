package routes

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/forwardauth"
)

// goldenSyncer is a fleet of two instances, one of which is behind.
type goldenSyncer struct{}

func (goldenSyncer) Wait(_ context.Context, revision clustertime.Time, fleet bool) (SyncResult, error) {
	switch {
	case revision > goldenCluster:
		return SyncResult{}, fmt.Errorf("%w: a test", clustertime.ErrRevisionAhead)
	case revision == 7:
		return SyncResult{}, fmt.Errorf("%w: a test", ErrTooManyWaiting)
	case revision == 8:
		return SyncResult{}, errors.New("something with a secret in it")
	}
	all, _ := goldenSyncer{}.Instances(context.Background())
	if !fleet {
		all = all[:1]
	}
	r := SyncResult{Synced: true, Instances: all}
	for _, i := range all {
		if i.Revision < revision {
			r.Synced, r.Missing = false, append(r.Missing, i.ID)
		}
	}
	return r, nil
}

func (goldenSyncer) Instances(context.Context) ([]Instance, error) {
	return []Instance{
		{ID: "a/1", Version: "v1", Revision: goldenProcessed, Staleness: 412 * time.Millisecond, LastSeen: goldenNow},
		{ID: "b/1", Version: "v1", Staleness: -1, LastSeen: goldenNow},
	}, nil
}

// everyone accepts every token.
type everyone struct{}

func (everyone) Name(string) (string, bool) { return "someone", true }

// TestAWaitMayExceedTheServersTimeouts: those are for requests that a client
// prolongs.
func TestAWaitMayExceedTheServersTimeouts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		server := &http.Server{
			Handler:     newPublic(t, PublicConfig{Config: forwardauth.Config{Validator: loadKeys(t)}, Callers: everyone{}, Syncer: slowSyncer{}}),
			ReadTimeout: time.Second, WriteTimeout: time.Second,
		}
		client, theirs := net.Pipe()
		listener := &oneConn{conn: theirs, closed: make(chan struct{})}
		go func() { _ = server.Serve(listener) }()
		defer server.Close()
		r := httptest.NewRequest(http.MethodGet, "/v1/sync?revision=0000000000000001&scope=fleet&timeout=10s", nil)
		if err := r.Write(client); err != nil {
			t.Fatal(err)
		}
		response, err := http.ReadResponse(bufio.NewReader(client), r)
		if err != nil {
			t.Fatal(err)
		}
		if response.StatusCode != http.StatusOK {
			t.Errorf("status %d", response.StatusCode)
		}
		_ = client.Close()
	})
}

// oneConn is a listener in memory, so that a test can run in virtual time. It accepts one connection.
type oneConn struct {
	conn   net.Conn
	closed chan struct{}
}

func (l *oneConn) Accept() (net.Conn, error) {
	if conn := l.conn; conn != nil {
		l.conn = nil
		return conn, nil
	}
	<-l.closed
	return nil, net.ErrClosed
}

func (l *oneConn) Addr() net.Addr { return &net.UnixAddr{Name: "memory", Net: "unix"} }

func (l *oneConn) Close() error {
	close(l.closed)
	return nil
}

// slowSyncer waits for the deadline, which must be the requested one.
type slowSyncer struct{ goldenSyncer }

func (slowSyncer) Wait(ctx context.Context, _ clustertime.Time, _ bool) (SyncResult, error) {
	<-ctx.Done()
	if !errors.Is(context.Cause(ctx), context.DeadlineExceeded) {
		return SyncResult{}, ctx.Err()
	}
	return SyncResult{Missing: []string{"a/1"}}, nil
}

// TestOneTokenCannotHoldAllWaits: others still wait, and so does the token once one of
// its own has ended.
func TestOneTokenCannotHoldAllWaits(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handler := newPublic(t, PublicConfig{
			Config: forwardauth.Config{Validator: loadKeys(t)}, Callers: fakeTokens{"caller": "web", "another": "batch"},
			Syncer: slowSyncer{}, OpenPerToken: 2,
		})
		wait := func(token, timeout string) int {
			r := httptest.NewRequest(http.MethodGet, "/v1/sync?revision=0000000000000001&scope=instance&timeout="+timeout, nil)
			r.Header.Set("Authorization", "Bearer "+token)
			return answerOf(handler, r).StatusCode
		}
		for _, timeout := range []string{"10s", "1m"} {
			go wait("caller", timeout)
		}
		synctest.Wait()
		if status := wait("caller", "1s"); status != http.StatusServiceUnavailable {
			t.Errorf("a third wait: status %d", status)
		}
		if status := wait("another", "1s"); status != http.StatusOK {
			t.Errorf("another token: status %d", status)
		}
		time.Sleep(10 * time.Second) // the first one ends
		synctest.Wait()
		if status := wait("caller", "1s"); status != http.StatusOK {
			t.Errorf("after one has ended: status %d", status)
		}
		time.Sleep(time.Minute) // and the other
	})
}

func TestInstances(t *testing.T) {
	t.Parallel()
	ask := func(syncer Syncer, query string) *httptest.ResponseRecorder {
		engine := newEngine(named(nil), forwardauth.DefaultKeySources(), &meter{})
		engine.GET(api.PathInstances, instances(syncer))
		w := httptest.NewRecorder()
		engine.ServeHTTP(w, httptest.NewRequest(http.MethodGet, api.PathInstances+query, nil))
		return w
	}
	want := `{"instances":[{"id":"a/1","version":"v1","revision":"6923a1c000000003","staleness_ms":412,"last_seen":"2026-11-23T20:00:00.532Z"},` +
		`{"id":"b/1","version":"v1","revision":null,"last_seen":"2026-11-23T20:00:00.532Z"}]}`
	if got := ask(goldenSyncer{}, ""); got.Code != http.StatusOK || got.Body.String() != want {
		t.Errorf("status %d, %s", got.Code, got.Body)
	}
	if got := ask(goldenSyncer{}, "?a=b"); got.Code != http.StatusBadRequest {
		t.Errorf("with a query: status %d", got.Code)
	}
	got := ask(awaySyncer{}, "")
	if got.Code != http.StatusServiceUnavailable || got.Header().Get("Retry-After") != "1" || strings.Contains(got.Body.String(), "secret") {
		t.Errorf("without a database: status %d, %v, %s", got.Code, got.Header(), got.Body)
	}
}

type awaySyncer struct{ goldenSyncer }

func (awaySyncer) Instances(context.Context) ([]Instance, error) {
	return nil, fmt.Errorf("%w: secret", ErrDatabaseUnavailable)
}
