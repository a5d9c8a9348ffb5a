//go:build linux

package examples_test

import (
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/keytail/keytail/internal/proxytest"
)

func envoyArgs(config string) []string {
	// Hot restart needs a number that no other Envoy on the machine has.
	return []string{"-c", config, "--disable-hot-restart", "--concurrency", "2", "--log-level", "warning"}
}

// envoyHTTP asks by the HTTP service of ext_authz.
func envoyHTTP() proxy {
	return proxy{
		name: "envoy-http", http: "127.0.0.1:18380", https: "127.0.0.1:18343",
		config: "envoy/envoy-http.yaml", program: proxytest.Envoy, args: envoyArgs,
	}
}

// envoyGRPC asks by the gRPC service of ext_authz.
func envoyGRPC(flags ...string) proxy {
	return proxy{
		name: "envoy-grpc", http: "127.0.0.1:18480", https: "127.0.0.1:18443",
		config: "envoy/envoy-grpc.yaml", program: proxytest.Envoy, args: envoyArgs,
		keytail: append([]string{"--grpc-addr=" + keytailGRPC, "--hide-credentials"}, flags...),
	}
}

// lines of the configs that tests change.
const (
	envoyDeletes = `x[^a-z0-9]auth([^a-z0-9].*)?`
	envoyPeer    = `- {key: x-forwarded-for, value: "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"}`
	envoyDefault = "                      typed_per_filter_config:\n" +
		"                        envoy.filters.http.ext_authz:\n" +
		"                          \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute\n" +
		"                          check_settings: {context_extensions: {policy: this-route-has-none}}\n"
)

// newEnvoy is newStage for tests of their own, whose cases are no lines of TABLE.md.
func newEnvoy(t *testing.T, p proxy, edits ...func(string) string) *stage {
	t.Helper()
	s := newStage(t, p, edits...)
	s.seen = &table{}
	return s
}

// all makes several edits.
func all(edits ...func(string) string) func(string) string {
	return func(config string) string {
		for _, edit := range edits {
			config = edit(config)
		}
		return config
	}
}

// envoyMistakes are those of both files.
func envoyMistakes(t *testing.T) []broken {
	unasked := func(f field) func(map[string]string) ask {
		return func(map[string]string) ask { return ask{target: "/public/1", header: []field{f}} }
	}
	path := func(target string) func(map[string]string) ask {
		return func(map[string]string) ask { return ask{target: target} }
	}
	gotOrders := func(_ *reply, got *received) bool { return got != nil && couldMean(got.Target, "/orders") }
	return []broken{
		{
			name: "nothing is deleted", edit: instead(t, envoyDeletes, "never"),
			ask: unasked(field{"X-Auth-User-Id", "forged"}), shows: gotForged,
		},
		{
			name: "names with underscores", edit: without(t, "headers_with_underscores_action: DROP_HEADER"),
			ask: askOrders("valid", field{"X_Forwarded_For", "forged"}), shows: gotForged,
		},
		{
			name: "steps in a path", edit: without(t, "normalize_path: true"),
			ask: path("/public/../orders/1"), shows: gotOrders,
		},
		{
			name: "escaped slashes", edit: without(t, "path_with_escaped_slashes_action: REJECT_REQUEST"),
			ask: path("/public/..%2forders/1"), shows: gotOrders,
		},
		{
			name: "an outage is a no", edit: without(t, "status_on_error: {code: ServiceUnavailable}"), gone: true,
			ask: askOrders("valid"), shows: sawStatus(http.StatusForbidden),
		},
		{
			name: "an outage is a yes", edit: instead(t, "failure_mode_allow: false", "failure_mode_allow: true"), gone: true,
			ask: askOrders("unknown"), shows: sawStatus(http.StatusOK),
		},
		{
			name: "an outage without a body", edit: instead(t, "flags: [UAEX]", "flags: [UF]"), gone: true,
			ask: askOrders("valid"), shows: func(r *reply, _ *received) bool {
				return r.status == http.StatusServiceUnavailable && r.code() == "" && r.header.Get("Retry-After") == ""
			},
		},
		{
			name: "the client's id is lost", edit: without(t, "preserve_external_request_id: true"),
			ask: askOrders("valid", field{"X-Request-Id", "from-the-client"}), shows: func(_ *reply, got *received) bool {
				return got != nil && !slices.Equal(got.values("X-Request-Id"), []string{"from-the-client"})
			},
		},
	}
}

// TestEnvoyMistakes takes lines out of the files that hold a promise.
func TestEnvoyMistakes(t *testing.T) {
	const office = "203.0.113.7"
	t.Run("http", func(t *testing.T) {
		runBroken(t, envoyHTTP(), append(envoyMistakes(t), []broken{
			{
				name: "the key goes on", edit: without(t, "request_headers_to_remove: [authorization, x-api-key]"),
				ask: askOrders("valid"), shows: gotKey,
			},
			{
				name: "the client's word for its address",
				edit: all(
					instead(t, envoyPeer, "[]"), instead(t, "- {exact: x-api-key}", "- {exact: x-forwarded-for}"),
					instead(t, "use_remote_address: true", "use_remote_address: false"),
				),
				ask: askOrders("office", field{"X-Forwarded-For", office}), shows: sawStatus(http.StatusOK),
			},
			{
				name: "repeated headers are joined", edit: without(t, "encode_raw_headers: true"),
				ask: func(keys map[string]string) ask {
					return ask{target: "/orders/1", header: []field{{"X-API-Key", keys["valid"]}, {"X-API-Key", keys["operator"]}}}
				},
				shows: func(r *reply, _ *received) bool { return r.header.Get("X-Auth-Result") == "NOT_FOUND" },
			},
			{
				name: "a header that is not passed on", edit: without(t, "- {exact: x-auth-scopes}"),
				ask: askOrders("valid"), shows: func(_ *reply, got *received) bool { return got != nil && len(got.values("X-Auth-Scopes")) == 0 },
			},
		}...))
	})
	t.Run("grpc", func(t *testing.T) {
		runBroken(t, envoyGRPC(), envoyMistakes(t))
		shows := envoyGRPC()
		shows.keytail = shows.keytail[:1] // without --hide-credentials
		same := func(config string) string { return config }
		runBroken(t, shows, []broken{{name: "the key goes on", edit: same, ask: askOrders("valid"), shows: gotKey}})
	})
}

// over is the name of a case with its protocol.
func over(name string, http2 bool) string {
	if http2 {
		return name + ", HTTP/2"
	}
	return name
}

// TestEnvoyOverwrites: even without the line that deletes what clients send, all
// copies of a header are replaced, and by an empty value too.
func TestEnvoyOverwrites(t *testing.T) {
	var forged []field
	for _, name := range identity {
		forged = append(forged, field{name, "forged"}, field{strings.ToLower(name), "forged"}, field{strings.ToUpper(name), "forged"})
	}
	for _, p := range []proxy{envoyHTTP(), envoyGRPC()} {
		t.Run(p.name, func(t *testing.T) {
			s := newEnvoy(t, p, instead(t, envoyDeletes, "never"))
			for _, http2 := range []bool{false, true} {
				s.try(t, testCase{
					name: "forged and not deleted", ask: ask{target: "/orders/1", http2: http2, header: append(slices.Clone(forged), bearer(s.keys["valid"]))}, want: allowed(),
					check: wantIdentity(validID, "user_00", "", "", "orders:read orders:write"),
				})
			}
		})
	}
}

// TestEnvoyRepeatedHeaders: what Envoy makes of a header that comes twice is one key
// or none.
func TestEnvoyRepeatedHeaders(t *testing.T) {
	type variant struct {
		proxy
		edit func(string) string
		// joins: Envoy joins X-API-Key too.
		joins bool
	}
	same := func(config string) string { return config }
	for name, v := range map[string]variant{
		"http":        {envoyHTTP(), same, false},
		"grpc":        {envoyGRPC(), same, false},
		"grpc, plain": {envoyGRPC(), without(t, "encode_raw_headers: true"), true},
	} {
		t.Run(name, func(t *testing.T) {
			s := newEnvoy(t, v.proxy, v.edit)
			valid, other := s.keys["valid"], s.keys["operator"]
			one := allowed()
			if v.joins {
				one = refused("MALFORMED")
			}
			for name, test := range map[string]struct {
				header []field
				want   want
			}{
				"two keys":              {[]field{{"X-API-Key", valid}, {"x-api-key", other}}, refused("MALFORMED")},
				"one key twice":         {[]field{{"X-API-Key", valid}, {"X-API-KEY", valid}}, one},
				"one key in two places": {[]field{{"X-API-Key", valid}, bearer(valid)}, allowed()},
				"bearer twice":          {[]field{bearer(valid), bearer(valid)}, refused("MALFORMED")},
				"two bearers":           {[]field{bearer(valid), bearer(other)}, refused("MALFORMED")},
				// Joined, they would be another key's text: nobody has it here, and over
				// gRPC it is none at all.
				"bearer, and a word":        {[]field{bearer(valid), {"Authorization", "x"}}, byTheProxy(http.StatusUnauthorized)},
				"basic, and a key":          {[]field{{"Authorization", "Basic dTpw"}, {"X-API-Key", valid}}, allowed()},
				"basic and bearer":          {[]field{{"Authorization", "Basic dTpw"}, bearer(valid)}, refused("MISSING")},
				"bytes that are no text":    {[]field{{"X-API-Key", valid + "\xff"}}, byTheProxy(http.StatusUnauthorized)},
				"an empty one, and a key":   {[]field{{"X-API-Key", ""}, bearer(valid)}, allowed()},
				"an empty one in its place": {[]field{{"Authorization", ""}, bearer(valid)}, want{either: true, statuses: []int{200, 401}}},
			} {
				for _, http2 := range []bool{false, true} {
					t.Run(over(name, http2), func(t *testing.T) {
						s.try(t, testCase{name: name, ask: ask{target: "/orders/1", header: test.header, http2: http2}, want: test.want})
					})
				}
			}
		})
	}
}

// TestEnvoyHidesCredentials wherever the key sources have them, and leaves the rest.
func TestEnvoyHidesCredentials(t *testing.T) {
	s := newEnvoy(t, envoyGRPC("--key-sources=bearer,x-api-key,query:api_key,cookie:sid"))
	valid := s.keys["valid"]
	for name, test := range map[string]struct {
		target string
		header []field
		// what the API is to get
		wantTarget, wantCookie, wantAuthorization string
	}{
		"bearer":              {"/orders/1?b=2&a=1", []field{bearer(valid), {"Cookie", "a=1; b=2"}}, "/orders/1?b=2&a=1", "a=1; b=2", ""},
		"a header, and basic": {"/orders/1", []field{{"X-API-Key", valid}, {"Authorization", "Basic dTpw"}}, "/orders/1", "", "Basic dTpw"},
		"a parameter":         {"/orders/1?x=%20a+b&api_key=" + valid, nil, "/orders/1?x=%20a+b", "", ""},
		"a spelt parameter":   {"/orders/1?api%5Fkey=" + valid + "&x=1&%61pi_key=" + valid, nil, "/orders/1?x=1", "", ""},
		"only a parameter":    {"/orders/1?api_key=" + valid, nil, "/orders/1", "", ""},
		"a cookie":            {"/orders/1", []field{{"Cookie", "a=1; sid=" + valid + "; b=2"}}, "/orders/1", "a=1; b=2", ""},
		"two cookie headers":  {"/orders/1", []field{{"Cookie", "a=1; sid=" + valid}, {"Cookie", "b=2"}}, "/orders/1", "a=1; b=2", ""},
		"the only cookie":     {"/orders/1", []field{{"Cookie", "sid=" + valid}}, "/orders/1", "", ""},
		"everywhere":          {"/orders/1?api_key=" + valid, []field{bearer(valid), {"X-API-Key", valid}, {"Cookie", "sid=" + valid}}, "/orders/1", "", ""},
	} {
		for _, http2 := range []bool{false, true} {
			t.Run(over(name, http2), func(t *testing.T) {
				s.try(t, testCase{
					name: name, ask: ask{target: test.target, header: test.header, http2: http2}, want: allowed(),
					check: func(t *testing.T, _ *reply, got *received) {
						t.Helper()
						wantNoKey(t, got)
						cookie, authorization := strings.Join(got.values("Cookie"), "|"), strings.Join(got.values("Authorization"), "|")
						if got.Target != test.wantTarget || cookie != test.wantCookie || authorization != test.wantAuthorization {
							t.Errorf("the API got %s, Cookie %q, Authorization %q", got.Target, cookie, authorization)
						}
					},
				})
			})
		}
	}
	s.try(t, testCase{name: "a query that cannot be read", ask: ask{target: "/orders/1?api_key=" + valid + "&x=%zz"}, want: byTheProxy(http.StatusBadRequest)})
}

// TestEnvoyOutagesOverGRPC are those that HTTP does not have.
func TestEnvoyOutagesOverGRPC(t *testing.T) {
	outage := func(s *stage) testCase {
		return testCase{name: "an outage", ask: ask{target: "/orders/1", header: []field{bearer(s.keys["valid"])}}, want: refused("UNAVAILABLE")}
	}
	t.Run("keytail has no gRPC listener", func(t *testing.T) {
		p := envoyGRPC()
		p.keytail = nil
		s := newEnvoy(t, p)
		s.try(t, outage(s))
	})
	// What keytail does not know is an answer, which no setting of Envoy's makes a yes.
	t.Run("keytail does not know, and errors are let pass", func(t *testing.T) {
		s := newEnvoy(t, envoyGRPC(), instead(t, "failure_mode_allow: false", "failure_mode_allow: true"))
		s.keytail.goBlind()
		s.try(t, outage(s))
	})
}

// TestEnvoyTellsWhoIsConnected, whatever it makes of X-Forwarded-For itself.
func TestEnvoyTellsWhoIsConnected(t *testing.T) {
	s := newEnvoy(t, envoyGRPC(), instead(t, "use_remote_address: true", "use_remote_address: false\n                xff_num_trusted_hops: 1"))
	forged := field{"X-Forwarded-For", "203.0.113.7"}
	s.try(t, testCase{name: "forged", ask: ask{target: "/orders/1", header: []field{forged, bearer(s.keys["office"])}}, want: refused("FORBIDDEN")})
	s.try(t, testCase{name: "its own", ask: ask{target: "/orders/1", header: []field{forged, bearer(s.keys["local"])}}, want: allowed()})
	// From an address that keytail trusts, such as a balancer's, it is believed.
	s.try(t, testCase{name: "by a balancer", ask: ask{target: "/orders/1", header: []field{forged, bearer(s.keys["office"])}, from: "127.0.0.1"}, want: allowed()})
}

// TestEnvoyForgottenRoute: a route without a question lets nobody pass.
func TestEnvoyForgottenRoute(t *testing.T) {
	for _, test := range []struct {
		proxy
		edit func(string) string
	}{
		{envoyHTTP(), instead(t, "path_prefix: /v1/auth/policy/orders/", "path_prefix: /v1/auth/policy/this-route-has-none/")},
		{envoyGRPC(), instead(t, "check_settings: {context_extensions: {policy: orders}}", "check_settings: {}")},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newEnvoy(t, test.proxy, test.edit)
			s.try(t, testCase{
				name: "forgotten", ask: ask{target: "/orders/1", header: []field{bearer(s.keys["valid"])}}, want: byTheProxy(http.StatusNotFound),
				check: func(t *testing.T, r *reply, _ *received) {
					t.Helper()
					if r.code() != "NO_SUCH_POLICY" {
						t.Errorf("refused with %q", r.body)
					}
				},
			})
		})
	}
}

// TestEnvoyNeedsByRoute: what is needed may stand in Envoy's file.
func TestEnvoyNeedsByRoute(t *testing.T) {
	s := newEnvoy(t, envoyGRPC(), without(t, envoyDefault),
		instead(t, "{policy: orders}", `{scope: "orders:read"}`),
		instead(t, "{policy: acme}", `{scope: "orders:read orders:write", org_id: org_acme, project_id: project_staging}`))
	s.try(t, testCase{name: "allowed", ask: ask{target: "/orders/1", header: []field{bearer(s.keys["valid"])}}, want: allowed()})
	s.try(t, testCase{name: "a scope is missing", ask: ask{target: "/orders/1?scope=reports:read", header: []field{bearer(s.keys["scoped"])}}, want: refused("INSUFFICIENT_PERMISSIONS")})
	s.try(t, testCase{name: "in its project", ask: ask{target: "/acme/1", header: []field{bearer(s.keys["project"])}}, want: allowed()})
	s.try(t, testCase{name: "in another project", ask: ask{target: "/acme/1", header: []field{bearer(s.keys["elsewhere"])}}, want: refused("FORBIDDEN")})
}

// TestEnvoyKeepsRequestIDs, those of a tracer too.
func TestEnvoyKeepsRequestIDs(t *testing.T) {
	const uuid = "2f1a51e6-1c2f-4b8e-9d0a-0f5b8d8a7c11"
	for _, p := range []proxy{envoyHTTP(), envoyGRPC()} {
		t.Run(p.name, func(t *testing.T) {
			s := newEnvoy(t, p)
			s.try(t, testCase{
				name: "a UUID", ask: ask{target: "/orders/1", header: []field{{"X-Request-Id", uuid}, bearer(s.keys["valid"])}}, want: allowed(),
				check: func(t *testing.T, r *reply, got *received) {
					t.Helper()
					if have := got.values("X-Request-Id"); !slices.Equal(have, []string{uuid}) || r.header.Get("X-Request-Id") != uuid {
						t.Errorf("the API got %q, the client %q", have, r.header.Get("X-Request-Id"))
					}
				},
			})
			for _, target := range []string{"orders/1", "-open/x", "acme"} {
				s.try(t, testCase{name: "a path that is none", ask: ask{target: target, header: []field{bearer(s.keys["valid"])}}, want: byTheProxy(http.StatusBadRequest, http.StatusNotFound)})
			}
		})
	}
}

// TestEnvoyHearsOfADrain: its health check asks keytail's.
func TestEnvoyHearsOfADrain(t *testing.T) {
	s := newEnvoy(t, envoyGRPC("--drain-delay=30s"), watched(t))
	s.envoyHas(t, keytailGRPC, "healthy")
	if err := s.keytail.child.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.envoyHas(t, keytailGRPC, "/failed_active_hc")
}

const envoyAdmin = "127.0.0.1:18483"

// watched has Envoy look after keytail often, and say what it thinks of it.
func watched(t *testing.T) func(string) string {
	return all(
		instead(t, "static_resources:\n", "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 18483}}}\nstatic_resources:\n"),
		instead(t, "interval: 2s", "interval: 0.2s"), instead(t, "no_traffic_interval: 10s", "no_traffic_interval: 0.2s"),
	)
}

// envoyHas returns when Envoy has the keytail of this address as healthy, or not.
func (s *stage) envoyHas(t *testing.T, addr, want string) {
	t.Helper()
	s.child.await(t, func() bool {
		response, err := http.Get("http://" + envoyAdmin + "/clusters")
		if err != nil {
			return false
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		return err == nil && strings.Contains(string(body), "keytail::"+addr+"::health_flags::"+want+"\n")
	}, "Envoy has "+addr+" as "+want)
}

// TestEnvoyLosesNoRequestByARestart of one keytail of two: health says so in time,
// and GOAWAY ends the connection without ending a question. Between two changes of a
// host's health Envoy waits for a second (update_merge_window), so the drain is
// longer.
func TestEnvoyLosesNoRequestByARestart(t *testing.T) {
	const second = "127.0.0.1:18485"
	const endpoint = "- endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 18082}}}"
	s := newEnvoy(t, envoyGRPC("--drain-delay=2s"), watched(t), instead(t, endpoint, endpoint+"\n              "+strings.Replace(endpoint, "18082", "18485", 1)))
	another := startChild(t, syscall.SIGKILL, s.dir, s.keytail.program, append(slices.Clone(s.keytail.args), "--addr=127.0.0.1:18484", "--grpc-addr="+second)...)
	another.awaitAddr(t, second)
	s.envoyHas(t, second, "healthy")
	key := bearer(s.keys["valid"])
	asked := 0
	askUntil := func(done <-chan struct{}) {
		for open := true; open; asked++ {
			select {
			case <-done:
				open = false // and once more
			default:
			}
			if r := s.send(t, ask{target: "/orders/1", header: []field{key}}); r.status != http.StatusOK {
				t.Fatalf("request %d saw %d %q", asked, r.status, r.body)
			}
		}
	}
	for range 2 {
		if err := s.keytail.child.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		askUntil(s.keytail.child.done)
		s.keytail.start()
		s.envoyHas(t, keytailGRPC, "healthy")
	}
	t.Logf("%d requests, and none was lost", asked)
}
