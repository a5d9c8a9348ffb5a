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

// TestNginxMistakes removes lines from nginx.conf and shows what each prevents.
func TestNginxMistakes(t *testing.T) {
	const office = "203.0.113.7"
	runMutations(t, nginx(), []mutation{
		{
			name: "an empty header is not set", edit: remove(t, "proxy_set_header X-Auth-Org-Id $org_id;"),
			request: requestOrders("valid", field{"X-Auth-Org-Id", "forged"}), detected: receivedForgedHeader,
		},
		{
			name: "names with underscores", edit: replace(t, "underscores_in_headers off;", "underscores_in_headers on;"),
			request: requestOrders("valid", field{"X_Auth_User_Id", "forged"}), detected: receivedForgedHeader,
		},
		{
			name: "dot segments in a path", edit: remove(t, "return 400;"),
			request: requestDotSegments, detected: gotOrders,
		},
		{
			name: "any upgrade is allowed", edit: replace(t, "~*^websocket$ websocket;", "~. h2c;"),
			request: requestOrders("valid", upgradeTo("h2c")...), detected: sawStatus(http.StatusSwitchingProtocols),
		},
		{
			name: "the API receives the key", edit: remove(t, `proxy_set_header Authorization "";`),
			request: requestOrders("valid"), detected: gotKey,
		},
		{
			name: "the client sets its own address", edit: replace(t, "X-Forwarded-For $remote_addr;", "X-Forwarded-For $http_x_forwarded_for;"),
			request: requestOrders("office", field{"X-Forwarded-For", office}), detected: sawStatus(http.StatusOK),
		},
		{
			name: "an outage is a 500", edit: remove(t, "error_page 500 =503 @unavailable;"), keytailDown: true,
			request: requestOrders("valid"), detected: sawStatus(http.StatusInternalServerError),
		},
		{
			name: "a refusal without its body", edit: remove(t, "error_page 403 = @forbidden;"),
			request: requestOrders("scoped"), detected: func(r *reply, _ *received) bool {
				return r.status == http.StatusForbidden && r.code() == "" && r.header.Get("WWW-Authenticate") == ""
			},
		},
		{
			name: "a policy that does not exist", edit: replace(t, "policy/acme", "policy/acne"),
			request: func(keys map[string]string) request {
				return request{target: "/acme/1", header: []field{bearer(keys["project"])}}
			}, detected: sawStatus(http.StatusServiceUnavailable),
		},
		{
			name: "a location that is not internal", edit: remove(t, "internal;"),
			request: func(keys map[string]string) request {
				return request{target: "/keytail/orders", header: []field{bearer(keys["valid"])}}
			}, detected: sawStatus(http.StatusOK),
		},
	})
}
