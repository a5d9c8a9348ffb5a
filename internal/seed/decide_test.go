package seed

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/keystore"
)

// TestExamplesHaveTheirVerdicts follows the validation path without a server: secret,
// hash, document, record, verdict.
func TestExamplesHaveTheirVerdicts(t *testing.T) {
	skipWhileUpdating(t)
	byHash := documentsByHash(t)
	examples, err := Examples()
	if err != nil {
		t.Fatal(err)
	}
	if len(examples) < 8 {
		t.Fatalf("only %d examples", len(examples))
	}
	for _, example := range examples {
		hash, err := apikey.Parse(apikey.DefaultPrefix, example.Key)
		if err != nil {
			t.Fatalf("%s: %v", example.Name, err)
		}
		doc, found := byHash[hash]
		if !found {
			t.Fatalf("%s: no document has its hash", example.Name)
		}
		if doc.Record.KeyID != example.ID {
			t.Errorf("%s: its document has the ID %q, examples.json has %q", example.Name, doc.Record.KeyID, example.ID)
		}
		for _, ask := range example.Asks {
			// Before 2099 and after 2024, whenever the test runs.
			now := time.Date(2030, time.January, 1, 0, 0, 0, 0, time.UTC)
			if code := apikey.Decide(&doc.Record, ask.Request(), now); code.String() != ask.Code {
				t.Errorf("%s, request %+v: %s, want %s", example.Name, ask, code, ask.Code)
			}
		}
	}
}

// TestSampleKeysCoverAllKinds counts the kinds of keys that README.md names.
func TestSampleKeysCoverAllKinds(t *testing.T) {
	skipWhileUpdating(t)
	now := time.Date(2030, time.January, 1, 0, 0, 0, 0, time.UTC)
	got := map[string]int{}
	for _, doc := range documentsByHash(t) {
		r := &doc.Record
		if r.Defect != "" {
			t.Errorf("the document of %s has a defect: %s", r.KeyID, r.Defect)
		}
		got[apikey.Decide(r, &apikey.Request{}, now).String()]++
		if r.OrgID != "" {
			got["org"]++
		}
		if r.ProjectID != "" {
			got["project"]++
		}
		if len(r.AllowedIPs) > 0 {
			got["allow-list"]++
		}
	}
	want := map[string]int{"VALID": 137, "EXPIRED": 31, "DISABLED": 21, "FORBIDDEN": 11, "org": 32, "project": 16, "allow-list": 11}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("kinds of sample keys (-want +got):\n%s", diff)
	}
}

func documentsByHash(t *testing.T) map[apikey.Hash]keystore.Document {
	t.Helper()
	docs, err := Documents()
	if err != nil {
		t.Fatal(err)
	}
	byHash := map[apikey.Hash]keystore.Document{}
	for i, raw := range docs {
		doc := keystore.DefaultSchema().Decode(raw)
		if !doc.HasHash {
			t.Fatalf("document %d has no hash", i+1)
		}
		byHash[doc.Hash] = doc
	}
	if len(byHash) != len(docs) {
		t.Fatalf("%d documents share %d hashes", len(docs), len(byHash))
	}
	return byHash
}
