// Package extauthz answers Envoy's ext_authz filter over gRPC: the service
// envoy.service.auth.v3.Authorization, with health and reflection beside it. What
// is asked and answered is package forwardauth's, as over HTTP; here it is put into
// Envoy's words. DESIGN.md says which words of Envoy's are believed, and why.
//
// It knows a forwardauth.Authority, and neither MongoDB nor the cache.
package extauthz
