// Package api describes keytail's HTTP interface: an OpenAPI 3.1 document, and
// the Go types of its JSON bodies. The server and its clients share the types.
//
// Tests compare the types with the schemas of the document in both directions,
// and the document with the real routes and their responses.
//
// A client must treat a code that it does not know as not valid, and must ignore
// fields that it does not know. docs/http.md describes the interface for people.
//
// The package depends on the standard library only.
package api

import _ "embed"

// OpenAPI is the document, in YAML. Do not write to it.
//
//go:embed openapi.yaml
var OpenAPI []byte

// The paths of the interface. One that ends with a slash has more behind it.
const (
	PathLive      = "/livez"
	PathReady     = "/readyz"
	PathMetrics   = "/metrics"
	PathOpenAPI   = "/openapi.yaml"
	PathVerify    = "/v1/keys/verify"
	PathAuth      = "/v1/auth"
	PathPolicy    = "/v1/auth/policy/"
	PathSync      = "/v1/sync"
	PathEvents    = "/v1/events"
	PathStatus    = "/v1/status"
	PathLogLevel  = "/v1/log-level"
	PathInstances = "/v1/instances"
	PathKeys      = "/v1/keys"
	PathAudit     = "/v1/audit"

	// PathRevokeLeaked revokes a key by its text, and PathRevokeKeys all keys of an
	// owner.
	PathRevokeLeaked = "/v1/keys/revoke-leaked"
	PathRevokeKeys   = "/v1/keys/revoke"
)

// The values of the parameters scope (of PathSync) and wait (of a write).
const (
	ScopeInstance = "instance"
	ScopeFleet    = "fleet"
)
