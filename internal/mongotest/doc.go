// Package mongotest hands a test a MongoDB server and a fresh database, so that
// one suite runs on several servers: devmongo, which is ours and always there;
// secantus (secantusd-py of the PyPI package SecantusDB), an independent
// implementation in a process of its own; and external, whatever replica set
// KEYTAIL_TEST_MONGODB_URI names.
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
// A server that is not there is a skip that says so; with
// KEYTAIL_TEST_REQUIRE=devmongo,secantus it is a failure.
//
// A test that needs what not every server has says so (Server.Needs), and is skipped
// without it. docs/testing.md is for those who run the suite on their own set.
//
// Environment: KEYTAIL_TEST_SECANTUSD is the path of secantusd-py (default:
// the one on PATH, else .ci/venv/bin/secantusd-py at the module's root), of a
// current Caddy KEYTAIL_TEST_CADDY, of Envoy KEYTAIL_TEST_ENVOY.
package mongotest
