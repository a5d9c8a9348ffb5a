//go:build linux

package examples_test

import (
	"net/http"
	"path/filepath"
	"testing"

	"github.com/keytail/keytail/internal/proxytest"
)

func nginx() proxy {
	return proxy{
		name: "nginx", http: "127.0.0.1:18180", https: "127.0.0.1:18143",
		config: "nginx/nginx.conf", program: proxytest.Nginx,
		args: func(config string) []string {
			return []string{"-c", config, "-p", filepath.Dir(config), "-e", "stderr", "-g", "daemon off;"}
		},
	}
}

// TestNginxMistakes takes lines out of nginx.conf that hold a promise.
func TestNginxMistakes(t *testing.T) {
	const office = "203.0.113.7"
	runBroken(t, nginx(), []broken{
		{
			name: "an empty header is not set", edit: without(t, "proxy_set_header X-Auth-Org-Id $org_id;"),
			ask: askOrders("valid", field{"X-Auth-Org-Id", "forged"}), shows: gotForged,
		},
		{
			name: "names with underscores", edit: instead(t, "underscores_in_headers off;", "underscores_in_headers on;"),
			ask: askOrders("valid", field{"X_Auth_User_Id", "forged"}), shows: gotForged,
		},
		{
			name: "steps in a path", edit: without(t, "return 400;"),
			ask: askSteps, shows: gotOrders,
		},
		{
			name: "any upgrade", edit: instead(t, "~*^websocket$ websocket;", "~. h2c;"),
			ask: askOrders("valid", upgradeTo("h2c")...), shows: sawStatus(http.StatusSwitchingProtocols),
		},
		{
			name: "the key goes on", edit: without(t, `proxy_set_header Authorization "";`),
			ask: askOrders("valid"), shows: gotKey,
		},
		{
			name: "the client's word for its address", edit: instead(t, "X-Forwarded-For $remote_addr;", "X-Forwarded-For $http_x_forwarded_for;"),
			ask: askOrders("office", field{"X-Forwarded-For", office}), shows: sawStatus(http.StatusOK),
		},
		{
			name: "an outage is a 500", edit: without(t, "error_page 500 =503 @unavailable;"), gone: true,
			ask: askOrders("valid"), shows: sawStatus(http.StatusInternalServerError),
		},
		{
			name: "a refusal without its body", edit: without(t, "error_page 403 = @forbidden;"),
			ask: askOrders("scoped"), shows: func(r *reply, _ *received) bool {
				return r.status == http.StatusForbidden && r.code() == "" && r.header.Get("WWW-Authenticate") == ""
			},
		},
		{
			name: "a policy that does not exist", edit: instead(t, "policy/acme", "policy/acne"),
			ask: func(keys map[string]string) ask {
				return ask{target: "/acme/1", header: []field{bearer(keys["project"])}}
			}, shows: sawStatus(http.StatusServiceUnavailable),
		},
		{
			name: "an internal location that is not", edit: without(t, "internal;"),
			ask: func(keys map[string]string) ask {
				return ask{target: "/keytail/orders", header: []field{bearer(keys["valid"])}}
			}, shows: sawStatus(http.StatusOK),
		},
	})
}
