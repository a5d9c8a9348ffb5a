// Package mongotest gives a test a MongoDB server and an empty database. One suite
// runs on several servers:
//
//   - devmongo: the in-memory server of package devmongo; always available.
//   - secantus: secantusd-py of the PyPI package SecantusDB, an independent
//     implementation in its own process.
//   - external: the replica set that KEYTAIL_TEST_MONGODB_URI names.
//
// A package uses it like this:
//
//	func TestMain(m *testing.M) { goleak.VerifyTestMain(mongotest.Main(m)) }
//
//	func TestSomething(t *testing.T) {
//		mongotest.Each(t, func(t *testing.T, s *mongotest.Server) {
//			db := s.Client(t).Database(s.Database(t))
//			…
//		})
//	}
//
// A server that is not available skips the test with the reason. With
// KEYTAIL_TEST_REQUIRE=devmongo,secantus it fails the test (package testprogram).
//
// A test that needs a feature which not every server has calls Server.Needs and is
// skipped on the others. docs/testing.md describes how to run the suite on your own replica set;
// package internal/devmongo/conformance checks the servers themselves.
//
// KEYTAIL_TEST_SECANTUSD is the path of secantusd-py. Without it, PATH and
// .ci/venv/bin are searched.
package mongotest
