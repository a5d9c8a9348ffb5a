package integration

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"testing"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/mongotest"
)

// ready returns the status of readyz, and the state in its body.
func (r *fixture) ready(query string) (int, string) {
	r.t.Helper()
	recorder := httptest.NewRecorder()
	r.Operations().ServeHTTP(recorder, httptest.NewRequestWithContext(r.t.Context(), http.MethodGet, "/readyz"+query, nil))
	var body struct{ State string }
	if err := json.Unmarshal(recorder.Body.Bytes(), &body); err != nil {
		r.t.Fatalf("%v in %s", err, recorder.Body)
	}
	return recorder.Code, body.State
}

func (r *fixture) mustBeReady(query string, want int, state string) {
	r.t.Helper()
	if code, got := r.ready(query); code != want || got != state {
		r.t.Errorf("readyz%s: got %d in state %q, want %d in %q", query, code, got, want, state)
	}
}

func TestLiveBecomesStaleAndLiveAgain(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s, withShortMaxStale)
		k := r.newKey()
		r.waitForCode(k, apikey.Valid)
		r.mustBeReady("", http.StatusOK, "live")
		r.mustBeReady("?strict=1", http.StatusOK, "live")
		mend := r.failCommands("update", "findAndModify")
		r.waitForState("stale")
		// A stale instance is still ready: keytail reads the database.
		r.mustBeReady("", http.StatusOK, "stale")
		r.mustBeReady("?strict=1", http.StatusServiceUnavailable, "stale")
		if v := r.validate(k); v.Code != apikey.Valid || v.Source != apikey.SourceLinearizable {
			t.Errorf("stale: got %v from %v", v.Code, v.Source)
		}
		mend()
		r.waitForState("live")
		r.waitUntilCached(k)
	})
}

func TestStaleBecomesDownAndLiveAgain(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s, withShortMaxStale)
		k := r.newKey()
		r.waitForCode(k, apikey.Valid)
		mend := r.failCommands("update", "findAndModify", "find")
		r.waitForState("stale")
		r.waitForCode(k, apikey.Unavailable)
		r.waitForState("down")
		r.mustBeReady("", http.StatusOK, "down")
		r.mustBeReady("?strict=1", http.StatusServiceUnavailable, "down")
		mend()
		r.waitForCode(k, apikey.Valid)
		r.waitForState("live")
	})
}

func TestStatesAfterALoss(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s)
		k := r.newKey()
		r.waitForCode(k, apikey.Valid)
		s.Needs(t, mongotest.Failpoints)
		// The failpoint delays the scan after the next opening.
		mend := r.failpoint("alwaysOn", bson.D{
			{Key: "failCommands", Value: bson.A{"find"}},
			{Key: "blockConnection", Value: true},
			{Key: "blockTimeMS", Value: 1500},
			{Key: "appName", Value: r.appName},
		})
		if err := r.keys.Drop(t.Context()); err != nil {
			t.Fatal(err)
		}
		r.waitForState("connecting")
		r.mustBeReady("?strict=1", http.StatusServiceUnavailable, "connecting")
		mongotest.CreateAPIKeys(t, r.db)
		r.waitForState("preloading")
		r.mustBeReady("", http.StatusOK, "preloading")
		mend()
		r.waitForState("live")
		if got := r.metric("keytail_scans_total", "complete"); got < 2 {
			t.Errorf("got %v scans, want one for each opening", got)
		}
	})
}

func TestDrainingIsNotReady(t *testing.T) {
	mongotest.EachScope(t, func(t *testing.T, s *mongotest.Server) {
		r := start(t, s)
		r.mustBeReady("", http.StatusOK, "live")
		r.Drain()
		r.mustBeReady("", http.StatusServiceUnavailable, "live")
	})
}
