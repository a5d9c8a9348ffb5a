package instrument

import (
	"net/http"
	"testing"
)

func BenchmarkMeasureARequest(b *testing.B) {
	requests, err := NewRequests(nil)
	if err != nil {
		b.Fatal(err)
	}
	route := requests.Route("/a", http.StatusOK)
	b.ReportAllocs()
	for b.Loop() {
		route.Start().Stop(http.StatusOK)
	}
}
