// Package testprogram finds the programs that tests need, and runs them: servers
// (package mongotest), proxies (package proxytest), the Python of examples/fastapi
// and the generators of clients.
//
// A test that needs a program which is not installed is skipped, and the message
// describes how to install it. KEYTAIL_TEST_REQUIRE=secantus,nginx turns the
// skip into a failure; .ci/run requires every program that it installs.
package testprogram
