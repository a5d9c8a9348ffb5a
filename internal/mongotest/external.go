package mongotest

import "testing"

// External is the replica set of KEYTAIL_TEST_MONGODB_URI, for tests of what only
// a real one can do. It skips t when none is named.
func External(t *testing.T) *Server {
	t.Helper()
	s, err := obtain(t, starter{NameExternal, findExternal})
	skipIfMissing(t, NameExternal, err)
	return s
}
