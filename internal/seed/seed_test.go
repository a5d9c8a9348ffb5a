package seed

import (
	"bytes"
	"encoding/json"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
)

var update = flag.Bool("update", false, "rewrite testdata/api_keys.json, examples.json and README.md")

const dir = "../../testdata"

// TestFilesAreReproducible generates the files and compares them with those in the
// repository. With -update it writes them.
func TestFilesAreReproducible(t *testing.T) {
	g, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{
		"api_keys.json": documentsFile(t, g.docs),
		"examples.json": examplesFile(t, g.examples),
		"README.md":     readmeFile(g.examples),
	} {
		path := filepath.Join(dir, name)
		if *update {
			if err := os.WriteFile(path, content, 0o644); err != nil {
				t.Fatal(err)
			}
			continue
		}
		have, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(string(content), string(have)); diff != "" {
			t.Errorf("%s differs from the generated file; rewrite it with `go test ./internal/seed -update` (-generated +file):\n%s", name, diff)
		}
	}
}

// Relaxed Extended JSON must not change a type.
func TestFileHasTheGeneratedDocuments(t *testing.T) {
	skipWhileUpdating(t)
	g, err := generate()
	if err != nil {
		t.Fatal(err)
	}
	docs, err := Documents()
	if err != nil {
		t.Fatal(err)
	}
	if len(docs) != 200 || len(g.docs) != 200 {
		t.Fatalf("%d documents in the file and %d generated, want 200 of each", len(docs), len(g.docs))
	}
	for i, doc := range g.docs {
		want, err := bson.Marshal(doc)
		if err != nil {
			t.Fatal(err)
		}
		if !bytes.Equal(want, docs[i]) {
			t.Errorf("document %d:\ngenerated %s\nread      %s", i+1, bson.Raw(want), docs[i])
		}
	}
}

func TestFindReturnsAnExampleByName(t *testing.T) {
	skipWhileUpdating(t)
	for _, name := range []string{Valid, Expired, Scoped} {
		if example, err := Find(name); err != nil || example.Name != name {
			t.Errorf("Find(%q) = %q, %v", name, example.Name, err)
		}
	}
	if _, err := Find("nobody"); err == nil || !strings.Contains(err.Error(), `"nobody"`) {
		t.Errorf("Find of an unknown name: %v", err)
	}
}

// skipWhileUpdating skips tests that read the embedded files, which are the old ones.
func skipWhileUpdating(t *testing.T) {
	t.Helper()
	if *update {
		t.Skip("the files are being written; run again without -update")
	}
}

// documentsFile is a JSON array with one document per line.
func documentsFile(t *testing.T, docs []bson.D) []byte {
	t.Helper()
	lines := make([]string, len(docs))
	for i, doc := range docs {
		line, err := bson.MarshalExtJSON(doc, false, false)
		if err != nil {
			t.Fatal(err)
		}
		lines[i] = string(line)
	}
	return []byte("[\n" + strings.Join(lines, ",\n") + "\n]\n")
}

func examplesFile(t *testing.T, examples []Example) []byte {
	t.Helper()
	content, err := json.MarshalIndent(examples, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	return append(content, '\n')
}

func readmeFile(examples []Example) []byte {
	var b strings.Builder
	b.WriteString(readmeHead)
	for _, example := range examples {
		fmt.Fprintf(&b, "| %s | `%s` | %s | ", example.Name, example.Key, example.Purpose)
		for i, ask := range example.Asks {
			if i > 0 {
				b.WriteString("; ")
			}
			fmt.Fprintf(&b, "%s: `%s`", askText(ask), ask.Code)
		}
		b.WriteString(" |\n")
	}
	return []byte(b.String())
}

func askText(ask Ask) string {
	var parts []string
	if len(ask.Scopes) > 0 {
		parts = append(parts, "scopes "+strings.Join(ask.Scopes, " "))
	}
	if ask.OrgID != "" {
		parts = append(parts, "org "+ask.OrgID)
	}
	if ask.ProjectID != "" {
		parts = append(parts, "project "+ask.ProjectID)
	}
	if ask.RequireOrg {
		parts = append(parts, "an org required")
	}
	if ask.IP.IsValid() {
		parts = append(parts, "from "+ask.IP.String())
	}
	if len(parts) == 0 {
		return "no requirements"
	}
	return strings.Join(parts, ", ")
}

const readmeHead = `# Sample keys

` + "`api_keys.json`" + ` holds 200 documents in the layout that keytail expects by default (collection ` + "`api_keys`" + `): a JSON
array, one document per line, in relaxed MongoDB Extended JSON. ` + "`keytail --dev`" + ` loads it into its in-memory server. To
load it into a MongoDB server:

    mongoimport --uri "$URI" --collection api_keys --jsonArray --file testdata/api_keys.json

Among them are keys that are valid, expired (in 2024), disabled, bound to an organisation or a project, restricted to
networks, and with wildcard scopes. IDs are ObjectIds, strings, UUIDs and integers. Only the keys below have a known
secret (` + "`examples.json`" + ` has them for programs). They are public: **never use them in production.**

` + "`api_keys.json`, `examples.json`" + ` and this file are written by ` + "`go test ./internal/seed -update`" + `, from a fixed random sequence.

| name | key | purpose | request: verdict |
|---|---|---|---|
`
