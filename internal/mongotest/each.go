package mongotest

import (
	"fmt"
	"os"
	"testing"

	"github.com/keytail/keytail/internal/testprogram"
)

// The names of the servers, in subtest names and in KEYTAIL_TEST_REQUIRE.
const (
	NameDevmongo = "devmongo"
	NameSecantus = "secantus"
	NameExternal = "external"
)

// externalVariable names a replica set to run the suite on.
const externalVariable = "KEYTAIL_TEST_MONGODB_URI"

// starter starts one kind of server. stop ends what start began.
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

// Each runs f as a subtest on every available server. In a binary whose TestMain
// uses Main, all tests share the servers; otherwise each call starts its own. Tests
// do not disturb each other if each uses its own Database.
func Each(t *testing.T, f func(t *testing.T, s *Server)) {
	t.Helper()
	for _, st := range starters() {
		t.Run(st.name, func(t *testing.T) {
			s, err := obtain(t, st)
			testprogram.SkipIfMissing(t, st.name, err)
			f(t, s)
		})
	}
}

// External returns the replica set of KEYTAIL_TEST_MONGODB_URI, for tests of what
// only a real one can do. It skips t when the variable is not set.
func External(t *testing.T) *Server {
	t.Helper()
	s, err := obtain(t, starter{NameExternal, findExternal})
	testprogram.SkipIfMissing(t, NameExternal, err)
	return s
}

// findExternal returns the replica set that KEYTAIL_TEST_MONGODB_URI names.
func findExternal() (*Server, func() error, error) {
	uri := os.Getenv(externalVariable)
	if uri == "" {
		return nil, nil, fmt.Errorf("%w: set %s to run the tests on your own replica set", testprogram.ErrMissing, externalVariable)
	}
	s := &Server{Name: NameExternal, URI: uri}
	if err := s.probe(); err != nil {
		return nil, nil, fmt.Errorf("the server of %s: %w", externalVariable, err)
	}
	return s, func() error { return nil }, nil
}
