// Package api is what keytail's listeners offer, for machines: an OpenAPI 3.1
// document. Tests hold it against the routes and their real answers.
package api

import _ "embed"

// OpenAPI is the document, in YAML. Nobody may write to it.
//
//go:embed openapi.yaml
var OpenAPI []byte
