package daemon

import (
	"context"
	"crypto/sha256"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/clustertime"
	"github.com/keytail/keytail/internal/events"
	"github.com/keytail/keytail/internal/fleet"
	"github.com/keytail/keytail/internal/preload"
	"github.com/keytail/keytail/internal/rights"
	"github.com/keytail/keytail/internal/routes"
	"github.com/keytail/keytail/internal/service"
)

type anyToken struct{}

func (anyToken) Token(string) (rights.Identity, error) {
	return rights.Identity{Name: "ann", Role: rights.Viewer}, nil
}

func (anyToken) SignedIn([sha256.Size]byte) (rights.Identity, error) {
	return rights.Identity{}, rights.ErrUnknown
}

func (anyToken) Certificate(*x509.Certificate) (rights.Identity, error) {
	return rights.Identity{}, rights.ErrAbsent
}

// failing fails as the fleet and the events do.
type failing struct{ err error }

func (f failing) Wait(context.Context, clustertime.Time, bool) (routes.SyncResult, error) {
	return routes.SyncResult{}, toRouteErr(f.err)
}

func (f failing) Instances(context.Context) ([]routes.Instance, error) { return nil, toRouteErr(f.err) }

func (f failing) Subscribe(string) (routes.Subscription, error) { return nil, f.err }

// TestErrorsOfTheCoreOnTheWire: an error that changes its name must not change its
// status and code.
func TestErrorsOfTheCoreOnTheWire(t *testing.T) {
	const sync, stream = api.PathSync + "?scope=fleet&revision=0000000000000001", api.PathEvents
	for _, c := range []struct {
		path   string
		err    error
		status int
		code   api.ProblemCode
	}{
		{sync, clustertime.ErrRevisionAhead, http.StatusBadRequest, "BAD_REQUEST"},
		{sync, fleet.ErrBusy, http.StatusServiceUnavailable, "TOO_MANY_WAITING"},
		{sync, fleet.ErrUnavailable, http.StatusServiceUnavailable, "DATABASE_UNAVAILABLE"},
		{sync, errors.New("other"), http.StatusServiceUnavailable, "DATABASE_UNAVAILABLE"},
		{api.PathInstances, fleet.ErrUnavailable, http.StatusServiceUnavailable, "DATABASE_UNAVAILABLE"},
		{stream, events.ErrBusy, http.StatusServiceUnavailable, "TOO_MANY_WAITING"},
		{stream, events.ErrClosed, http.StatusServiceUnavailable, "SHUTTING_DOWN"},
	} {
		f := failing{fmt.Errorf("a test: %w", c.err)}
		handler, err := routes.NewAdmin(routes.AdminConfig{
			Callers: anyToken{}, Status: func() routes.Status { return routes.Status{} }, Syncer: f, Events: f,
		})
		if err != nil {
			t.Fatal(err)
		}
		request := httptest.NewRequestWithContext(t.Context(), http.MethodGet, c.path, nil)
		request.Header.Set("Authorization", "Bearer token")
		response := httptest.NewRecorder()
		handler.ServeHTTP(response, request)
		var problem api.Problem
		if err := json.Unmarshal(response.Body.Bytes(), &problem); err != nil || response.Code != c.status || problem.Code != string(c.code) {
			t.Errorf("%s with %v: %d %s, want %d %s", c.path, c.err, response.Code, response.Body, c.status, c.code)
		}
	}
}

func TestStatusOfTheCoreOnTheWire(t *testing.T) {
	at := time.Unix(1, 0)
	core := service.Status{
		State: service.Stale, Ready: true, Strict: true, Staleness: 1500 * time.Millisecond, Lag: 2 * time.Millisecond, Epoch: 3, Complete: true,
		Entries: 4, Note: "note", IndexMissing: "index", LastLoss: &service.Loss{At: at, Reason: "drop"},
		Scan:  &preload.Progress{Read: 8, Expected: 9, PerSecond: 10.5, Left: 11 * time.Millisecond},
		Usage: &service.UsageStatus{PendingKeys: 5, BatchSize: 6, Failing: 7 * time.Millisecond},
	}
	want := routes.Status{
		State: "stale", Ready: true, Strict: true, StalenessMS: 1500, LagMS: 2, Epoch: 3, Complete: true,
		Entries: 4, Note: "note", IndexMissing: "index", LastLoss: &routes.Loss{At: at, Reason: "drop"},
		Scan:  &routes.Scan{KeysRead: 8, KeysExpected: 9, KeysPerSecond: 10, LeftMS: 11},
		Usage: &routes.Usage{PendingKeys: 5, BatchSize: 6, FailingMS: 7},
	}
	if diff := cmp.Diff(want, toRouteStatus(&core)); diff != "" {
		t.Error(diff)
	}
	unknown := toRouteStatus(&service.Status{Staleness: -1, Lag: -1, Scan: &preload.Progress{Left: -1}, Usage: &service.UsageStatus{Failing: -1}})
	if unknown.StalenessMS != -1 || unknown.LagMS != -1 || unknown.Usage.FailingMS != -1 || unknown.Scan.LeftMS != -1 || unknown.LastLoss != nil {
		t.Errorf("what is not known becomes %+v", unknown)
	}
}
