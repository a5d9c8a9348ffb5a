package mongotest

import (
	"slices"
	"testing"
)

// Need is something that a test cannot do without and that not every server has.
// docs/testing.md says what each is for.
type Need string

// The needs. Each can be demanded by KEYTAIL_TEST_REQUIRE: then the absence is a
// failure and no skip.
const (
	// Failpoints: configureFailPoint, of a server that was started with
	// enableTestCommands=1, and a user who may run it.
	Failpoints Need = "failpoints"
	// MongoDBTokens: resume tokens in MongoDB's layout.
	MongoDBTokens Need = "tokens"
	// RefusesFuture: a read after a time to come is refused at once.
	RefusesFuture Need = "refuses-future"
	// Views can be created.
	Views Need = "views"
)

// needs are all of them, with what is missing where one is not met.
func needs() map[Need]string {
	return map[Need]string{
		Failpoints:    "takes no failpoints: start it with --setParameter enableTestCommands=1, and give the user the role clusterAdmin or root",
		MongoDBTokens: "has resume tokens of another layout than MongoDB's",
		RefusesFuture: "answers reads after a time that it has not reached",
		Views:         "makes no views, or the user may not",
	}
}

// has reports whether the server meets a need.
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

// Needs skips t, and says why, unless the server has all that it names. What
// KEYTAIL_TEST_REQUIRE names must be there on the external server.
func (s *Server) Needs(t testing.TB, all ...Need) {
	t.Helper()
	required, bad := requiredServers()
	if bad != nil {
		t.Fatal(bad)
	}
	for _, n := range all {
		switch {
		case s.has(n):
		case s.Name == NameExternal && slices.Contains(required, string(n)):
			t.Fatalf("%s (%s) %s; %s demands it", s.Name, s.Version, needs()[n], requireVariable)
		default:
			t.Skipf("%s (%s) %s", s.Name, s.Version, needs()[n])
		}
	}
}
