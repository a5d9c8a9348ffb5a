// Package routes has the Gin handlers of keytail's HTTP listeners and nothing
// else. It turns requests into calls of a Validator, and verdicts into responses.
// It depends neither on MongoDB nor on the cache.
//
// docs/http.md describes the interface, and package api has its types. Rules that
// this package adds:
//
//   - A mistake of the caller is reported before any verdict. A request that cannot
//     be read completely gets 400 and no verdict, so that a typing error in a
//     proxy's configuration never allows more than was intended: an unknown query
//     parameter, a parameter given twice, an empty scope or id, an unknown field, a
//     field given twice.
//   - Forward-auth fails closed: 200 means VALID, and every other status refuses the
//     request. X-Auth-Result is UNAVAILABLE from the start, and stays so if a
//     handler panics.
//   - Paths are matched as they were sent: /v1/auth and no other spelling of it.
//   - Under /v1/auth/policy/{name} the query belongs to the client. keytail does not
//     read it: it cannot cause a 400, and query:NAME is not a key source there.
//   - A caller or admin without a token gets UNAUTHENTICATED (401), an unknown policy
//     NO_SUCH_POLICY (404). The admin listener also accepts a token as the password
//     of HTTP Basic, for GET and HEAD only; and on the pages, which take forms of their
//     own only, the session of who has signed in.
//   - No response or log line contains a key, or any text of the request that could
//     be one (a path, a query, the name of an unknown field). A client's X-Request-Id
//     is returned unless it contains the key, or could contain it because the key
//     could not be read.
//
// Handlers hold no locks and start no goroutines.
package routes
