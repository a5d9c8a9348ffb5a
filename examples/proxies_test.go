//go:build linux

package examples_test

import (
	"cmp"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// proxies returns all examples of proxies, in the order of README.md.
func proxies() []proxy {
	return []proxy{nginx(), caddy(), caddyCurrent(), envoyHTTP(), envoyGRPC()}
}

// TestProxies sends every case to every proxy, then stops keytail. TABLE.md has what the
// clients saw.
func TestProxies(t *testing.T) {
	seen := &table{}
	for _, p := range proxies() {
		t.Run(p.name, func(t *testing.T) {
			s := newStage(t, p)
			s.seen = seen
			for _, c := range cases(s.keys) {
				t.Run(c.name, func(t *testing.T) { s.try(t, c) })
			}
			t.Run("websocket", func(t *testing.T) { s.tryUpgrade(t) })
			s.tryOutages(t)
		})
	}
	t.Logf("what the clients saw:\n%s", seen)
	if !t.Failed() {
		compareTable(t, seen)
	}
}

// try sends the request of one case and checks the response.
func (s *stage) try(t *testing.T, c testCase) {
	t.Helper()
	w := c.want
	if other, differs := s.proxy.differs[c.name]; differs {
		w = other
	}
	before := s.upstream.count()
	r := s.send(t, c.request)
	after := s.upstream.since(before)
	s.seen.set(c.name, s.proxy.name, cell(w, r, len(after) > 0))
	w.compare(t, c.request, r, after)
	if t.Failed() {
		t.Logf("the client got %d %v %.300q; the API got %d requests: %.3000v", r.status, r.header, r.body, len(after), after)
		return
	}
	if c.check == nil {
		return
	}
	var got *received
	if len(after) > 0 {
		got = &after[0]
	}
	c.check(t, r, got)
}

// compare compares the response and the API's requests with what the case expects.
func (w want) compare(t *testing.T, a request, r *reply, after []received) {
	t.Helper()
	if !slices.Contains(append(w.statuses, w.status), r.status) || (r.status == 0 && len(w.statuses) == 0) {
		t.Errorf("the client got status %d, want %v", r.status, append(w.statuses, w.status))
	}
	if len(after) > 1 || !w.either && (len(after) == 1) != w.reached {
		t.Errorf("the API got %d requests, want any: %t", len(after), w.reached)
	}
	if w.code == "" {
		return
	}
	if have := r.header.Values("X-Auth-Result"); !slices.Equal(have, []string{w.code}) {
		t.Errorf("X-Auth-Result is %q, want %s", have, w.code)
	}
	if have := strings.Join(r.header.Values("WWW-Authenticate"), " | "); have != w.challenge {
		t.Errorf("WWW-Authenticate is %q, want %q", have, w.challenge)
	}
	if code := r.code(); a.method != http.MethodHead && code != w.code {
		t.Errorf("the problem in the body has the code %q, want %s", code, w.code)
	}
	if r.header.Get("Cache-Control") != "no-store" || r.header.Get("X-Request-Id") == "" {
		t.Errorf("Cache-Control is %q, X-Request-Id %q", r.header.Get("Cache-Control"), r.header.Get("X-Request-Id"))
	}
	if seconds, err := strconv.Atoi(cmp.Or(r.header.Get("Retry-After"), "0")); err != nil || (seconds >= 1) != (w.code == "UNAVAILABLE") {
		t.Errorf("Retry-After is %q", r.header.Get("Retry-After"))
	}
}

// tryUpgrade exchanges data with the API through the proxy, after an upgrade.
func (s *stage) tryUpgrade(t *testing.T) {
	t.Helper()
	before := s.upstream.count()
	r, back := s.sendUpgrade(t, request{target: "/orders/socket", header: append(upgradeTo("websocket"), append(forgeries(), bearer(s.keys["valid"]))...)}, "hello")
	after := s.upstream.since(before)
	s.seen.set("an upgrade request", s.proxy.name, cell(want{}, r, len(after) > 0))
	if r.status != http.StatusSwitchingProtocols || back != "hello" || len(after) != 1 {
		t.Fatalf("the client got %d %v %q and the line %q; the API got %d requests", r.status, r.header, r.body, back, len(after))
	}
	wantIdentity(validID, "user_00", "", "", "orders:read orders:write")(t, r, &after[0])
}

// tryOutages checks that no request passes during an outage of keytail, that an outage is
// never a refusal of the key, and that requests pass again afterwards.
func (s *stage) tryOutages(t *testing.T) {
	t.Helper()
	for _, outage := range []struct {
		name       string
		begin, end func()
	}{
		{"keytail has lost MongoDB", s.keytail.loseMongoDB, s.keytail.regainMongoDB},
		{"keytail hangs", s.keytail.pauseProcess, s.keytail.resume},
		{"keytail is stopped", s.keytail.kill, s.keytail.start},
	} {
		t.Run(outage.name, func(t *testing.T) {
			orders := request{target: "/orders/1", header: []field{bearer(s.keys["valid"])}}
			outage.begin()
			s.try(t, testCase{name: outage.name, request: orders, want: refused("UNAVAILABLE")})
			s.try(t, testCase{name: outage.name + ", a path without a check", request: request{target: "/public/1"}, want: allowed()})
			outage.end()
			s.try(t, testCase{name: outage.name + ", after the outage", request: orders, want: allowed()})
		})
	}
	t.Run("the API is stopped", func(t *testing.T) {
		s.upstream.close()
		s.try(t, testCase{
			name: "the API is stopped", want: want{statuses: []int{http.StatusBadGateway, http.StatusServiceUnavailable, http.StatusGatewayTimeout}},
			request: request{target: "/orders/1", header: []field{bearer(s.keys["valid"])}},
			check: func(t *testing.T, r *reply, _ *received) {
				t.Helper()
				if code := r.header.Get("X-Auth-Result"); code != "" && code != "VALID" {
					t.Errorf("the outage of the API is reported as keytail's: %s", code)
				}
			},
		})
	})
}
