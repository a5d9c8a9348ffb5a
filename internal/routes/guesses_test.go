package routes

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/zap"
	"go.uber.org/zap/zaptest/observer"

	"github.com/keytail/keytail/internal/rights"
)

// guessing is an admin handler whose log is observed.
func guessing(t *testing.T) (http.Handler, *observer.ObservedLogs) {
	t.Helper()
	core, logs := observer.New(zap.WarnLevel)
	handler, err := NewAdmin(AdminConfig{
		Callers: fakeAdmins{adminToken1: {Name: "ann", Role: rights.Admin}}, Status: func() Status { return goldenStates()["ready"] }, Logger: zap.New(core),
	})
	if err != nil {
		t.Fatal(err)
	}
	return handler, logs
}

// try sends a token from an address, and returns the status and how long it took.
func try(handler http.Handler, from, token string) (status int, took time.Duration) {
	r := adminRequest("GET", "/v1/status", bearer(token))
	if token == "" {
		r.Header.Del("Authorization")
	}
	r.RemoteAddr = from
	w := httptest.NewRecorder()
	began := time.Now()
	handler.ServeHTTP(w, r)
	return w.Code, time.Since(began)
}

// TestWrongAdminTokensAreDelayed: more and more, for each client on its own, and a right
// token never.
func TestWrongAdminTokensAreDelayed(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handler, _ := guessing(t)
		const ms = time.Millisecond
		for i, step := range []struct {
			from, token string
			status      int
			took        time.Duration
		}{
			{"192.0.2.1:1", "wrong-token-0001", 401, 100 * ms},
			{"192.0.2.1:2", "wrong-token-0002", 401, 200 * ms},
			{"192.0.2.1:3", adminToken1, 200, 0},
			{"192.0.2.1:3", "", 401, 0}, // a browser sends its first request in this way
			{"192.0.2.1:4", "wrong-token-0003", 401, 400 * ms},
			{"[::ffff:192.0.2.1]:5", "wrong-token-0004", 401, 800 * ms},
			{"192.0.2.2:1", "wrong-token-0005", 401, 100 * ms},
			{"192.0.2.1:6", "wrong-token-0006", 401, 1600 * ms},
			{"192.0.2.1:7", "wrong-token-0007", 401, longestDelay},
			{"192.0.2.1:8", "wrong-token-0008", 401, longestDelay},
			{"[2001:db8::1]:1", "wrong-token-0009", 401, 100 * ms},
			{"[2001:db8::2]:1", "wrong-token-0010", 401, 200 * ms},
			{"[2001:db8:0:1::2]:1", "wrong-token-0011", 401, 100 * ms},
		} {
			if status, took := try(handler, step.from, step.token); status != step.status || took != step.took {
				t.Errorf("step %d: status %d after %v, want %d after %v", i, status, took, step.status, step.took)
			}
		}
		time.Sleep(forgetAfter)
		if _, took := try(handler, "192.0.2.1:9", "wrong-token-0012"); took != firstDelay {
			t.Errorf("after a while: %v, want %v", took, firstDelay)
		}
	})
}

// TestDelaysDoNotHoldEveryConnection: only a few refusals wait at a time.
func TestDelaysDoNotHoldEveryConnection(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handler, _ := guessing(t)
		var waited atomic.Int64
		for i := range 50 {
			go func() {
				if _, took := try(handler, fmt.Sprintf("192.0.2.%d:1", i), "wrong-token-0001"); took > 0 {
					waited.Add(1)
				}
			}()
		}
		synctest.Wait()
		if status, took := try(handler, "192.0.2.1:1", adminToken1); status != http.StatusOK || took != 0 {
			t.Errorf("a right token meanwhile: status %d after %v", status, took)
		}
		time.Sleep(longestDelay)
		synctest.Wait()
		if n := waited.Load(); n != maxDelayed {
			t.Errorf("%d refusals waited, want %d", n, maxDelayed)
		}
	})
}

// TestWrongAdminTokensAreLogged once a minute, without the token.
func TestWrongAdminTokensAreLogged(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		handler, logs := guessing(t)
		for range 10 {
			try(handler, "192.0.2.1:1", "wrong-token-0001")
		}
		time.Sleep(time.Minute)
		try(handler, "192.0.2.2:1", "wrong-token-0001")
		all := logs.All()
		if len(all) != 2 {
			t.Fatalf("%d lines, want 2", len(all))
		}
		for i, want := range []map[string]any{
			{"client": "192.0.2.1/32", "times_since_last_line": int64(1)},
			{"client": "192.0.2.2/32", "times_since_last_line": int64(10)},
		} {
			for name, value := range want {
				if got := all[i].ContextMap()[name]; got != value {
					t.Errorf("line %d: %s is %v, want %v", i, name, got, value)
				}
			}
			if strings.Contains(fmt.Sprint(all[i]), "wrong-token") {
				t.Errorf("the line has the token: %v", all[i])
			}
		}
	})
}

// TestGuessersAreForgotten: a client with many addresses does not fill the memory.
func TestGuessersAreForgotten(t *testing.T) {
	t.Parallel()
	g, now := newGuesses(zap.NewNop()), time.Now()
	for i := range 2 * maxSources {
		g.note(sourceOf(fmt.Sprintf("10.0.%d.%d:1", i/256, i%256)), now)
	}
	if n := len(g.sources); n > maxSources {
		t.Errorf("%d clients are remembered, want %d at most", n, maxSources)
	}
	g.note(sourceOf("unix"), now.Add(forgetAfter))
	if n := len(g.sources); n != 1 {
		t.Errorf("%d clients are remembered, want the last one", n)
	}
}
