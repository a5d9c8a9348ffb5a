// Package forwardauth is what forward-auth reads from a request and what it
// answers, whatever carries the two: HTTP for most proxies (package routes), gRPC
// for Envoy (package extauthz), or a call within a process (package auth). It has
// the rules of HTTP.md, section 3, and knows neither Gin nor MongoDB.
//
// It holds no locks and starts no goroutines.
package forwardauth
