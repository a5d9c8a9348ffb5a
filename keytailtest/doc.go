// Package keytailtest has a validator in memory, for the unit tests of services
// that let API keys in by keytail: no MongoDB, no daemon, no waiting.
//
//	v := keytailtest.New(t)
//	router := routes(v.Authenticate()) // as the service does with its keytail.Service or client.Client
//	key := v.Key("orders:read")
//	// ask router with the key …
//	v.Revoke(key)
//	// … and once more: 401
//
// Keys are made by Key, or by Add with a user, an end or an allow-list. What happens
// to them in production has a line each: Revoke, Expire, SetScopes, Delete and, for
// anything else, Change. So has what happens to keytail: Outage, Recover and Age.
// Asked says what was asked.
//
// The answers are keytail's own: texts are parsed and requests decided by the same
// code, and a test holds both against each other. Whoever watches a key by
// Principal.Done hears of each change at once, as from a daemon that follows its
// database without delay.
//
// The time is that of package time, so that testing/synctest can move it. The tests
// of a service may run in parallel; everything here is safe for concurrent use.
package keytailtest
