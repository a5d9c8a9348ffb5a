// Package extauthz serves Envoy's ext_authz filter over gRPC: the service
// envoy.service.auth.v3.Authorization, with health and, if it is on, reflection. Package
// forwardauth decides, as over HTTP; this package translates Envoy's messages.
// DESIGN.md describes which parts of a message are trusted, and why.
//
// It depends on a forwardauth.Authority, and neither on MongoDB nor on the cache.
package extauthz
