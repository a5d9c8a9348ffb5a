package instrument

import (
	"maps"
	"net/http"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	dto "github.com/prometheus/client_model/go"
)

func gather(t *testing.T, registry *prometheus.Registry, name string) map[string]*dto.Metric {
	t.Helper()
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	all := map[string]*dto.Metric{}
	for _, family := range families {
		if family.GetName() != name {
			continue
		}
		for _, m := range family.GetMetric() {
			var labels []string
			for _, label := range m.GetLabel() {
				labels = append(labels, label.GetValue())
			}
			all[strings.Join(labels, " ")] = m
		}
	}
	return all
}

func TestEachSeriesOfARouteIsThereBeforeARequest(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	requests, err := NewRequests(registry)
	if err != nil {
		t.Fatal(err)
	}
	route := requests.Route("/a", http.StatusOK, http.StatusNotFound)
	requests.Route("/a", http.StatusOK, http.StatusUnauthorized) // of another listener
	requests.Stream("/s", http.StatusOK, http.StatusNotFound)
	want := []string{"200 /a", "401 /a", "404 /a", "404 /s"}
	if got := slices.Sorted(maps.Keys(gather(t, registry, "keytail_request_duration_seconds"))); !slices.Equal(got, want) {
		t.Errorf("the series are %q, want %q", got, want)
	}
	began := route.Start()
	if n := requests.inFlight.route("/a").Value(); n != 1 {
		t.Errorf("%v requests are in flight, want 1", n)
	}
	began.Stop(http.StatusNotFound)
	if n := requests.inFlight.route("/a").Value(); n != 0 {
		t.Errorf("%v requests are in flight, want 0", n)
	}
	histogram := gather(t, registry, "keytail_request_duration_seconds")["404 /a"].GetHistogram()
	if histogram.GetSampleCount() != 1 || len(histogram.GetBucket()) != len(requestBuckets) || len(histogram.GetPositiveSpan()) == 0 {
		t.Errorf("the histogram must have one request, the classic buckets, and native ones: %v", histogram)
	}
}

func TestAStreamIsInFlightAndHasNoDuration(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	requests, err := NewRequests(registry)
	if err != nil {
		t.Fatal(err)
	}
	stream := requests.Stream("/s", http.StatusOK, http.StatusServiceUnavailable)
	began := stream.Start()
	if n := requests.inFlight.route("/s").Value(); n != 1 {
		t.Errorf("%v requests are in flight, want 1", n)
	}
	began.Stop(http.StatusOK)
	stream.Start().Stop(http.StatusServiceUnavailable)
	series := gather(t, registry, "keytail_request_duration_seconds")
	if len(series) != 1 || series["503 /s"].GetHistogram().GetSampleCount() != 1 {
		t.Errorf("only the refusal has a duration, not %v", series)
	}
}

func TestAStatusThatNoListHasIsMeasured(t *testing.T) {
	registry := prometheus.NewPedanticRegistry()
	requests, err := NewRequests(registry)
	if err != nil {
		t.Fatal(err)
	}
	requests.Route("/a", http.StatusOK).Start().Stop(http.StatusTeapot)
	if n := gather(t, registry, "keytail_request_duration_seconds")["418 /a"].GetHistogram().GetSampleCount(); n != 1 {
		t.Errorf("it is counted %d times, want once", n)
	}
}

func TestNilMeasuresNothing(t *testing.T) {
	var requests *Requests
	for _, route := range []*Route{requests.Route("/a", http.StatusOK), requests.Stream("/s", http.StatusOK)} {
		if route != nil {
			t.Errorf("the route %v of no Requests", route)
		}
		route.Start().Stop(http.StatusOK) // must not panic
	}
}

func TestMeasuringARequestAllocatesNothing(t *testing.T) {
	requests, err := NewRequests(nil)
	if err != nil {
		t.Fatal(err)
	}
	route := requests.Route("/a", http.StatusOK)
	// A native bucket is allocated with its first value; the average rounds that away.
	if n := testing.AllocsPerRun(10000, func() { route.Start().Stop(http.StatusOK) }); n > 0 {
		t.Errorf("%v allocations", n)
	}
}

func TestAStripedNumberIsTheSumOfItsParts(t *testing.T) {
	var s Striped
	var group sync.WaitGroup
	for part := range 256 {
		group.Go(func() { s.Add(uint8(part), 2); s.Add(uint8(part)+1, -1) })
	}
	group.Wait()
	if n := s.Value(); n != 256 {
		t.Errorf("got %v, want 256", n)
	}
}
