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
	// Hot restart needs an id that no other Envoy on the machine uses.
	return []string{"-c", config, "--disable-hot-restart", "--concurrency", "2", "--log-level", "warning"}
}

// envoyHTTP uses the HTTP service of ext_authz.
func envoyHTTP() proxy {
	return proxy{
		name: "envoy-http", http: "127.0.0.1:18380", https: "127.0.0.1:18343",
		config: "envoy/envoy-http.yaml", program: proxytest.Envoy, args: envoyArgs,
	}
}

// envoyGRPC uses the gRPC service of ext_authz.
func envoyGRPC(flags ...string) proxy {
	return proxy{
		name: "envoy-grpc", http: "127.0.0.1:18480", https: "127.0.0.1:18443",
		config: "envoy/envoy-grpc.yaml", program: proxytest.Envoy, args: envoyArgs,
		keytail: append([]string{"--grpc-addr=" + keytailGRPC, "--hide-credentials"}, flags...),
	}
}

// Parts of the configurations that tests change.
const (
	envoyDeletes = `x[^a-z0-9]auth([^a-z0-9].*)?`
	envoyPeer    = `- {key: x-forwarded-for, value: "%DOWNSTREAM_DIRECT_REMOTE_ADDRESS_WITHOUT_PORT%"}`
	envoyDefault = "                      typed_per_filter_config:\n" +
		"                        envoy.filters.http.ext_authz:\n" +
		"                          \"@type\": type.googleapis.com/envoy.extensions.filters.http.ext_authz.v3.ExtAuthzPerRoute\n" +
		"                          check_settings: {context_extensions: {policy: this-route-has-none}}\n"
)

// newEnvoy is newStage for tests whose cases are not in TABLE.md.
func newEnvoy(t *testing.T, p proxy, edits ...func(string) string) *stage {
	t.Helper()
	s := newStage(t, p, edits...)
	s.seen = &table{}
	return s
}

// combine combines several edits.
func combine(edits ...func(string) string) func(string) string {
	return func(config string) string {
		for _, edit := range edits {
			config = edit(config)
		}
		return config
	}
}

// envoyMistakes returns the mistakes that both files can have.
func envoyMistakes(t *testing.T) []mutation {
	unasked := func(f field) func(map[string]string) request {
		return func(map[string]string) request { return request{target: "/public/1", header: []field{f}} }
	}
	path := func(target string) func(map[string]string) request {
		return func(map[string]string) request { return request{target: target} }
	}
	gotOrders := func(_ *reply, got *received) bool { return got != nil && canResolveTo(got.Target, "/orders") }
	return []mutation{
		{
			name: "nothing is deleted", edit: replace(t, envoyDeletes, "never"),
			request: unasked(field{"X-Auth-User-Id", "forged"}), detected: receivedForgedHeader,
		},
		{
			name: "names with underscores", edit: remove(t, "headers_with_underscores_action: DROP_HEADER"),
			request: requestOrders("valid", field{"X_Forwarded_For", "forged"}), detected: receivedForgedHeader,
		},
		{
			name: "dot segments in a path", edit: remove(t, "normalize_path: true"),
			request: path("/public/../orders/1"), detected: gotOrders,
		},
		{
			name: "escaped slashes", edit: remove(t, "path_with_escaped_slashes_action: REJECT_REQUEST"),
			request: path("/public/..%2forders/1"), detected: gotOrders,
		},
		{
			name: "an outage is a refusal", edit: remove(t, "status_on_error: {code: ServiceUnavailable}"), keytailDown: true,
			request: requestOrders("valid"), detected: sawStatus(http.StatusForbidden),
		},
		{
			name: "an outage allows every request", edit: replace(t, "failure_mode_allow: false", "failure_mode_allow: true"), keytailDown: true,
			request: requestOrders("unknown"), detected: sawStatus(http.StatusOK),
		},
		{
			name: "an outage without a body", edit: replace(t, "flags: [UAEX]", "flags: [UF]"), keytailDown: true,
			request: requestOrders("valid"), detected: func(r *reply, _ *received) bool {
				return r.status == http.StatusServiceUnavailable && r.code() == "" && r.header.Get("Retry-After") == ""
			},
		},
		{
			name: "the client's request id is lost", edit: remove(t, "preserve_external_request_id: true"),
			request: requestOrders("valid", field{"X-Request-Id", "from-the-client"}), detected: func(_ *reply, got *received) bool {
				return got != nil && !slices.Equal(got.values("X-Request-Id"), []string{"from-the-client"})
			},
		},
	}
}

// TestEnvoyMistakes removes lines from the files and shows what each prevents.
func TestEnvoyMistakes(t *testing.T) {
	const office = "203.0.113.7"
	t.Run("http", func(t *testing.T) {
		runMutations(t, envoyHTTP(), append(envoyMistakes(t), []mutation{
			{
				name: "the API receives the key", edit: remove(t, "request_headers_to_remove: [authorization, x-api-key]"),
				request: requestOrders("valid"), detected: gotKey,
			},
			{
				name: "the client sets its own address",
				edit: combine(
					replace(t, envoyPeer, "[]"), replace(t, "- {exact: x-api-key}", "- {exact: x-forwarded-for}"),
					replace(t, "use_remote_address: true", "use_remote_address: false"),
				),
				request: requestOrders("office", field{"X-Forwarded-For", office}), detected: sawStatus(http.StatusOK),
			},
			{
				name: "repeated headers are joined", edit: remove(t, "encode_raw_headers: true"),
				request: func(keys map[string]string) request {
					return request{target: "/orders/1", header: []field{{"X-API-Key", keys["valid"]}, {"X-API-Key", keys["operator"]}}}
				},
				detected: func(r *reply, _ *received) bool { return r.header.Get("X-Auth-Result") == "NOT_FOUND" },
			},
			{
				name: "a header that is not passed on", edit: remove(t, "- {exact: x-auth-scopes}"),
				request: requestOrders("valid"), detected: func(_ *reply, got *received) bool { return got != nil && len(got.values("X-Auth-Scopes")) == 0 },
			},
		}...))
	})
	t.Run("grpc", func(t *testing.T) {
		runMutations(t, envoyGRPC(), envoyMistakes(t))
		detected := envoyGRPC()
		detected.keytail = detected.keytail[:1] // without --hide-credentials
		same := func(config string) string { return config }
		runMutations(t, detected, []mutation{{name: "the API receives the key", edit: same, request: requestOrders("valid"), detected: gotKey}})
	})
}

// over returns the name of a case with its protocol.
func over(name string, http2 bool) string {
	if http2 {
		return name + ", HTTP/2"
	}
	return name
}

// TestEnvoyOverwrites checks that keytail's header replaces all copies that a client
// sends, and that a header without a value removes them, without the lines that delete
// them, whichever headers keytail sends. Over gRPC the result and the staleness, which no
// API gets, are removed, too.
func TestEnvoyOverwrites(t *testing.T) {
	copies := func(names ...string) (forged []field) {
		for _, name := range names {
			forged = append(forged, field{name, "forged"}, field{strings.ToLower(name), "forged"}, field{strings.ToUpper(name), "forged"})
		}
		return forged
	}
	grpc := envoyGRPC()
	for name, test := range map[string]struct {
		flags []string
		check func(*testing.T, *reply, *received)
	}{
		"by default":             {nil, wantIdentity(validID, "user_00", "", "", "orders:read orders:write")},
		"all headers are chosen": {[]string{"--auth-headers=" + strings.Join(identity, ",")}, wantIdentity(validID, "user_00", "", "", "orders:read orders:write")},
		"one header is chosen":   {[]string{"--auth-headers=X-Auth-User-Id"}, wantIdentity("", "user_00", "", "", "")},
	} {
		for _, p := range []proxy{envoyHTTP(), grpc} {
			forged := copies(identity...)
			if p.name == grpc.name {
				forged = append(forged, copies("X-Auth-Result", "X-Auth-Staleness-Ms")...)
			}
			t.Run(p.name+", "+name, func(t *testing.T) {
				p.keytail = append(slices.Clone(p.keytail), test.flags...)
				s := newEnvoy(t, p, replace(t, envoyDeletes, "never"))
				for _, http2 := range []bool{false, true} {
					s.try(t, testCase{
						name: "forged and not deleted", request: request{target: "/orders/1", http2: http2, header: append(slices.Clone(forged), bearer(s.keys["valid"]))}, want: allowed(),
						check: test.check,
					})
				}
			})
		}
	}
}

// TestEnvoyRepeatedHeaders checks that a repeated header is one key or none, however Envoy
// encodes it.
func TestEnvoyRepeatedHeaders(t *testing.T) {
	type variant struct {
		proxy
		edit func(string) string
		// joins means that Envoy also joins the values of X-API-Key.
		joins bool
	}
	same := func(config string) string { return config }
	for name, v := range map[string]variant{
		"http":        {envoyHTTP(), same, false},
		"grpc":        {envoyGRPC(), same, false},
		"grpc, plain": {envoyGRPC(), remove(t, "encode_raw_headers: true"), true},
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
				// Joined, they would be another, unknown key over HTTP. Over gRPC they are not a
				// key.
				"bearer, and another value":         {[]field{bearer(valid), {"Authorization", "x"}}, refusedByProxy(http.StatusUnauthorized)},
				"basic, and a key":                  {[]field{{"Authorization", "Basic dTpw"}, {"X-API-Key", valid}}, allowed()},
				"basic and bearer":                  {[]field{{"Authorization", "Basic dTpw"}, bearer(valid)}, refused("MISSING")},
				"bytes that are not text":           {[]field{{"X-API-Key", valid + "\xff"}}, refusedByProxy(http.StatusUnauthorized)},
				"an empty value, and a key":         {[]field{{"X-API-Key", ""}, bearer(valid)}, allowed()},
				"an empty Authorization, and a key": {[]field{{"Authorization", ""}, bearer(valid)}, want{either: true, statuses: []int{200, 401}}},
			} {
				for _, http2 := range []bool{false, true} {
					t.Run(over(name, http2), func(t *testing.T) {
						s.try(t, testCase{name: name, request: request{target: "/orders/1", header: test.header, http2: http2}, want: test.want})
					})
				}
			}
		})
	}
}

// TestEnvoyHidesCredentials checks that the API gets no key from any of the key sources,
// and everything else unchanged.
func TestEnvoyHidesCredentials(t *testing.T) {
	s := newEnvoy(t, envoyGRPC("--key-sources=bearer,x-api-key,query:api_key,cookie:sid"))
	valid := s.keys["valid"]
	for name, test := range map[string]struct {
		target string
		header []field
		// wantTarget, wantCookie and wantAuthorization are what the API should get.
		wantTarget, wantCookie, wantAuthorization string
	}{
		"bearer":               {"/orders/1?b=2&a=1", []field{bearer(valid), {"Cookie", "a=1; b=2"}}, "/orders/1?b=2&a=1", "a=1; b=2", ""},
		"a header, and basic":  {"/orders/1", []field{{"X-API-Key", valid}, {"Authorization", "Basic dTpw"}}, "/orders/1", "", "Basic dTpw"},
		"a parameter":          {"/orders/1?x=%20a+b&api_key=" + valid, nil, "/orders/1?x=%20a+b", "", ""},
		"an encoded parameter": {"/orders/1?api%5Fkey=" + valid + "&x=1&%61pi_key=" + valid, nil, "/orders/1?x=1", "", ""},
		"only a parameter":     {"/orders/1?api_key=" + valid, nil, "/orders/1", "", ""},
		"a cookie":             {"/orders/1", []field{{"Cookie", "a=1; sid=" + valid + "; b=2"}}, "/orders/1", "a=1; b=2", ""},
		"two cookie headers":   {"/orders/1", []field{{"Cookie", "a=1; sid=" + valid}, {"Cookie", "b=2"}}, "/orders/1", "a=1; b=2", ""},
		"the only cookie":      {"/orders/1", []field{{"Cookie", "sid=" + valid}}, "/orders/1", "", ""},
		"everywhere":           {"/orders/1?api_key=" + valid, []field{bearer(valid), {"X-API-Key", valid}, {"Cookie", "sid=" + valid}}, "/orders/1", "", ""},
	} {
		for _, http2 := range []bool{false, true} {
			t.Run(over(name, http2), func(t *testing.T) {
				s.try(t, testCase{
					name: name, request: request{target: test.target, header: test.header, http2: http2}, want: allowed(),
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
	s.try(t, testCase{name: "an invalid query", request: request{target: "/orders/1?api_key=" + valid + "&x=%zz"}, want: refusedByProxy(http.StatusBadRequest)})
}

// TestEnvoyOutagesOverGRPC tests outages that only gRPC has.
func TestEnvoyOutagesOverGRPC(t *testing.T) {
	outage := func(s *stage) testCase {
		return testCase{name: "an outage", request: request{target: "/orders/1", header: []field{bearer(s.keys["valid"])}}, want: refused("UNAVAILABLE")}
	}
	t.Run("keytail has no gRPC listener", func(t *testing.T) {
		p := envoyGRPC()
		p.keytail = nil
		s := newEnvoy(t, p)
		s.try(t, outage(s))
	})
	// UNAVAILABLE is a response of keytail, which no setting of Envoy turns into permission.
	t.Run("keytail has lost MongoDB, and Envoy allows errors", func(t *testing.T) {
		s := newEnvoy(t, envoyGRPC(), replace(t, "failure_mode_allow: false", "failure_mode_allow: true"))
		s.keytail.loseMongoDB()
		s.try(t, outage(s))
	})
}

// TestEnvoySendsTheConnectionsAddress checks that keytail gets the address of the
// connection, and does not depend on X-Forwarded-For.
func TestEnvoySendsTheConnectionsAddress(t *testing.T) {
	s := newEnvoy(t, envoyGRPC(), replace(t, "use_remote_address: true", "use_remote_address: false\n                xff_num_trusted_hops: 1"))
	forged := field{"X-Forwarded-For", "203.0.113.7"}
	s.try(t, testCase{name: "forged", request: request{target: "/orders/1", header: []field{forged, bearer(s.keys["office"])}}, want: refused("FORBIDDEN")})
	s.try(t, testCase{name: "its own", request: request{target: "/orders/1", header: []field{forged, bearer(s.keys["local"])}}, want: allowed()})
	// keytail uses the header if the connection comes from a trusted proxy, such as a load
	// balancer.
	s.try(t, testCase{name: "from a load balancer", request: request{target: "/orders/1", header: []field{forged, bearer(s.keys["office"])}, from: "127.0.0.1"}, want: allowed()})
}

// TestEnvoyForgottenRoute checks that a route without check_settings refuses requests.
func TestEnvoyForgottenRoute(t *testing.T) {
	for _, test := range []struct {
		proxy
		edit func(string) string
	}{
		{envoyHTTP(), replace(t, "path_prefix: /v1/auth/policy/orders/", "path_prefix: /v1/auth/policy/this-route-has-none/")},
		{envoyGRPC(), replace(t, "check_settings: {context_extensions: {policy: orders}}", "check_settings: {}")},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newEnvoy(t, test.proxy, test.edit)
			s.try(t, testCase{
				name: "forgotten", request: request{target: "/orders/1", header: []field{bearer(s.keys["valid"])}}, want: refusedByProxy(http.StatusNotFound),
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

// TestEnvoyRequirementsInRoutes checks requirements in Envoy's configuration.
func TestEnvoyRequirementsInRoutes(t *testing.T) {
	s := newEnvoy(t, envoyGRPC(), remove(t, envoyDefault),
		replace(t, "{policy: orders}", `{scope: "orders:read"}`),
		replace(t, "{policy: acme}", `{scope: "orders:read orders:write", org_id: org_acme, project_id: project_staging}`))
	s.try(t, testCase{name: "allowed", request: request{target: "/orders/1", header: []field{bearer(s.keys["valid"])}}, want: allowed()})
	s.try(t, testCase{name: "a scope is missing", request: request{target: "/orders/1?scope=reports:read", header: []field{bearer(s.keys["scoped"])}}, want: refused("INSUFFICIENT_PERMISSIONS")})
	s.try(t, testCase{name: "in its project", request: request{target: "/acme/1", header: []field{bearer(s.keys["project"])}}, want: allowed()})
	s.try(t, testCase{name: "in another project", request: request{target: "/acme/1", header: []field{bearer(s.keys["elsewhere"])}}, want: refused("FORBIDDEN")})
}

// TestEnvoyKeepsRequestIDs checks that Envoy keeps request ids, also those of a tracer.
func TestEnvoyKeepsRequestIDs(t *testing.T) {
	const uuid = "2f1a51e6-1c2f-4b8e-9d0a-0f5b8d8a7c11"
	for _, p := range []proxy{envoyHTTP(), envoyGRPC()} {
		t.Run(p.name, func(t *testing.T) {
			s := newEnvoy(t, p)
			s.try(t, testCase{
				name: "a UUID", request: request{target: "/orders/1", header: []field{{"X-Request-Id", uuid}, bearer(s.keys["valid"])}}, want: allowed(),
				check: func(t *testing.T, r *reply, got *received) {
					t.Helper()
					if have := got.values("X-Request-Id"); !slices.Equal(have, []string{uuid}) || r.header.Get("X-Request-Id") != uuid {
						t.Errorf("the API got %q, the client %q", have, r.header.Get("X-Request-Id"))
					}
				},
			})
			for _, target := range []string{"orders/1", "-open/x", "acme"} {
				s.try(t, testCase{name: "an invalid path", request: request{target: target, header: []field{bearer(s.keys["valid"])}}, want: refusedByProxy(http.StatusBadRequest, http.StatusNotFound)})
			}
		})
	}
}

// TestEnvoyDetectsDrain checks that Envoy's health check detects that keytail drains.
func TestEnvoyDetectsDrain(t *testing.T) {
	s := newEnvoy(t, envoyGRPC("--drain-delay=30s"), withFastHealthChecks(t))
	s.awaitEnvoyHealth(t, keytailGRPC, "healthy")
	if err := s.keytail.child.cmd.Process.Signal(syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	s.awaitEnvoyHealth(t, keytailGRPC, "/failed_active_hc")
}

const envoyAdmin = "127.0.0.1:18483"

// withFastHealthChecks makes Envoy check keytail often, and adds Envoy's admin listener.
func withFastHealthChecks(t *testing.T) func(string) string {
	return combine(
		replace(t, "static_resources:\n", "admin: {address: {socket_address: {address: 127.0.0.1, port_value: 18483}}}\nstatic_resources:\n"),
		replace(t, "interval: 2s", "interval: 0.2s"), replace(t, "no_traffic_interval: 10s", "no_traffic_interval: 0.2s"),
	)
}

// awaitEnvoyHealth waits until Envoy reports the health of the keytail at this address.
func (s *stage) awaitEnvoyHealth(t *testing.T, addr, want string) {
	t.Helper()
	s.child.await(t, func() bool {
		response, err := http.Get("http://" + envoyAdmin + "/clusters")
		if err != nil {
			return false
		}
		defer func() { _ = response.Body.Close() }()
		body, err := io.ReadAll(response.Body)
		return err == nil && strings.Contains(string(body), "keytail::"+addr+"::health_flags::"+want+"\n")
	}, "Envoy does not report "+addr+" as "+want)
}

// TestEnvoyLosesNoRequestOnRestart restarts one of two instances of keytail. The health
// check removes it in time, and GOAWAY closes the connection after its last request.
// Envoy waits for a second between two changes of a host's health (update_merge_window),
// so the drain takes longer.
func TestEnvoyLosesNoRequestOnRestart(t *testing.T) {
	const second = "127.0.0.1:18485"
	const endpoint = "- endpoint: {address: {socket_address: {address: 127.0.0.1, port_value: 18082}}}"
	s := newEnvoy(t, envoyGRPC("--drain-delay=2s"), withFastHealthChecks(t), replace(t, endpoint, endpoint+"\n              "+strings.Replace(endpoint, "18082", "18485", 1)))
	another := startChild(t, syscall.SIGKILL, s.dir, s.keytail.program, append(slices.Clone(s.keytail.args), "--addr=127.0.0.1:18484", "--ops-addr=127.0.0.1:0", "--grpc-addr="+second)...)
	another.awaitAddr(t, second)
	s.awaitEnvoyHealth(t, second, "healthy")
	key := bearer(s.keys["valid"])
	sent := 0
	sendUntil := func(done <-chan struct{}) {
		for open := true; open; sent++ {
			select {
			case <-done:
				open = false // send one more
			default:
			}
			if r := s.send(t, request{target: "/orders/1", header: []field{key}}); r.status != http.StatusOK {
				t.Fatalf("request %d got %d %q", sent, r.status, r.body)
			}
		}
	}
	for range 2 {
		if err := s.keytail.child.cmd.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		sendUntil(s.keytail.child.done)
		s.keytail.start()
		s.awaitEnvoyHealth(t, keytailGRPC, "healthy")
	}
	t.Logf("%d requests, none lost", sent)
}
