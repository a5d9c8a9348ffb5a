// Package keytailtest has an in-memory Validator for the unit tests of services that
// use keytail: no MongoDB, no daemon, no waiting.
//
//	v := keytailtest.New(t)
//	router := routes(v.Authenticate()) // in the service: a keytail.Service or a client.Client
//	key := v.Key("orders:read")
//	// send a request with the key …
//	v.Revoke(key)
//	// … and again: 401
//
// Key creates a key with scopes; Add creates one with a user, an expiry or an
// allow-list. Revoke, Expire, SetScopes, Delete and Change do what happens to keys in
// production. Outage, Recover and SetStaleness do what happens to keytail. Validations
// returns the requests that the Validator received.
//
// Verdicts are the same as in production: the same code parses keys and decides, and a
// test compares both. Principal.Done reports each change immediately, as if the change
// stream had no delay.
//
// The clock is that of package time, so testing/synctest can move it. Everything is
// safe for concurrent use, and tests can run in parallel.
package keytailtest
