//go:build linux

package examples_test

import (
	"github.com/keytail/keytail/internal/mongotest"
)

func envoyArgs(config string) []string {
	// Hot restart needs a number that no other Envoy on the machine has.
	return []string{"-c", config, "--disable-hot-restart", "--concurrency", "2", "--log-level", "warning"}
}

// envoyHTTP asks by the HTTP service of ext_authz.
func envoyHTTP() proxy {
	return proxy{
		name: "envoy-http", http: "127.0.0.1:18380", https: "127.0.0.1:18343",
		config: "envoy/envoy-http.yaml", program: mongotest.Envoy, args: envoyArgs,
	}
}

// envoyGRPC asks by the gRPC service of ext_authz.
func envoyGRPC() proxy {
	return proxy{
		name: "envoy-grpc", http: "127.0.0.1:18480", https: "127.0.0.1:18443",
		config: "envoy/envoy-grpc.yaml", program: mongotest.Envoy, args: envoyArgs,
		keytail: []string{"--grpc-addr=" + keytailGRPC, "--hide-credentials"},
	}
}
