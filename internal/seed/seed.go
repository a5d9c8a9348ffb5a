// Package seed reads the sample keys of testdata: the 200 documents that
// `keytail --dev` starts with, and the few of them whose secrets are published.
//
// The tests of this package write the files, from a fixed random sequence:
//
//	go test ./internal/seed -update
package seed

import (
	"encoding/json"
	"fmt"
	"net/netip"

	"go.mongodb.org/mongo-driver/v2/bson"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/testdata"
)

// Names of the examples that the start of `keytail --dev` shows.
const (
	Valid   = "valid"
	Expired = "expired"
	Scoped  = "scoped"
)

// Example is a sample key whose secret is published. Never use one in production.
type Example struct {
	// Name identifies the example in tests and in README.md.
	Name string `json:"name"`
	// Key is the secret.
	Key string `json:"key"`
	// ID is the document's _id, as KeyID shows it.
	ID string `json:"id"`
	// Purpose describes in a few words what the key shows.
	Purpose string `json:"purpose"`
	// Asks are requests with the key and their verdicts.
	Asks []Ask `json:"asks"`
}

// Ask is one request with an example key, and its verdict. Zero fields are not sent.
type Ask struct {
	Scopes    []string `json:"scopes,omitempty"`
	OrgID     string   `json:"org_id,omitempty"`
	ProjectID string   `json:"project_id,omitempty"`
	// RequireOrg makes a bound key FORBIDDEN if OrgID is empty.
	RequireOrg bool       `json:"require_org,omitempty"`
	IP         netip.Addr `json:"ip,omitzero"`
	// Code is the verdict's code as apikey.Code spells it.
	Code string `json:"code"`
}

// Request returns the request in the form that apikey.Decide takes.
func (a Ask) Request() *apikey.Request {
	return &apikey.Request{Scopes: a.Scopes, OrgID: a.OrgID, ProjectID: a.ProjectID, RequireOrg: a.RequireOrg, IP: a.IP}
}

// Documents returns the sample documents in the layout of keystore's default
// schema.
func Documents() ([]bson.Raw, error) {
	var lines []json.RawMessage
	if err := json.Unmarshal([]byte(testdata.APIKeys()), &lines); err != nil {
		return nil, fmt.Errorf("the embedded api_keys.json is not a JSON array: %w", err)
	}
	docs := make([]bson.Raw, len(lines))
	for i, line := range lines {
		var doc bson.D
		if err := bson.UnmarshalExtJSON(line, false, &doc); err != nil {
			return nil, fmt.Errorf("document %d of the embedded api_keys.json is not Extended JSON: %w", i+1, err)
		}
		raw, err := bson.Marshal(doc)
		if err != nil {
			return nil, fmt.Errorf("document %d of the embedded api_keys.json is not BSON: %w", i+1, err)
		}
		docs[i] = raw
	}
	return docs, nil
}

// Examples returns the published sample keys in the order of README.md.
func Examples() ([]Example, error) {
	var examples []Example
	if err := json.Unmarshal([]byte(testdata.Examples()), &examples); err != nil {
		return nil, fmt.Errorf("the embedded examples.json cannot be read: %w", err)
	}
	return examples, nil
}

// Find returns the example with that name.
func Find(name string) (Example, error) {
	examples, err := Examples()
	if err != nil {
		return Example{}, err
	}
	for _, example := range examples {
		if example.Name == name {
			return example, nil
		}
	}
	return Example{}, fmt.Errorf("no sample key has the name %q", name)
}
