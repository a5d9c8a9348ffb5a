// Package testdata embeds the sample keys, so that a keytail binary has them in any
// working directory. Package seed reads them. README.md in this directory describes
// them.
package testdata

import _ "embed" // for go:embed into strings

//go:embed api_keys.json
var apiKeys string

//go:embed examples.json
var examples string

// APIKeys returns api_keys.json: a JSON array of documents in relaxed MongoDB Extended
// JSON, one document per line.
func APIKeys() string { return apiKeys }

// Examples returns examples.json: the sample keys whose texts are known.
func Examples() string { return examples }
