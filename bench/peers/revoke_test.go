package peers

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

// fakeProxy accepts keys until their revocation, and then for some more answers.
type fakeProxy struct {
	// more is the number of answers that accept a key after its revocation; -1: all.
	more    int64
	refuse  bool
	revoked atomic.Bool
	after   atomic.Int64
}

func (f *fakeProxy) ServeHTTP(w http.ResponseWriter, _ *http.Request) {
	if f.refuse || f.revoked.Load() && f.more >= 0 && f.after.Add(1) > f.more {
		w.WriteHeader(http.StatusUnauthorized)
	}
}

// measure revokes one key.
func (f *fakeProxy) measure(t *testing.T, ttl, limit time.Duration) (time.Duration, error) {
	t.Helper()
	server := httptest.NewServer(f)
	defer server.Close()
	v := Revocation{Address: server.Listener.Addr().String(), TTL: ttl, Limit: limit, Revoke: func(_ context.Context, i int) error {
		if i != 7 {
			t.Errorf("the key %d is revoked, want 7", i)
		}
		f.revoked.Store(true)
		return nil
	}}
	all, err := v.LastAcceptances(t.Context(), []string{"key"}, 7)
	if err != nil {
		return 0, err
	}
	return all[0], nil
}

func TestLastAcceptanceIsThatAfterTheAcknowledgement(t *testing.T) {
	// The client pauses with a TTL: two answers after the revocation take at least a pause.
	late := &fakeProxy{more: 2}
	if got, err := late.measure(t, time.Millisecond, time.Minute); err != nil || got < pause/2 {
		t.Errorf("two acceptances after the revocation: the last one is after %v (%v)", got, err)
	}
	prompt := &fakeProxy{}
	if got, err := prompt.measure(t, 0, time.Minute); err != nil || got > time.Second {
		t.Errorf("no acceptance after the revocation: the last one is after %v (%v)", got, err)
	}
}

func TestKeyThatIsNeverRefusedIsAnError(t *testing.T) {
	forever := &fakeProxy{more: -1}
	if _, err := forever.measure(t, 0, 20*time.Millisecond); err == nil || !strings.Contains(err.Error(), "is accepted 20ms after") {
		t.Errorf("got %v", err)
	}
}

func TestKeyThatIsRefusedBeforeItsRevocationIsAnError(t *testing.T) {
	wrong := &fakeProxy{refuse: true}
	if _, err := wrong.measure(t, 0, time.Minute); !errors.Is(err, errRefusedBefore) {
		t.Errorf("got %v", err)
	}
}

func TestAnErrorOfTheProxyIsNoRefusal(t *testing.T) {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusInternalServerError) }))
	defer server.Close()
	a := asker{client: server.Client(), address: server.Listener.Addr().String(), key: "key"}
	if _, err := a.ask(t.Context()); err == nil {
		t.Error("the status 500 counts as a refusal")
	}
}
