//go:build linux

package examples_test

import (
	"cmp"
	"fmt"
	"net/http"
	"net/url"
	"path"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// want is the response that the client of a case should get, and whether the API should
// get its request.
type want struct {
	// status is the expected status. statuses are all accepted ones, where a proxy may
	// choose its own.
	status   int
	statuses []int
	// code is keytail's code, in X-Auth-Result and in the problem of the body. Empty:
	// neither is checked.
	code string
	// challenge is the expected WWW-Authenticate, "" for none.
	challenge string
	// reached means that the API must get the request. If false, it must not.
	reached bool
	// either means that the API may get the request; check then decides.
	either bool
	// anyRefusal means that the refusal depends on which limit is reached first.
	anyRefusal bool
}

// testCase is a request and its expected outcome.
type testCase struct {
	// name is a row in the table of TABLE.md.
	name    string
	request request
	want    want
	// check makes further checks after the others have passed. got is the request that
	// reached the API, or nil.
	check func(t *testing.T, r *reply, got *received)
}

const (
	challenge        = `Bearer realm="keytail"`
	challengeInvalid = challenge + `, error="invalid_token"`
	challengeScope   = challenge + `, error="insufficient_scope", scope="orders:read"`
)

func bearer(key string) field { return field{"Authorization", "Bearer " + key} }

func refused(code string) want {
	w := want{code: code, challenge: challengeInvalid, status: http.StatusUnauthorized}
	switch code {
	case "MISSING":
		w.challenge = challenge
	case "FORBIDDEN":
		w.challenge, w.status = "", http.StatusForbidden
	case "INSUFFICIENT_PERMISSIONS":
		w.challenge, w.status = challengeScope, http.StatusForbidden
	case "UNAVAILABLE":
		w.challenge, w.status = "", http.StatusServiceUnavailable
	}
	return w
}

func allowed() want { return want{status: http.StatusOK, reached: true} }

// refusedByProxy expects a refusal in any form, by the proxy or by keytail. No request
// may reach the API.
func refusedByProxy(statuses ...int) want { return want{statuses: statuses} }

// cases returns the cases that are sent while keytail is available.
func cases(keys map[string]string) []testCase {
	all := [][]testCase{
		refusals(keys), identities(keys), requirements(keys), requestForms(keys), injections(keys), paths(keys), passThrough(keys),
	}
	return slices.Concat(all...)
}

// refusals returns a case for each code.
func refusals(keys map[string]string) []testCase {
	orders := func(name string, w want, header ...field) testCase {
		return testCase{name: name, request: request{target: "/orders/1", header: header}, want: w}
	}
	two := orders("two keys", refused("MALFORMED"), bearer(keys["valid"]), field{"X-API-Key", keys["operator"]})
	return []testCase{
		orders("no key", refused("MISSING")),
		orders("a malformed key", refused("MALFORMED"), bearer("kt_1")),
		two,
		orders("the same header twice", want{statuses: []int{http.StatusUnauthorized, http.StatusBadRequest}}, bearer(keys["valid"]), bearer(keys["operator"])),
		orders("an unknown key", refused("NOT_FOUND"), bearer(keys["unknown"])),
		orders("a disabled key", refused("DISABLED"), bearer(keys["disabled"])),
		orders("an expired key", refused("EXPIRED"), bearer(keys["expired"])),
		orders("from an address that is not allowed", refused("FORBIDDEN"), bearer(keys["office"])),
		{
			name: "from another address than the client's own", want: refused("FORBIDDEN"),
			request: request{target: "/orders/1", header: []field{bearer(keys["local"])}, from: "127.0.0.3"},
		},
		{
			name: "a key of another project", want: refused("FORBIDDEN"),
			request: request{target: "/acme/1", header: []field{bearer(keys["elsewhere"])}},
		},
		orders("a missing scope", refused("INSUFFICIENT_PERMISSIONS"), bearer(keys["scoped"])),
		orders("a user id that would split a header", refused("DISABLED"), bearer(keys["splitting"])),
		orders("a key in the query or a cookie", refused("MISSING"), field{"Cookie", "key=" + keys["valid"]}),
	}
}

// identity are the identity headers, which the API trusts.
var identity = []string{"X-Auth-Key-Id", "X-Auth-User-Id", "X-Auth-Org-Id", "X-Auth-Project-Id", "X-Auth-Scopes"}

// forgeries returns all X-Auth-* headers of keytail, each twice, in all spellings that a
// server behind a proxy might treat as the same name.
func forgeries() []field {
	var forged []field
	for _, name := range append([]string{"X-Auth-Result", "X-Auth-Staleness-Ms"}, identity...) {
		low := strings.ToLower(name)
		spellings := []string{name, name, low, strings.ToUpper(name), "x-AUTH" + name[len("X-Auth"):], "X_Auth-" + name[len("X-Auth-"):], "X-Auth_" + name[len("X-Auth-"):]}
		// All characters that a name may contain besides letters and digits (RFC 9110,
		// section 5.6.2).
		for _, sign := range "_.!#$%&'*+^`|~" {
			spellings = append(spellings, strings.ReplaceAll(name, "-", string(sign)), strings.ReplaceAll(low, "-", string(sign)))
		}
		for _, spelling := range spellings {
			forged = append(forged, field{spelling, "forged"})
		}
	}
	return forged
}

// wantIdentity checks the identity headers that the API got, in any spelling. An empty
// value and a missing header are equivalent.
func wantIdentity(values ...string) func(*testing.T, *reply, *received) {
	return func(t *testing.T, _ *reply, got *received) {
		t.Helper()
		for i, name := range identity {
			have := slices.DeleteFunc(got.values(name), func(value string) bool { return value == "" })
			if strings.Join(have, "|") != values[i] {
				t.Errorf("the API got %s: %q, want %q", name, have, values[i])
			}
		}
		for _, f := range got.Header {
			if strings.Contains(f.Value, "forged") {
				t.Errorf("the API got the client's %s: %s", f.Name, f.Value)
			}
		}
		wantNoKey(t, got)
	}
}

// wantNoKey checks that the API did not get the key.
func wantNoKey(t *testing.T, got *received) {
	t.Helper()
	for _, f := range got.Header {
		if strings.Contains(f.Value, "kt_") {
			t.Errorf("the API got a key: %s: %s", f.Name, f.Value)
		}
	}
}

const (
	validID   = "63b28f00a5cdcafdda709172"
	orgID     = "63bb914013cadf1fb27a439b"
	projectID = "63bdd1d0ad0645c2787a1a74"
)

// identities returns cases about the identity headers: the API gets keytail's, and none of
// the client's.
func identities(keys map[string]string) []testCase {
	plain := wantIdentity(validID, "user_00", "", "", "orders:read orders:write")
	ofKey := wantIdentity(orgID, "user_04", "org_acme", "", "orders:read orders:write")
	acme := wantIdentity(projectID, "user_05", "org_acme", "project_staging", "orders:read orders:write")
	odd := func(t *testing.T, _ *reply, got *received) {
		t.Helper()
		user, scopes := got.values("X-Auth-User-Id"), got.values("X-Auth-Scopes")
		if len(user) != 1 || len(scopes) != 1 {
			t.Fatalf("the API got the user %q, the scopes %q", user, scopes)
		}
		plain, err := url.PathUnescape(user[0])
		if err != nil || plain != `eve "é", x=1; %0d%0aX-Admin: yes` || scopes[0] != "orders:read a,b%22%250a" || len(got.values("X-Admin")) > 0 {
			t.Errorf("the API got %+v", got.Header)
		}
	}
	forged := forgeries()
	return []testCase{
		{name: "allowed", request: request{target: "/orders/1", header: []field{bearer(keys["valid"])}}, want: allowed(), check: plain},
		{name: "allowed with X-API-Key", request: request{target: "/orders/1", header: []field{{"X-API-Key", keys["valid"]}}}, want: allowed(), check: plain},
		{name: "allowed in its project", request: request{target: "/acme/1", header: []field{bearer(keys["project"])}}, want: allowed(), check: acme},
		{name: "allowed for the organisation of its key", request: request{target: "/orders/1", header: []field{bearer(keys["org"])}}, want: allowed(), check: ofKey},
		{name: "allowed from its address", request: request{target: "/orders/1", header: []field{bearer(keys["local"])}}, want: allowed()},
		{name: "forged X-Auth-*", request: request{target: "/orders/1", header: slices.Concat(forged, []field{bearer(keys["valid"])})}, want: allowed(), check: plain},
		{name: "forged X-Auth-*, with an organisation", request: request{target: "/orders/1", header: slices.Concat(forged, []field{bearer(keys["org"])})}, want: allowed(), check: ofKey},
		{name: "forged X-Auth-*, with a project", request: request{target: "/acme/1", header: slices.Concat(forged, []field{bearer(keys["project"])})}, want: allowed(), check: acme},
		{name: "forged X-Auth-*, over HTTP/2", request: request{target: "/orders/1", header: slices.Concat(forged, []field{bearer(keys["valid"])}), http2: true}, want: allowed(), check: plain},
		{name: "forged X-Auth-*, on a path without a check", request: request{target: "/public/1", header: forged}, want: allowed(), check: wantIdentity("", "", "", "", "")},
		{
			// IIS, and frameworks that support it, read the path from these headers, and
			// would respond without a key.
			name: "a path in X-Original-URL and X-Rewrite-URL, on a path without a check", want: allowed(),
			request: request{target: "/public/1", header: []field{{"X-Original-URL", "/orders/1"}, {"X-Rewrite-URL", "/orders/1"}, {"X_Original_URL", "/orders/1"}, {"x_rewrite_url", "/orders/1"}}},
			check: func(t *testing.T, _ *reply, got *received) {
				t.Helper()
				for _, f := range got.Header {
					if f.Value == "/orders/1" {
						t.Errorf("the API got %s: %s", f.Name, f.Value)
					}
				}
			},
		},
		{
			// A proxy removes the headers that Connection names (RFC 9110, section 7.6.1). If
			// it does so after keytail has responded, a client can remove any header. An API
			// that gets no organisation may assume that there is none.
			name: "X-Auth-* named in Connection", want: want{either: true, statuses: []int{http.StatusOK, http.StatusBadRequest}},
			request: request{target: "/acme/1", header: []field{{"Connection", "close, X-Auth-User-Id, x-auth-org-id, X-Auth-Project-Id"}, {"Connection", "X-Auth-Scopes, x-auth-key-id"}, {"X-Auth-Org-Id", "forged"}, bearer(keys["project"])}},
			check: func(t *testing.T, r *reply, got *received) {
				t.Helper()
				if r.status == http.StatusOK {
					acme(t, r, got)
				}
			},
		},
		{
			name: "X-Auth-* named in Connection and Upgrade", want: want{either: true, statuses: []int{http.StatusOK, http.StatusSwitchingProtocols, http.StatusBadRequest}},
			request: request{target: "/acme/1", header: []field{{"Connection", "Upgrade, X-Auth-User-Id, x-auth-org-id, X-Auth-Project-Id"}, {"Upgrade", "websocket"}, {"Connection", "X-Auth-Scopes, x-auth-key-id"}, bearer(keys["project"])}},
			check: func(t *testing.T, r *reply, got *received) {
				t.Helper()
				if got != nil {
					acme(t, r, got)
				}
			},
		},
		{
			name: "the key named in Connection", want: want{either: true, statuses: []int{http.StatusOK, http.StatusUnauthorized, http.StatusBadRequest}},
			request: request{target: "/orders/1", header: []field{{"Connection", "close, Authorization, X-API-Key"}, bearer(keys["valid"])}},
			check: func(t *testing.T, r *reply, got *received) {
				t.Helper()
				if got != nil {
					plain(t, r, got)
				}
			},
		},
		{name: "values that would split a header", request: request{target: "/orders/1", header: []field{bearer(keys["odd"])}}, want: allowed(), check: odd},
	}
}

// requirements returns cases that try to change the requirements, which only the proxy's
// configuration may set.
func requirements(keys map[string]string) []testCase {
	scoped := func(name, target string, header ...field) testCase {
		return testCase{name: name, request: request{target: target, header: append(header, bearer(keys["scoped"]))}, want: refused("INSUFFICIENT_PERMISSIONS")}
	}
	acme := func(name, target string, header ...field) testCase {
		return testCase{name: name, request: request{target: target, header: append(header, bearer(keys["elsewhere"]))}, want: refused("FORBIDDEN")}
	}
	local := func(name string, header ...field) testCase {
		return testCase{name: name, request: request{target: "/orders/1", header: append(header, bearer(keys["office"]))}, want: refused("FORBIDDEN")}
	}
	const office = "203.0.113.7"
	return []testCase{
		scoped("?scope= of the client", "/orders/1?scope=reports:read"),
		scoped("an empty ?scope= of the client", "/orders/1?scope=&scope"),
		scoped("an invalid query", "/orders/1?%zz&scope=%"),
		scoped("a policy in the client's path", "/orders/v1/auth/policy/acme"),
		{
			name: "a policy in the client's path, with dot segments", want: refusedByProxy(http.StatusForbidden, http.StatusBadRequest),
			request: request{target: "/orders/x/../../orders/policy/acme/../orders", header: []field{bearer(keys["scoped"])}},
		},
		acme("?project_id= of the client", "/acme/1?org_id=org_acme&project_id=project_live"),
		scoped("forged X-Forwarded-Method and -Uri", "/orders/1", field{"X-Forwarded-Method", "OPTIONS"}, field{"X-Forwarded-Uri", "/public/"}, field{"X-Original-Url", "/public/"}, field{"X-Rewrite-Url", "/public/"}, field{"X-Http-Method-Override", "OPTIONS"}),
		local("forged X-Forwarded-For", field{"X-Forwarded-For", office}),
		local("forged X-Forwarded-For, twice", field{"X-Forwarded-For", office}, field{"X-Forwarded-For", office + ", 127.0.0.1"}),
		local("forged X_Forwarded_For and X-Real-IP", field{"X_Forwarded_For", office}, field{"X-Real-IP", office}, field{"Forwarded", "for=" + office}, field{"True-Client-IP", office}, field{"X-Envoy-External-Address", office}),
		{
			name:    "forged X-Forwarded-For, with an allowed address",
			request: request{target: "/orders/1", header: []field{{"X-Forwarded-For", office}, bearer(keys["local"])}}, want: allowed(),
			check: func(t *testing.T, _ *reply, got *received) {
				t.Helper()
				hops := strings.Split(strings.Join(got.values("X-Forwarded-For"), ","), ",")
				if strings.TrimSpace(hops[len(hops)-1]) != clientAddr {
					t.Errorf("the API got X-Forwarded-For %q, want the client %s last", hops, clientAddr)
				}
			},
		},
		{
			name: "a path of keytail", want: refusedByProxy(http.StatusNotFound),
			request: request{target: "/v1/auth/policy/orders", header: []field{bearer(keys["valid"])}},
		},
		{
			name: "the path of the proxy's forward-auth request", want: refusedByProxy(http.StatusNotFound),
			request: request{target: "/keytail/orders", header: []field{bearer(keys["valid"])}},
		},
	}
}

// requestForms returns requests other than a simple GET.
func requestForms(keys map[string]string) []testCase {
	body := strings.Repeat("0123456789abcdef", 20_000) // more than proxies buffer in memory
	whole := func(t *testing.T, _ *reply, got *received) {
		t.Helper()
		if got.Method != http.MethodPost || got.Body != body || !slices.Equal(got.values("Content-Type"), []string{"text/plain"}) {
			t.Errorf("the API got a %s with a body of %d bytes and the type %q; want all %d bytes of the POST", got.Method, len(got.Body), got.values("Content-Type"), len(body))
		}
	}
	post := request{method: http.MethodPost, target: "/orders/", body: body, header: []field{{"Content-Type", "text/plain"}, bearer(keys["valid"])}}
	post2 := post
	post2.http2 = true
	method := func(method string, got *received) string { return cmp.Or(got.Method, method) }
	h2c := func(name string, header ...field) testCase {
		return testCase{
			// Requests in an h2c connection would not be checked.
			name: name, want: want{either: true, statuses: []int{http.StatusOK, http.StatusSwitchingProtocols, http.StatusBadRequest, http.StatusForbidden}},
			request: request{target: "/orders/1", header: append(header, field{"HTTP2-Settings", "AAMAAABkAAQCAAAAAAIAAAAA"}, bearer(keys["valid"]))},
			check: func(t *testing.T, _ *reply, got *received) {
				t.Helper()
				if got != nil && strings.Contains(strings.Join(got.values("Upgrade"), ","), "h2c") {
					t.Errorf("the API got %+v", got.Header)
				}
			},
		}
	}
	preflight := []field{{"Origin", "https://elsewhere.example"}, {"Access-Control-Request-Method", "DELETE"}, {"Access-Control-Request-Headers", "authorization"}}
	return []testCase{
		{name: "a longer path, with a query", request: request{target: "/orders/7/items?page=2&q=a%20b", header: []field{bearer(keys["valid"])}}, want: allowed(), check: wantTarget("/orders/7/items?page=2&q=a%20b")},
		{name: "POST with a body", request: post, want: allowed(), check: whole},
		{name: "POST with a body, refused", request: request{method: http.MethodPost, target: "/orders/", body: body, header: []field{bearer(keys["expired"])}}, want: refused("EXPIRED")},
		{name: "HTTP/2", request: request{target: "/orders/1", http2: true, header: []field{bearer(keys["valid"])}}, want: allowed(), check: func(t *testing.T, _ *reply, got *received) {
			t.Helper()
			if host, proto := got.values("Host"), got.values("X-Forwarded-Proto"); len(host) != 1 || !strings.HasPrefix(host[0], "127.0.0.1:18") || host[0] == upstreamAddr || !slices.Equal(proto, []string{"https"}) {
				t.Errorf("the API got the Host %q and X-Forwarded-Proto %q, want the client's", host, proto)
			}
		}},
		{name: "HTTP/2, refused", request: request{target: "/orders/1", http2: true}, want: refused("MISSING")},
		{name: "POST over HTTP/2", request: post2, want: allowed(), check: whole},
		{name: "HEAD", request: request{method: http.MethodHead, target: "/orders/1", header: []field{bearer(keys["valid"])}}, want: allowed(), check: func(t *testing.T, _ *reply, got *received) {
			if method(http.MethodHead, got) != http.MethodHead {
				t.Errorf("the API got a %s", got.Method)
			}
		}},
		{name: "HEAD, refused", request: request{method: http.MethodHead, target: "/orders/1"}, want: refused("MISSING")},
		{name: "OPTIONS preflight without a key", request: request{method: http.MethodOptions, target: "/orders/1", header: preflight}, want: refused("MISSING")},
		{name: "OPTIONS with a key", request: request{method: http.MethodOptions, target: "/orders/1", header: slices.Concat(preflight, []field{bearer(keys["valid"])})}, want: allowed()},
		{name: "an unknown method", request: request{method: "PURGE", target: "/orders/1"}, want: refused("MISSING")},
		h2c("an upgrade to h2c", upgradeTo("h2c")...),
		h2c("an upgrade to h2c or WebSocket", upgradeTo("h2c, websocket")...),
		h2c("an upgrade to h2c and WebSocket", append(upgradeTo("h2c"), field{"Upgrade", "websocket"})...),
		h2c("an upgrade to WebSocket and h2c", append(upgradeTo("websocket"), field{"Upgrade", "h2c"})...),
		{name: "an upgrade, refused", request: request{target: "/orders/1", header: upgradeTo("websocket")}, want: refused("MISSING")},
	}
}

func upgradeTo(protocol string) []field {
	return []field{
		{"Connection", "Upgrade"},
		{"Upgrade", protocol},
		{"Sec-WebSocket-Version", "13"},
		{"Sec-WebSocket-Key", "dGhlIHNhbXBsZSBub25jZQ=="},
	}
}

// injections returns values that would end a header and start another one, and headers
// that are too large.
func injections(keys map[string]string) []testCase {
	valid := bearer(keys["valid"])
	var bulk []field
	for i := range 100 {
		bulk = append(bulk, field{fmt.Sprintf("X-Bulk-%d", i), strings.Repeat("x", 1000)})
	}
	unsplit := func(t *testing.T, _ *reply, got *received) {
		t.Helper()
		if got == nil {
			return
		}
		for _, name := range identity {
			if slices.Contains(got.values(name), "forged") {
				t.Errorf("the API got %s: forged", name)
			}
		}
		for _, f := range got.Header {
			if strings.ContainsAny(f.Value, "\r\n\x00") {
				t.Errorf("the API got a header that could be read as two: %q", f)
			}
		}
	}
	split := func(name, value string) testCase {
		return testCase{
			name: name, request: request{target: "/orders/1", header: []field{{"X-Note", value}, valid}},
			want: want{either: true, statuses: []int{http.StatusOK, http.StatusBadRequest, 0}}, check: unsplit,
		}
	}
	tooLarge := want{anyRefusal: true, statuses: []int{http.StatusBadRequest, http.StatusRequestHeaderFieldsTooLarge, http.StatusRequestURITooLong, http.StatusServiceUnavailable, 0}}
	return []testCase{
		split("a line feed in a header's value", "a\nX-Auth-Org-Id: forged"),
		split("a carriage return in a header's value", "a\rX-Auth-Org-Id: forged"),
		split("a folded header", "a\r\n X-Auth-Org-Id: forged"),
		split("a NUL in a header's value", "a\x00X-Auth-Org-Id: forged"),
		{name: "a space before the colon", request: request{target: "/orders/1", header: []field{{"X-Auth-Org-Id ", "forged"}, valid}}, want: want{either: true, statuses: []int{http.StatusOK, http.StatusBadRequest, 0}}, check: unsplit},
		{
			name: "a request in the body of another", want: want{either: true, statuses: []int{http.StatusOK, http.StatusBadRequest}},
			request: request{
				method: http.MethodPost, target: "/public/1", header: []field{{"Transfer-Encoding", "chunked"}},
				body: "0\r\n\r\nGET /orders/1 HTTP/1.1\r\nHost: api\r\nX-Auth-User-Id: forged\r\n\r\n",
			},
			check: func(t *testing.T, _ *reply, got *received) {
				t.Helper()
				if got != nil && (got.Target != "/public/1" || got.Body != "") {
					t.Errorf("the API got %+v", got)
				}
			},
		},
		{name: "100 KB in a header", request: request{target: "/orders/1", header: []field{{"X-Bulk", strings.Repeat("x", 100_000)}, valid}}, want: tooLarge},
		{name: "100 KB in a hundred headers", request: request{target: "/orders/1", header: slices.Concat(bulk, []field{valid})}, want: tooLarge},
		{name: "a key of 100 KB", request: request{target: "/orders/1", header: []field{bearer(strings.Repeat("k", 100_000))}}, want: want{anyRefusal: true, statuses: append([]int{http.StatusUnauthorized}, tooLarge.statuses...)}},
		{name: "100 KB in a hundred headers, over HTTP/2", request: request{target: "/orders/1", header: slices.Concat(bulk, []field{valid}), http2: true}, want: tooLarge},
	}
}

// paths returns paths that the proxy and the API might resolve differently. Without a key
// none of them may reach a path that needs one. With a key the API must get a path below
// /orders/.
func paths(keys map[string]string) []testCase {
	spellings := []string{
		"/public/../orders/1", "/public/..%2forders/1", "/public/..%2Forders%2F1", "/public/%2e%2e/orders/1", "/public/.%2e/orders/1",
		"//orders/1", "/public//../orders/1", "/public/x/../../orders/1", "/%6frders/1", "/orders%2f1", "/public%2f../orders/1",
		"/public/..;/orders/1", "/public/%2e%2e%2forders/1", "/./orders/1", "/public/..//orders/1", "/public/..%5corders/1", "/orders/../orders/1",
		"/public/%252e%252e/orders/1", "/orders/..%2f..%2fpublic/../orders/1", "/public/..;a=b/orders/1", `/public/..\orders/1`, `/public\..\orders/1`,
		"/orders/../public/1", "/orders/..", "/orders/%2e%2e/public/1", "/orders/..%2fpublic/1", "/orders/.%2E%2fpublic/1", "/orders/x/../../public/1?a=/../",
		"/orders", "/%2forders/1", "/%2e/orders/1", "/.;/orders/1", "/ORDERS/1", "http://" + keytailAddr + "/orders/1", "*", "/orders/1#/../../public/",
	}
	var all []testCase
	for _, target := range spellings {
		all = append(all, testCase{
			name: "without a key: " + target, request: request{target: target}, want: want{either: true, statuses: []int{200, 301, 307, 308, 400, 401, 404}},
			check: func(t *testing.T, _ *reply, got *received) {
				t.Helper()
				if got != nil && canResolveTo(got.Target, "/orders", "/acme") {
					t.Errorf("without a key the API got %q", got.Target)
				}
			},
		})
	}
	for _, target := range []string{"/orders/../orders/1", "/orders//1", "/orders/a%2fb", "/orders/a/../1", "/orders/%2e/1"} {
		all = append(all, testCase{
			name: "with a key: " + target, request: request{target: target, header: []field{bearer(keys["valid"])}}, want: want{either: true, statuses: []int{200, 301, 307, 308, 400, 404}},
			check: func(t *testing.T, r *reply, got *received) {
				t.Helper()
				if r.status == http.StatusOK && (got == nil || !canResolveTo(got.Target, "/orders")) {
					t.Errorf("the API got %+v", got)
				}
			},
		})
	}
	return all
}

// canResolveTo reports whether a server could resolve a target to a path below one of the
// prefixes: with or without decoding it, resolving dot segments, removing parameters of
// segments (";"), and treating "\\" as "/".
func canResolveTo(target string, prefixes ...string) bool {
	raw, _, _ := strings.Cut(target, "?")
	readings := []string{raw}
	if decoded, err := url.PathUnescape(raw); err == nil {
		readings = append(readings, decoded)
	}
	for _, reading := range readings {
		plain := parameters.ReplaceAllString(strings.ReplaceAll(reading, `\`, "/"), "")
		for _, one := range []string{reading, path.Clean("/" + reading), path.Clean("/" + plain)} {
			for _, prefix := range prefixes {
				if one == prefix || strings.HasPrefix(one, prefix+"/") {
					return true
				}
			}
		}
	}
	return false
}

var parameters = regexp.MustCompile(`;[^/]*`)

// passThrough returns cases of data that must pass the proxy unchanged, in both
// directions.
func passThrough(keys map[string]string) []testCase {
	valid := bearer(keys["valid"])
	status := func(status int) testCase {
		return testCase{
			name: fmt.Sprintf("the API responds with %d", status), want: want{status: status, reached: true},
			request: request{target: "/orders/1", header: []field{{"X-Echo-Status", fmt.Sprint(status)}, valid}},
			check: func(t *testing.T, r *reply, _ *received) {
				t.Helper()
				if r.header.Get("X-Api") == "" || r.echo() == nil {
					t.Errorf("the client did not get the response of the API: %v %q", r.header, r.body)
				}
			},
		}
	}
	made := func(t *testing.T, r *reply, got *received) {
		t.Helper()
		if have := got.values("X-Request-Id"); len(have) != 1 || len(have[0]) < 16 || r.header.Get("X-Request-Id") != have[0] {
			t.Errorf("the API got %q, the client %q", have, r.header.Get("X-Request-Id"))
		}
	}
	return []testCase{
		status(http.StatusUnauthorized), status(http.StatusForbidden), status(http.StatusInternalServerError), status(http.StatusServiceUnavailable),
		{
			name: "X-Request-Id of the client", request: request{target: "/orders/1", header: []field{{"X-Request-Id", "from-the-client"}, valid}}, want: allowed(),
			check: func(t *testing.T, r *reply, got *received) {
				t.Helper()
				if have := got.values("X-Request-Id"); !slices.Equal(have, []string{"from-the-client"}) || r.header.Get("X-Request-Id") != "from-the-client" {
					t.Errorf("the API got %q, the client %q", have, r.header.Get("X-Request-Id"))
				}
			},
		},
		{
			name: "no X-Request-Id: one is generated", want: allowed(), check: made,
			request: request{target: "/orders/1", header: []field{valid}},
		},
		{
			name: "no X-Request-Id, on a path without a check", want: allowed(), check: made,
			request: request{target: "/public/1"},
		},
		{
			name: "a key as X-Request-Id", request: request{target: "/orders/1", header: []field{{"X-Request-Id", keys["valid"]}, valid}}, want: allowed(),
			check: func(t *testing.T, _ *reply, got *received) { t.Helper(); wantNoKey(t, got) },
		},
	}
}

func wantTarget(target string) func(*testing.T, *reply, *received) {
	return func(t *testing.T, _ *reply, got *received) {
		t.Helper()
		if got.Target != target {
			t.Errorf("the API got %q, want %q", got.Target, target)
		}
	}
}
