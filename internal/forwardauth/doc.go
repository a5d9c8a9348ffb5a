// Package forwardauth decides whether a proxy may let a request pass: it reads the
// request, validates the key with a Validator, and makes the response. Its
// callers are the transports: HTTP for most proxies (package routes), gRPC for
// Envoy (package extauthz), and a function call within a process (package
// auth). It has the rules of docs/http.md#forward-auth, and depends on neither
// Gin nor MongoDB.
//
// It holds no locks and starts no goroutines.
package forwardauth
