//go:build linux

package examples_test

import (
	"net/http"
	"slices"
	"strings"
	"testing"

	"github.com/keytail/keytail/internal/proxytest"
)

// caddy is Debian's Caddy.
func caddy() proxy {
	return proxy{
		name: "caddy", http: "127.0.0.1:18280", https: "127.0.0.1:18243",
		config: "caddy/Caddyfile", program: proxytest.Caddy,
		args: func(config string) []string { return []string{"run", "--adapter", "caddyfile", "--config", config} },
	}
}

// caddyCurrent is the same file with a current Caddy.
func caddyCurrent() proxy {
	p := caddy()
	p.name, p.program = "caddy-current", proxytest.CaddyCurrent
	return p
}

// TestCaddyOverwrites checks that no copy of a client passes as keytail's header, also if
// keytail's has no value, without the line that deletes them.
func TestCaddyOverwrites(t *testing.T) {
	var forged []field
	for _, name := range identity {
		forged = append(forged, field{name, "forged"}, field{strings.ToLower(name), "forged"})
	}
	for _, p := range []proxy{caddy(), caddyCurrent()} {
		t.Run(p.name, func(t *testing.T) {
			s := newStage(t, p, remove(t, "request_header -X-Auth*"), remove(t, "request_header @plain -Connection"))
			s.seen = &table{}
			for name, header := range map[string][]field{
				"nothing is forged":                     nil,
				"forged and not deleted":                forged,
				"forged, and X-Forwarded-Uri is hidden": append(slices.Clone(forged), field{"Connection", "close, X-Forwarded-Uri"}),
			} {
				s.try(t, testCase{
					name: name, request: request{target: "/orders/1", header: append(slices.Clone(header), bearer(s.keys["valid"]))}, want: allowed(),
					check: wantIdentity(validID, "user_00", "", "", "orders:read orders:write"),
				})
			}
		})
	}
}

// TestCaddyInventsValues shows why keytail sends empty headers to a proxy that sends
// X-Forwarded-Uri: Caddy 2.6 passes the name of its own placeholder for a header that an
// answer does not have.
func TestCaddyInventsValues(t *testing.T) {
	runMutations(t, caddy(), []mutation{{
		name: "X-Forwarded-Uri is not sent", edit: replace(t, "uri /v1/auth/policy/{args.0}", "uri /v1/auth/policy/{args.0}\n\t\theader_up -X-Forwarded-Uri"),
		request: requestOrders("valid"),
		detected: func(_ *reply, got *received) bool {
			return got != nil && strings.Contains(strings.Join(got.values("X-Auth-Org-Id"), ""), "http.reverse_proxy.header.")
		},
	}})
}

// TestCaddyMistakes removes lines from the Caddyfile and shows what each prevents.
func TestCaddyMistakes(t *testing.T) {
	for _, p := range []proxy{caddy(), caddyCurrent()} {
		t.Run(p.name, func(t *testing.T) { runMutations(t, p, caddyMistakes(t)) })
	}
	// The current Caddy drops names with underscores and dots without these lines.
	runMutations(t, caddy(), []mutation{
		{
			name: "names with underscores", edit: remove(t, "request_header -X_Auth*"),
			request: requestOrders("valid", field{"X_Auth-User_Id", "forged"}), detected: receivedForgedHeader,
		},
		{
			name: "names with dots", edit: remove(t, "request_header -X.Auth*"),
			request: requestOrders("valid", field{"X.Auth.User.Id", "forged"}), detected: receivedForgedHeader,
		},
	})
}

func caddyMistakes(t *testing.T) []mutation {
	public := func(forged field) func(map[string]string) request {
		return func(map[string]string) request { return request{target: "/public/1", header: []field{forged}} }
	}
	return []mutation{
		{
			name: "names with other signs", edit: remove(t, "request_header -X*Auth*"),
			request: requestOrders("valid", field{"x*auth*org*id", "forged"}), detected: receivedForgedHeader,
		},
		{
			name: "nothing is deleted", edit: remove(t, "request_header -X-Auth*"),
			request: public(field{"x-AUTH-user-id", "forged"}), detected: receivedForgedHeader,
		},
		{
			name: "dot segments in a path", edit: remove(t, "respond @steps 400"),
			request: requestDotSegments, detected: gotOrders,
		},
		{
			name: "the client's Connection", edit: remove(t, "request_header @plain -Connection"),
			request:  requestOrders("valid", field{"Connection", "close, X-Auth-User-Id"}),
			detected: func(_ *reply, got *received) bool { return got != nil && len(got.values("X-Auth-User-Id")) == 0 },
		},
		{
			name: "any upgrade is allowed", edit: replace(t, "(?i)^websocket$", "."),
			request: requestOrders("valid", upgradeTo("h2c")...), detected: sawStatus(http.StatusSwitchingProtocols),
		},
		{
			name: "the API receives the key", edit: remove(t, "request_header -Authorization"),
			request: requestOrders("valid"), detected: gotKey,
		},
		{
			name: "a policy that does not exist", edit: replace(t, "import keytail orders", "import keytail odors"),
			request: requestOrders("valid"), detected: sawStatus(http.StatusNotFound),
		},
		{
			name: "a forward-auth request without a policy", edit: replace(t, "uri /v1/auth/policy/{args.0}", "uri /v1/auth"),
			request: func(keys map[string]string) request {
				return request{target: "/orders/1?scope=reports:read", header: []field{bearer(keys["scoped"])}}
			}, detected: sawStatus(http.StatusOK),
		},
		{
			name: "an outage is a 502", edit: replace(t, "@keytail vars caller keytail", "@keytail vars caller never"), keytailDown: true,
			request: requestOrders("valid"), detected: sawStatus(http.StatusBadGateway),
		},
	}
}
