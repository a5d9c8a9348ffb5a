package testprogram

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// RequireVariable is the environment variable that lists what must be present,
// separated by commas.
const RequireVariable = "KEYTAIL_TEST_REQUIRE"

// names are all that RequireVariable may list: the servers and their optional
// features of package mongotest, the proxies of package proxytest, the Python of
// examples/fastapi, the generators of internal/integration/clients, the gitleaks, helm,
// kubernetes-validate, systemd-analyze and release of deploy, the promtool of deploy and
// internal/doctest, the prometheus of internal/integration/alerts, the browser with axe-core of
// tests/browser, and the pseudo-terminal of the tests of prompts.
func names() []string {
	return []string{
		"devmongo", "secantus", "external",
		"failpoints", "tokens", "refuses-future", "views",
		"nginx", "caddy", "caddy-current", "envoy", "prometheus",
		"fastapi", "generated-clients", "gitleaks", "promtool", "terminal",
		"helm", "kubernetes-validate", "release", "systemd", "chromium", "axe",
	}
}

// ErrMissing marks a program that is not installed, or a server that is not
// configured. A program that is present but does not work has another error: the
// first may be skipped, the second is always a failure.
var ErrMissing = errors.New("not installed or not configured")

// Required lists what the environment requires. An unknown name is an error,
// because a spelling mistake would otherwise switch the requirement off.
func Required() ([]string, error) {
	var required []string
	for name := range strings.SplitSeq(os.Getenv(RequireVariable), ",") {
		name = strings.TrimSpace(name)
		if name == "" {
			continue
		}
		if !slices.Contains(names(), name) {
			return nil, fmt.Errorf("%s: unknown name %q: use %s", RequireVariable, name, strings.Join(names(), ", "))
		}
		required = append(required, name)
	}
	return required, nil
}

// IsRequired reports whether the environment requires name. It fails t when the
// list is invalid.
func IsRequired(t testing.TB, name string) bool {
	t.Helper()
	required, err := Required()
	if err != nil {
		t.Fatal(err)
	}
	return slices.Contains(required, name)
}

// SkipIfMissing returns when err is nil. It skips t when err is ErrMissing and name
// is not required, and fails t otherwise.
func SkipIfMissing(t testing.TB, name string, err error) {
	t.Helper()
	required := IsRequired(t, name)
	switch {
	case errors.Is(err, ErrMissing) && !required:
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
}
