//go:build linux

package examples_test

import (
	"net/http"
	"path/filepath"
	"testing"
)

// TestUnixSocket runs the examples with a Unix socket between the proxy and keytail, as
// docs/proxies.md describes it. The address of the client is still the client's, and a
// daemon that was killed finds its socket again.
func TestUnixSocket(t *testing.T) {
	path := filepath.Join(workDir(t), "keytail.sock")
	// The workers of a proxy have another user here.
	flags := []string{"--addr=unix:" + path, "--unix-socket-mode=0666"}
	pipe := func(port string) (old, replacement string) {
		return "{socket_address: {address: 127.0.0.1, port_value: " + port + "}}", "{pipe: {path: " + path + "}}"
	}
	overHTTP, overGRPC := envoyHTTP(), envoyGRPC()
	overHTTP.keytail = append(overHTTP.keytail, flags...)
	overGRPC.keytail = []string{"--hide-credentials", "--grpc-addr=unix:" + path, "--unix-socket-mode=0666"}
	byNginx := nginx()
	byNginx.keytail = flags
	oldHTTP, newHTTP := pipe("18081")
	oldGRPC, newGRPC := pipe("18082")
	for _, test := range []struct {
		proxy
		old, replacement string
	}{
		{byNginx, "server 127.0.0.1:18081 ", "server unix:" + path + " "},
		{overHTTP, oldHTTP, newHTTP},
		{overGRPC, oldGRPC, newGRPC},
	} {
		t.Run(test.name, func(t *testing.T) {
			s := newStage(t, test.proxy, replace(t, test.old, test.replacement))
			s.seen = &table{}
			ask := func(from string, w want) {
				t.Helper()
				s.try(t, testCase{name: "from " + from, request: request{target: "/orders/1", header: []field{bearer(s.keys["local"])}, from: from}, want: w})
			}
			ask(clientAddr, allowed())
			ask("127.0.0.3", refused("FORBIDDEN"))
			s.keytail.kill()
			s.keytail.start()
			s.keytail.child.await(t, func() bool {
				return s.send(t, request{target: "/orders/1", header: []field{bearer(s.keys["valid"])}}).status == http.StatusOK
			}, "the proxy does not reach keytail after its restart")
		})
	}
}
