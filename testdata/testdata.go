// Package testdata embeds the sample keys, so that a built keytail finds them
// whatever directory it is started in. Package seed reads them; README.md in
// this directory says what each is for.
package testdata

import _ "embed" // for go:embed into strings

//go:embed api_keys.json
var apiKeys string

//go:embed examples.json
var examples string

// APIKeys is api_keys.json: a JSON array of documents in relaxed MongoDB
// Extended JSON, one document a line.
func APIKeys() string { return apiKeys }

// Examples is examples.json: the sample keys whose secrets are known.
func Examples() string { return examples }
