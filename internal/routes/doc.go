// Package routes is keytail's HTTP surface: Gin handlers and nothing else. It
// turns requests into questions to a Validator and verdicts into answers, and
// knows neither MongoDB nor the cache.
//
// The contract is HTTP.md. What this package adds where it is silent:
//
//   - A caller's own mistake comes before any verdict. A request that cannot be
//     read in full is 400 and asks nothing, so that a typo in a proxy's
//     configuration never lets more through than was meant: an unknown query
//     parameter, a parameter given twice, an empty scope or id, a field that is
//     not known, a field given twice.
//   - Forward-auth fails closed: 200 means VALID and everything else refuses.
//     X-Auth-Result starts as UNAVAILABLE and stays so if a handler panics.
//   - Paths are matched as they came: /v1/auth and no other spelling of it.
//   - Under /v1/auth/policy/{name} the query is the client's: it is not read, so
//     it is never 400 there, and holds no key even if query:NAME is a key source.
//   - A caller or admin without its token is UNAUTHENTICATED (401), a policy that
//     is not there NO_SUCH_POLICY (404). The admin listener takes a token as the
//     password of HTTP Basic too, for GET and HEAD alone.
//   - Nothing of a key, and no text of the request that might be one (a path, a
//     query, the name of an unknown field), is in an answer or a log line. A
//     client's X-Request-Id is echoed unless it contains the key, or might
//     because the key could not be read.
//
// Handlers hold no locks and start no goroutines.
package routes
