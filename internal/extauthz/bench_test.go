package extauthz

import "testing"

// BenchmarkCheck measures the conversion of Envoy's messages in addition to a validation,
// for a request with the headers that browsers and proxies send.
func BenchmarkCheck(b *testing.B) {
	s := newServer(b, options{})
	r := withRequirements(rawRequest("/orders/1?page=2", ":method", "GET", ":authority", "api.example", ":scheme", "https",
		"user-agent", "Mozilla/5.0 (X11; Linux x86_64)", "accept", "application/json", "accept-encoding", "gzip, deflate, br",
		"accept-language", "en-GB,en;q=0.5", "authorization", "Bearer "+keyRoot, "x-forwarded-for", "203.0.113.9",
		"x-forwarded-proto", "https", "x-request-id", "2f1a51e6-1c2f-4b8e-9d0a-0f5b8d8a7c11"), "policy", "orders")
	b.ReportAllocs()
	for b.Loop() {
		check(b, s, r)
	}
}
