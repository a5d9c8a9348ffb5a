package mongotest

import (
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"
)

// The names of the servers, as in subtest names and KEYTAIL_TEST_REQUIRE.
const (
	NameDevmongo = "devmongo"
	NameSecantus = "secantus"
	NameExternal = "external"
)

// requireVariable lists the servers whose absence is a failure.
const requireVariable = "KEYTAIL_TEST_REQUIRE"

// externalVariable names a replica set to run the suite on.
const externalVariable = "KEYTAIL_TEST_MONGODB_URI"

// errMissing marks a server that is not there, as opposed to one that does not
// work: the first may be skipped, the second never.
var errMissing = errors.New("the server is not there")

// starter makes one kind of server. Its stop ends all that it began.
type starter struct {
	name  string
	start func() (s *Server, stop func() error, err error)
}

// starters are in the order in which Each runs them.
func starters() []starter {
	return []starter{
		{NameDevmongo, startSharedDevmongo},
		{NameSecantus, startSharedSecantus},
		{NameExternal, findExternal},
	}
}

// Each runs f as a subtest on every server there is. The servers are shared by
// all tests of a binary whose TestMain uses Main; without it each call has its
// own. f keeps apart from other tests by using its own Database.
func Each(t *testing.T, f func(t *testing.T, s *Server)) {
	t.Helper()
	for _, st := range starters() {
		t.Run(st.name, func(t *testing.T) {
			s, err := obtain(t, st)
			skipIfMissing(t, st.name, err)
			f(t, s)
		})
	}
}

// skipIfMissing judges the error of looking for a server: one that is not there
// skips t unless it is required; any other error fails it.
func skipIfMissing(t testing.TB, name string, err error) {
	t.Helper()
	required, bad := requiredServers()
	switch {
	case bad != nil:
		t.Fatal(bad)
	case errors.Is(err, errMissing) && !slices.Contains(required, name):
		t.Skip(err)
	case err != nil:
		t.Fatal(err)
	}
}

// requiredServers reads KEYTAIL_TEST_REQUIRE. An unknown name is an error: a
// spelling mistake would turn the requirement off.
func requiredServers() ([]string, error) {
	known := []string{NameDevmongo, NameSecantus, NameExternal, NameNginx, NameCaddy, NameCaddyCurrent, NameEnvoy, NameFastAPI}
	for n := range needs() {
		known = append(known, string(n))
	}
	var names []string
	for name := range strings.SplitSeq(os.Getenv(requireVariable), ",") {
		name = strings.TrimSpace(name)
		if name == "" {
			continue
		}
		if !slices.Contains(known, name) {
			return nil, fmt.Errorf("%s names %q, which is nothing that can be required: use %s", requireVariable, name, strings.Join(known, ", "))
		}
		names = append(names, name)
	}
	return names, nil
}

// findExternal is the replica set that somebody else runs.
func findExternal() (*Server, func() error, error) {
	uri := os.Getenv(externalVariable)
	if uri == "" {
		return nil, nil, fmt.Errorf("%w: %s is not set, so the suite does not run on a replica set of yours", errMissing, externalVariable)
	}
	s := &Server{Name: NameExternal, URI: uri}
	if err := s.probe(); err != nil {
		return nil, nil, fmt.Errorf("the server of %s: %w", externalVariable, err)
	}
	return s, func() error { return nil }, nil
}
