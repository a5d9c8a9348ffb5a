package routes

import (
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"testing"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/keytail/keytail/api"
	"github.com/keytail/keytail/internal/forwardauth"
	"github.com/keytail/keytail/internal/instrument"
	"github.com/keytail/keytail/internal/openapitest"
)

// TestStatusesAreThoseOfTheDocument: the list makes the series, so a status that it
// lacks would begin one late, and a status that cannot be is a series of zeros.
func TestStatusesAreThoseOfTheDocument(t *testing.T) {
	t.Parallel()
	documented := openapitest.Load(t).Statuses(t)
	for _, path := range []string{api.PathSync, api.PathEvents} {
		// 404 is that of a listener that does not serve the path.
		documented[path] = slices.DeleteFunc(documented[path], func(status int) bool { return status == http.StatusNotFound })
	}
	listed := map[string][]int{}
	for path, codes := range statuses {
		if path != otherRoute {
			listed[routeName(path)] = codes
		}
	}
	for _, path := range slices.Sorted(maps.Keys(documented)) {
		if !slices.Equal(listed[path], documented[path]) {
			t.Errorf("%s: the list has %v, the document %v", path, listed[path], documented[path])
		}
	}
	if len(listed) != len(documented) {
		t.Errorf("the list has %d paths, the document %d", len(listed), len(documented))
	}
}

// TestEveryRouteHasStatuses of each listener.
func TestEveryRouteHasStatuses(t *testing.T) {
	t.Parallel()
	servers := goldenServers(t)
	for _, server := range []string{"syncing", "ready", "admin"} {
		for _, route := range servers[server].(*gin.Engine).Routes() {
			if len(statuses[route.Path]) == 0 {
				t.Errorf("%s of the server %s is not in the list", route.Path, server)
			}
		}
	}
}

// measured measures the requests of a test. At its end all of them must have had a
// status of the list.
func measured(t testing.TB) *instrument.Requests {
	t.Helper()
	registry := prometheus.NewPedanticRegistry()
	requests, err := instrument.NewRequests(registry)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		listed := map[string]bool{}
		for path, codes := range statuses {
			for _, code := range append([]int{500}, codes...) {
				listed[routeName(path)+" "+strconv.Itoa(code)] = true
			}
		}
		all, _, _ := counts(t, registry)
		for series := range all {
			if !listed[series] {
				t.Errorf("a request was answered with a status that the list lacks: %s", series)
			}
		}
	})
	return requests
}

// counts are the requests by route and code, without zeros, the requests in flight, and
// every route and code that has a series.
func counts(t testing.TB, registry *prometheus.Registry) (requests map[string]uint64, inFlight float64, series map[string]bool) {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	requests, series = map[string]uint64{}, map[string]bool{}
	for _, family := range families {
		for _, m := range family.GetMetric() {
			inFlight += m.GetGauge().GetValue()
			if m.GetHistogram() == nil {
				continue
			}
			code, route := m.GetLabel()[0].GetValue(), m.GetLabel()[1].GetValue() // sorted by name
			series[route+" "+code] = true
			if n := m.GetHistogram().GetSampleCount(); n > 0 {
				requests[route+" "+code] += n
			}
		}
	}
	return requests, inFlight, series
}

func TestRequestsAreMeasuredByRouteAndCode(t *testing.T) {
	t.Parallel()
	registry := prometheus.NewPedanticRegistry()
	requests, err := instrument.NewRequests(registry)
	if err != nil {
		t.Fatal(err)
	}
	policies := map[string]forwardauth.Policy{"open": {}}
	handler := newPublic(t, PublicConfig{
		Config:  forwardauth.Config{Validator: loadKeys(t), Policies: policies},
		Callers: fakeTokens{"caller": "web"}, Syncer: goldenSyncer{}, Events: slowFeed{}, Requests: requests,
	})
	operations, err := NewOperations(OperationsConfig{
		Status: func() Status { return Status{Ready: true} }, Gatherer: registry, Requests: requests,
	})
	if err != nil {
		t.Fatal(err)
	}
	_, _, before := counts(t, registry)
	for _, c := range []struct {
		handler        http.Handler
		method, target string
		token          string
	}{
		{handler, http.MethodGet, "/v1/auth", ""},
		{handler, "PROPFIND", "/v1/auth?scope=read", "key-of-root"},
		{handler, "PROPFIND", "/v1/auth/policy/open/a/b?c=d", "key-of-root"},
		{handler, http.MethodGet, "/v1/auth?nonsense=1", "key-of-root"},
		{handler, http.MethodGet, "/v1/auth/policy/none", "key-of-root"},
		{handler, http.MethodGet, "/key-of-root", ""},
		{handler, http.MethodDelete, api.PathVerify, ""},
		{handler, http.MethodPost, api.PathVerify, ""},
		{handler, http.MethodGet, api.PathSync, "caller"},
		{handler, http.MethodGet, api.PathEvents, ""},
		{operations, http.MethodHead, api.PathReady, ""},
		{operations, http.MethodGet, api.PathReady + "?strict=1", ""},
		{operations, http.MethodGet, api.PathMetrics, ""},
	} {
		r := httptest.NewRequestWithContext(t.Context(), c.method, c.target, nil)
		if c.token != "" {
			r.Header.Set("Authorization", "Bearer "+c.token)
		}
		c.handler.ServeHTTP(httptest.NewRecorder(), r)
	}
	got, inFlight, after := counts(t, registry)
	want := map[string]uint64{
		"/v1/auth 200": 1, "/v1/auth 400": 1, "/v1/auth 401": 1,
		"/v1/auth/policy/{policy} 200": 1, "/v1/auth/policy/{policy} 404": 1,
		"other 404": 1, "other 405": 1, "/v1/keys/verify 401": 1, "/v1/sync 400": 1, "/v1/events 401": 1,
		"/readyz 200": 1, "/readyz 503": 1, "/metrics 200": 1,
	}
	if !maps.Equal(got, want) {
		t.Errorf("measured %v, want %v", got, want)
	}
	if inFlight != 0 {
		t.Errorf("%v requests are still in flight", inFlight)
	}
	if !maps.Equal(before, after) {
		t.Errorf("the series at the start %v, after the requests %v", before, after)
	}
	if before["/v1/events 200"] || !before["/v1/events 503"] {
		t.Error("a stream of events must have no duration, and a refusal of one must have it")
	}
}
