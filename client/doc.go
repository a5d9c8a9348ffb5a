// Package client validates API keys by requests to a keytail daemon. It is the Validator
// for services that run in another process, or on another machine, than keytail, and
// has the same middleware as an embedded keytail.Service.
//
//	keys, err := client.New(client.Config{URL: "https://keytail.internal:8080", TokenFile: "/run/secrets/keytail"})
//	...
//	go keys.Run(ctx) // optional: receives revocations, for Principal.Done
//	router.Use(keys.Authenticate())
//
// The client caches no verdicts: each request is one call to the daemon, over
// persistent connections. A failure on the way is always auth.ErrUnavailable (503), and
// never a verdict. A call whose connection broke before the first byte of the response
// is repeated once, which is safe because validation changes nothing. When calls fail
// repeatedly, a circuit breaker answers instead of the daemon.
//
// No error, log line or URL contains a key or a token. DESIGN.md derives how long a
// revoked key can keep an open stream.
package client
