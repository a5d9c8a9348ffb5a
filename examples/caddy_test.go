//go:build linux

package examples_test

import (
	"net/http"
	"testing"

	"github.com/keytail/keytail/internal/proxytest"
)

// caddy is Debian's.
func caddy() proxy {
	return proxy{
		name: "caddy", http: "127.0.0.1:18280", https: "127.0.0.1:18243",
		config: "caddy/Caddyfile", program: proxytest.Caddy,
		args: func(config string) []string { return []string{"run", "--adapter", "caddyfile", "--config", config} },
	}
}

// caddyCurrent is the same file with a Caddy of this year.
func caddyCurrent() proxy {
	p := caddy()
	p.name, p.program = "caddy-current", proxytest.CaddyCurrent
	return p
}

// TestCaddyMistakes takes lines out of the Caddyfile that hold a promise.
func TestCaddyMistakes(t *testing.T) {
	for _, p := range []proxy{caddy(), caddyCurrent()} {
		t.Run(p.name, func(t *testing.T) { runBroken(t, p, caddyMistakes(t)) })
	}
	// The current one drops names with underscores and dots by itself.
	runBroken(t, caddy(), []broken{
		{
			name: "names with underscores", edit: without(t, "request_header -X_Auth*"),
			ask: askOrders("valid", field{"X_Auth-User_Id", "forged"}), shows: gotForged,
		},
		{
			name: "names with dots", edit: without(t, "request_header -X.Auth*"),
			ask: askOrders("valid", field{"X.Auth.User.Id", "forged"}), shows: gotForged,
		},
	})
}

func caddyMistakes(t *testing.T) []broken {
	public := func(forged field) func(map[string]string) ask {
		return func(map[string]string) ask { return ask{target: "/public/1", header: []field{forged}} }
	}
	return []broken{
		{
			name: "names with other signs", edit: without(t, "request_header -X*Auth*"),
			ask: askOrders("valid", field{"x*auth*org*id", "forged"}), shows: gotForged,
		},
		{
			name: "nothing is deleted", edit: without(t, "request_header -X-Auth*"),
			ask: public(field{"x-AUTH-user-id", "forged"}), shows: gotForged,
		},
		{
			name: "steps in a path", edit: without(t, "respond @steps 400"),
			ask: askSteps, shows: gotOrders,
		},
		{
			name: "the client's Connection", edit: without(t, "request_header @plain -Connection"),
			ask:   askOrders("valid", field{"Connection", "close, X-Auth-User-Id"}),
			shows: func(_ *reply, got *received) bool { return got != nil && len(got.values("X-Auth-User-Id")) == 0 },
		},
		{
			name: "any upgrade", edit: instead(t, "(?i)^websocket$", "."),
			ask: askOrders("valid", upgradeTo("h2c")...), shows: sawStatus(http.StatusSwitchingProtocols),
		},
		{
			name: "the key goes on", edit: without(t, "request_header -Authorization"),
			ask: askOrders("valid"), shows: gotKey,
		},
		{
			name: "a policy that does not exist", edit: instead(t, "import keytail orders", "import keytail odors"),
			ask: askOrders("valid"), shows: sawStatus(http.StatusNotFound),
		},
		{
			name: "a question without a policy", edit: instead(t, "uri /v1/auth/policy/{args.0}", "uri /v1/auth"),
			ask: func(keys map[string]string) ask {
				return ask{target: "/orders/1?scope=reports:read", header: []field{bearer(keys["scoped"])}}
			}, shows: sawStatus(http.StatusOK),
		},
		{
			name: "an outage is a 502", edit: instead(t, "@keytail vars asking keytail", "@keytail vars asking never"), gone: true,
			ask: askOrders("valid"), shows: sawStatus(http.StatusBadGateway),
		},
	}
}
