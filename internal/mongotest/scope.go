package mongotest

import "testing"

// The scopes of a change stream, as in keytail.Config.
const (
	ScopeDatabase   = "database"
	ScopeCollection = "collection"
)

// InScope returns a copy of the server for a test whose streams have this scope.
func (s *Server) InScope(scope string) *Server {
	in := *s
	in.StreamScope = scope
	return &in
}

// EachScope runs f on each server, in every scope that keytail supports there: the
// stream of a collection needs resume tokens in MongoDB's layout. The subtests are
// named <server>/<scope>.
func EachScope(t *testing.T, f func(t *testing.T, s *Server)) {
	t.Helper()
	Each(t, func(t *testing.T, s *Server) {
		t.Run(ScopeDatabase, func(t *testing.T) { f(t, s.InScope(ScopeDatabase)) })
		if s.MongoDBTokens {
			t.Run(ScopeCollection, func(t *testing.T) { f(t, s.InScope(ScopeCollection)) })
		}
	})
}
