package cli

import (
	"bytes"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.mongodb.org/mongo-driver/v2/bson"
	"go.mongodb.org/mongo-driver/v2/mongo"
	"go.mongodb.org/mongo-driver/v2/mongo/options"
	"go.yaml.in/yaml/v3"

	"github.com/keytail/keytail/internal/devmongo"
	"github.com/keytail/keytail/internal/mongotest"
)

// adopter is a team with a collection of its own.
type adopter struct {
	t    *testing.T
	uri  string
	keys *mongo.Collection
	dir  string
}

func newAdopter(t *testing.T, server *mongotest.Server, collection string) *adopter {
	t.Helper()
	database := server.Database(t)
	return &adopter{t, server.URI, server.Client(t, "team").Database(database).Collection(collection), t.TempDir()}
}

func (a *adopter) insert(documents []any) {
	a.t.Helper()
	if _, err := a.keys.InsertMany(a.t.Context(), documents); err != nil {
		a.t.Fatal(err)
	}
}

func (a *adopter) index(field string) {
	a.t.Helper()
	index := mongo.IndexModel{Keys: bson.D{{Key: field, Value: 1}}, Options: options.Index().SetUnique(true)}
	if _, err := a.keys.Indexes().CreateOne(a.t.Context(), index); err != nil {
		a.t.Fatal(err)
	}
}

// file writes a file that only its owner may read.
func (a *adopter) file(name, content string) string {
	a.t.Helper()
	path := filepath.Join(a.dir, name)
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		a.t.Fatal(err)
	}
	return path
}

// propose runs doctor --propose and saves the file.
func (a *adopter) propose(args ...string) (code int, file, stderr string) {
	a.t.Helper()
	args = append([]string{"doctor", "--propose", "--mongodb-uri=" + a.uri, "--database=" + a.keys.Database().Name(), "--collection=" + a.keys.Name()}, args...)
	code, stdout, stderr := finish(a.t, Deps{Stdin: strings.NewReader("")}, args...)
	return code, a.file("keytail.yaml", stdout), stderr
}

// settings reads the file.
func (a *adopter) settings(file string) map[string]string {
	a.t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		a.t.Fatal(err)
	}
	settings := map[string]string{}
	if err := yaml.Unmarshal(content, &settings); err != nil {
		a.t.Fatalf("%v\n%s", err, content)
	}
	return settings
}

// serve starts the real service by the file and returns the verdict of each key.
func (a *adopter) serve(file string, keys ...string) []string {
	a.t.Helper()
	r := start([]string{"serve", "--config=" + file, "--mongodb-uri=" + a.uri, "--addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0", "--drain-delay=0", "--cache-size=8"}, Deps{})
	var line struct {
		Addr string `json:"addr"`
	}
	if err := json.Unmarshal([]byte(r.stderr.waitFor(a.t, `"serving"`)), &line); err != nil {
		a.t.Fatal(err)
	}
	r.stderr.waitFor(a.t, "live")
	var codes []string
	for _, key := range keys {
		codes = append(codes, a.verify("http://"+line.Addr, key))
	}
	r.signal(a.t)
	if code := r.wait(a.t); code != exitOK {
		a.t.Errorf("serve: exit code %d: %s", code, r.stderr)
	}
	return codes
}

func (a *adopter) verify(url, key string) string {
	a.t.Helper()
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: waitTimeout}
	body, err := json.Marshal(map[string]string{"key": key})
	if err != nil {
		a.t.Fatal(err)
	}
	response, err := client.Post(url+"/v1/keys/verify", "application/json", bytes.NewReader(body))
	if err != nil {
		a.t.Fatal(err)
	}
	defer func() { _ = response.Body.Close() }()
	text, err := io.ReadAll(response.Body)
	if err != nil {
		a.t.Fatal(err)
	}
	var verdict struct{ Code string }
	if err := json.Unmarshal(text, &verdict); err != nil {
		a.t.Fatalf("%v: %s", err, text)
	}
	return verdict.Code
}

// publicShape is documents of a public project (internal/propose/testdata/shapes).
type publicShape struct {
	Project, Collection, Unique string
	// Good is a key that is valid, Off one that is switched off, Secret that of
	// HMAC.
	Good, Off, Secret string
	// Mapping is what must be proposed, Advice what must be said instead.
	Mapping   map[string]string
	Advice    []string
	Documents []json.RawMessage
}

func readShape(t *testing.T, path string) publicShape {
	t.Helper()
	content, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	var shape publicShape
	if err := json.Unmarshal(content, &shape); err != nil {
		t.Fatalf("%s: %v", path, err)
	}
	return shape
}

func (s *publicShape) documents(t *testing.T) []any {
	t.Helper()
	documents := make([]any, len(s.Documents))
	for i, text := range s.Documents {
		var document bson.D
		if err := bson.UnmarshalExtJSON(text, false, &document); err != nil {
			t.Fatal(err)
		}
		documents[i] = document
	}
	return documents
}

// TestPublicShapesAreProposedAndServed: documents as public projects write them are
// proposed with the right mapping, and the file serves them. Where no mapping is
// possible, the reason is said.
func TestPublicShapesAreProposedAndServed(t *testing.T) {
	paths, err := filepath.Glob("../propose/testdata/shapes/*.json")
	if err != nil || len(paths) < 8 {
		t.Fatalf("found %d shapes: %v", len(paths), err)
	}
	server := mongotest.StartDevmongo(t, devmongo.Config{})
	for _, path := range paths {
		shape := readShape(t, path)
		t.Run(strings.TrimSuffix(filepath.Base(path), ".json"), func(t *testing.T) {
			a := newAdopter(t, &server.Server, shape.Collection)
			a.insert(shape.documents(t))
			args := []string{"--key-file=" + a.file("key", shape.Good)}
			if shape.Secret != "" {
				args = append(args, "--map-hash-secret-file="+a.file("secret", shape.Secret))
			}
			if shape.Unique != "" && shape.Mapping != nil {
				a.index(shape.Unique)
			}
			code, file, stderr := a.propose(args...)
			if shape.Mapping == nil {
				a.mustAdvise(code, file, stderr, shape.Advice)
				return
			}
			a.mustPropose(code, file, stderr, &shape)
			a.mustServe(file, &shape)
		})
	}
}

func (a *adopter) mustPropose(code int, file, stderr string, shape *publicShape) {
	a.t.Helper()
	settings := a.settings(file)
	if code != exitOK || !strings.Contains(stderr, "its verdict is VALID, as expected") {
		content, _ := os.ReadFile(file)
		a.t.Errorf("exit code %d\n%s\n%s", code, stderr, content)
	}
	for _, key := range []string{"database", "collection", "map_hash_secret_file"} {
		delete(settings, key)
	}
	if diff := cmp.Diff(shape.Mapping, settings); diff != "" {
		a.t.Error(diff)
	}
}

func (a *adopter) mustServe(file string, shape *publicShape) {
	a.t.Helper()
	if code, stdout, stderr := finish(a.t, Deps{}, "doctor", "--config="+file, "--mongodb-uri="+a.uri); code != exitOK {
		a.t.Errorf("doctor: exit code %d\n%s%s", code, stdout, stderr)
	}
	keys, want := []string{shape.Good, "not-a-key-of-anyone"}, []string{"VALID", "NOT_FOUND"}
	if shape.Off != "" {
		keys, want = append(keys, shape.Off), append(want, "DISABLED")
	}
	if diff := cmp.Diff(want, a.serve(file, keys...)); diff != "" {
		a.t.Error(diff)
	}
}

func (a *adopter) mustAdvise(code int, file, stderr string, advice []string) {
	a.t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		a.t.Fatal(err)
	}
	if code != exitFailure {
		a.t.Errorf("exit code %d", code)
	}
	all := strings.Join(strings.Fields(strings.ReplaceAll(string(content), "\n#", "")), " ") + "\n" + stderr
	for _, want := range advice {
		if !strings.Contains(all, want) {
			a.t.Errorf("%q is not said:\n%s", want, all)
		}
	}
}

// trialTokens are the documents of the trial: base64 hashes, revoked, an owner as ObjectId,
// a tenant as string, an expiry in unix seconds.
func trialTokens(n int) (documents []any, good, revoked string) {
	text := func(i int) string { return fmt.Sprintf("acme_live_%032d", i) }
	for i := range n {
		sum := sha256.Sum256([]byte(text(i)))
		documents = append(documents, bson.D{
			{Key: "_id", Value: bson.NewObjectID()},
			{Key: "digest", Value: base64.StdEncoding.EncodeToString(sum[:])},
			{Key: "owner", Value: bson.NewObjectID()},
			{Key: "tenant", Value: fmt.Sprintf("tenant-%04d", i%40)},
			{Key: "revoked", Value: i%50 == 7},
			{Key: "expires", Value: time.Now().Add(time.Duration(i+1) * time.Hour).Unix()},
		})
	}
	return documents, text(2500), text(2507)
}

// TestTheTrialFromZeroIsServed: a collection of 5,000 tokens with conventions of its own
// is proposed with one known key, which is not among the documents read; doctor accepts
// the file, and serve serves it.
func TestTheTrialFromZeroIsServed(t *testing.T) {
	server := mongotest.StartDevmongo(t, devmongo.Config{})
	a := newAdopter(t, &server.Server, "tokens")
	documents, good, revoked := trialTokens(5000)
	a.insert(documents)
	a.index("digest")
	code, file, stderr := a.propose("--key-file=" + a.file("key", good))
	if code != exitOK {
		t.Fatalf("exit code %d: %s", code, stderr)
	}
	a.mustBeInTheDocs(file)
	shape := publicShape{Good: good, Off: revoked}
	a.mustServe(file, &shape)
}

// mustBeInTheDocs checks that the page shows this file, of a database called app.
func (a *adopter) mustBeInTheDocs(file string) {
	a.t.Helper()
	content, err := os.ReadFile(file)
	if err != nil {
		a.t.Fatal(err)
	}
	page, err := os.ReadFile("../../docs/adopt-your-collection.md")
	if err != nil {
		a.t.Fatal(err)
	}
	shown := strings.Replace(string(content), a.keys.Database().Name(), "app", 1)
	if !strings.Contains(string(page), "```yaml\n"+shown+"```\n") {
		a.t.Errorf("docs/adopt-your-collection.md does not show this file:\n%s", shown)
	}
}
