package mongotest

import (
	"testing"

	"github.com/keytail/keytail/internal/testprogram"
)

// Need is a feature that a test requires and that not every server has.
// docs/testing.md describes each of them.
type Need string

// The needs. KEYTAIL_TEST_REQUIRE can list them: a missing feature of the external
// server is then a failure instead of a skip.
const (
	// Failpoints: the server accepts configureFailPoint. A mongod must have been started
	// with enableTestCommands=1, and the user needs a role that may run it.
	Failpoints Need = "failpoints"
	// MongoDBTokens: resume tokens have MongoDB's layout.
	MongoDBTokens Need = "tokens"
	// RefusesFuture: the server rejects a read after a future cluster time immediately.
	RefusesFuture Need = "refuses-future"
	// Views: the server can create views.
	Views Need = "views"
)

// needs maps every need to the reason for a skip.
func needs() map[Need]string {
	return map[Need]string{
		Failpoints:    "does not accept failpoints: start it with --setParameter enableTestCommands=1, and give the user the role clusterAdmin or root",
		MongoDBTokens: "has resume tokens in a layout that is not MongoDB's",
		RefusesFuture: "answers reads after a cluster time that it has not reached",
		Views:         "cannot create views, or the user may not",
	}
}

// has reports whether the server has a feature.
func (s *Server) has(n Need) bool {
	switch n {
	case Failpoints:
		return s.Failpoints
	case MongoDBTokens:
		return s.MongoDBTokens
	case RefusesFuture:
		return s.RefusesFuture
	case Views:
		return s.Views
	}
	return false
}

// Needs skips t with a reason unless the server has every feature that is named. It
// fails t when KEYTAIL_TEST_REQUIRE lists the feature and the server is external.
func (s *Server) Needs(t testing.TB, all ...Need) {
	t.Helper()
	for _, n := range all {
		switch {
		case s.has(n):
		case s.Name == NameExternal && testprogram.IsRequired(t, string(n)):
			t.Fatalf("%s (%s) %s; %s requires it", s.Name, s.Version, needs()[n], testprogram.RequireVariable)
		default:
			t.Skipf("%s (%s) %s", s.Name, s.Version, needs()[n])
		}
	}
}
