package soak

import (
	"fmt"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/bench/child"
	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/nemesis"
)

// answering returns a load whose daemon gives each request this answer.
func answering(t *testing.T, status int, body string) *load {
	t.Helper()
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		w.WriteHeader(status)
		_, _ = fmt.Fprint(w, body)
	}))
	t.Cleanup(server.Close)
	address := strings.TrimPrefix(server.URL, "http://")
	one := []key{{"k", "text"}}
	l, err := newLoad(&child.Daemon{Public: address, Operations: address, Admin: address, GRPC: address}, newRecorder(), &keys{history: nemesis.NewHistory(), quiet: one}, 1)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(l.stop)
	return l
}

func verdictText(code string, asOf time.Time) string {
	return fmt.Sprintf(`{"code":%q,"source":"cache","as_of":%q,"staleness_ms":%d}`, code, asOf.UTC().Format(time.RFC3339Nano), time.Since(asOf).Milliseconds()+1000)
}

// TestLateAcceptanceIsFound: VALID for a key whose revocation was acknowledged longer than
// max_stale ago, and within max_stale.
func TestLateAcceptanceIsFound(t *testing.T) {
	for _, test := range []struct {
		ago   time.Duration
		found bool
	}{{MaxStale + time.Second, true}, {MaxStale / 2, false}} {
		revoked := time.Now().Add(-test.ago)
		l := answering(t, http.StatusOK, verdictText("VALID", revoked.Add(-time.Second)))
		l.keys.history.AddWrite("k", apikey.Valid, revoked.Add(-time.Hour))(revoked.Add(-time.Hour))
		l.keys.history.AddWrite("k", apikey.Disabled, revoked)(revoked)
		l.verifyRecorded(t.Context(), rand.New(rand.NewPCG(1, 1)))
		late := false
		for _, v := range l.keys.history.Check(MaxStale) {
			late = late || v.Rule == nemesis.LateAcceptance
		}
		if late != test.found {
			t.Errorf("VALID %v after the acknowledgement: found %v, want %v", test.ago, late, test.found)
		}
	}
}

// TestWrongAnswersAreCounted: each kind of request notices an answer that it must not get.
func TestWrongAnswersAreCounted(t *testing.T) {
	refused := answering(t, http.StatusOK, verdictText("NOT_FOUND", time.Now()))
	broken := answering(t, http.StatusInternalServerError, "")
	random := rand.New(rand.NewPCG(1, 1))
	for name, test := range map[string]struct {
		l    *load
		step worker
	}{
		"a valid key is NOT_FOUND": {refused, refused.verifyQuiet},
		"verify 500":               {broken, broken.verifyQuiet},
		"unknown key 500":          {broken, broken.verifyUnknown},
		"changing key 500":         {broken, broken.verifyRecorded},
		"forward-auth 500":         {broken, broken.forwardAuth},
		"garbage 500":              {broken, broken.garbage},
		"admin read 500":           {broken, broken.readAdmin},
		"ext_authz":                {broken, broken.check},
	} {
		before := test.l.recorder.wrongs
		if test.step(t.Context(), random); test.l.recorder.wrongs != before+1 {
			t.Errorf("%s: not noticed", name)
		}
	}
}

// TestUnavailableIsNotWrong: keytail may always say that it does not know.
func TestUnavailableIsNotWrong(t *testing.T) {
	l := answering(t, http.StatusServiceUnavailable, "")
	random := rand.New(rand.NewPCG(1, 1))
	for _, step := range []worker{l.verifyQuiet, l.verifyUnknown, l.verifyRecorded, l.forwardAuth, l.readAdmin} {
		step(t.Context(), random)
	}
	if l.recorder.wrongs != 0 || len(l.keys.history.Check(MaxStale)) != 0 {
		t.Errorf("got %q", l.recorder.wrong)
	}
}

// TestParse: the figures of /metrics, and one that is missing.
func TestParse(t *testing.T) {
	text := "# HELP x y\nprocess_resident_memory_bytes 1.5e+06\ngo_memstats_heap_inuse_bytes 2\ngo_goroutines 3\nprocess_open_fds 4\ngo_threads 5\n" +
		"keytail_staleness_seconds 0.25\nkeytail_state{state=\"live\"} 0\nkeytail_state{state=\"stale\"} 1\n"
	got, err := parse(strings.NewReader(text))
	if want := (Sample{RSS: 1.5e6, Heap: 2, Goroutines: 3, Descriptors: 4, Threads: 5, Staleness: 0.25, State: "stale"}); err != nil || got != want {
		t.Errorf("got %+v, %v", got, err)
	}
	if _, err := parse(strings.NewReader(strings.Replace(text, "go_goroutines 3\n", "", 1))); err == nil || !strings.Contains(err.Error(), "go_goroutines") {
		t.Errorf("without the number of goroutines: got %v", err)
	}
}
