// Package client asks a keytail daemon about API keys: a Validator for services
// that run as other processes, or on other machines, than keytail. It has the
// middleware that an embedded Service has.
//
//	keys, err := client.New(client.Config{URL: "https://keytail.internal:8080", TokenFile: "/run/secrets/keytail"})
//	...
//	go keys.Run(ctx) // optional: hears of revoked keys, for Principal.Done
//	router.Use(keys.Authenticate())
//
// It keeps no verdict: each request is one call to the daemon, over connections
// that stay open. What can go wrong on the way ends as "not known" (ErrUnavailable,
// 503) and never as a yes or a no. A call that broke before any byte of its answer
// is made once more, since to ask changes nothing; nothing else is repeated. When
// the daemon fails again and again, a circuit breaker answers in its place.
//
// No key, and no token, is in an error, a log line or a URL. DESIGN.md has the
// argument for how long a revoked key can keep an open stream.
package client
