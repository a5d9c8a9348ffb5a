// Package deploy tests the manifests and the chart for Kubernetes, the systemd unit,
// and the rules for scanners that look for leaked keys. How the other files here work
// is tested in cmd/server and by .ci/compose.
package deploy

import (
	"bytes"
	"encoding/json"
	"math"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/keytail/keytail/internal/apikey"
	"github.com/keytail/keytail/internal/seed"
	"github.com/keytail/keytail/internal/testprogram"
)

// rule is what both files say.
type rule struct {
	regex    *regexp.Regexp
	keywords []string
	entropy  float64
}

// gitleaksRule reads the three lines of gitleaks.toml. TestGitleaksFindsKeys shows
// that gitleaks reads them in the same way.
func gitleaksRule(t *testing.T) rule {
	t.Helper()
	content, err := os.ReadFile("gitleaks.toml")
	if err != nil {
		t.Fatal(err)
	}
	field := func(name, pattern string) string {
		found := regexp.MustCompile(`(?m)^`+name+` = `+pattern+`$`).FindAllSubmatch(content, -1)
		if len(found) != 1 {
			t.Fatalf("gitleaks.toml: got %d lines with %s, want one", len(found), name)
		}
		return string(found[0][1])
	}
	entropy, err := strconv.ParseFloat(field("entropy", `([\d.]+)`), 64)
	if err != nil {
		t.Fatal(err)
	}
	return rule{regexp.MustCompile(field("regex", `'''(.+)'''`)), []string{field("keywords", `\["([^"]+)"\]`)}, entropy}
}

func trufflehogRule(t *testing.T) rule {
	t.Helper()
	content, err := os.ReadFile("trufflehog.yaml")
	if err != nil {
		t.Fatal(err)
	}
	var file struct {
		Detectors []struct {
			Name     string
			Keywords []string
			Regex    map[string]string
			Entropy  float64
		}
	}
	decoder := yaml.NewDecoder(bytes.NewReader(content))
	decoder.KnownFields(true)
	if err := decoder.Decode(&file); err != nil || len(file.Detectors) != 1 || len(file.Detectors[0].Regex) != 1 {
		t.Fatalf("trufflehog.yaml: got %+v, %v, want one detector with one regex", file, err)
	}
	d := file.Detectors[0]
	return rule{regexp.MustCompile(d.Regex["key"]), d.Keywords, d.Entropy}
}

// find applies the rule as both scanners do: a keyword in any case, then the regular
// expression, then the entropy of the group.
func (r rule) find(text string) []string {
	if !strings.Contains(strings.ToLower(text), r.keywords[0]) {
		return nil
	}
	var found []string
	for _, match := range r.regex.FindAllStringSubmatch(text, -1) {
		if entropy(match[1]) > r.entropy {
			found = append(found, match[1])
		}
	}
	return found
}

// entropy is Shannon's, in bits a character.
func entropy(text string) (bits float64) {
	counts := map[rune]float64{}
	for _, c := range text {
		counts[c]++
	}
	for _, n := range counts {
		share := n / float64(len(text))
		bits -= share * math.Log2(share)
	}
	return bits
}

// newKeys makes keys from a fixed random sequence.
func newKeys(t *testing.T, n int) []string {
	t.Helper()
	random := rand.NewChaCha8([32]byte([]byte("keys for the test of the scanner")))
	keys := make([]string, 0, n)
	for range n {
		key, err := apikey.Generate(apikey.DefaultPrefix, random)
		if err != nil {
			t.Fatal(err)
		}
		keys = append(keys, key)
	}
	return keys
}

// places are texts in which a key leaks.
func places(key string) []string {
	return []string{
		key, "KEYTAIL_KEY=" + key, "Authorization: Bearer " + key, `{"key":"` + key + `","scopes":[]}`, `"first line\n` + key + `\n"`,
		"https://api.example.com/?api_key=" + key + "&page=2", "?next=%2F%3Fapi_key%3D" + key + "%26page%3D2", "key: '" + key + "'.", "(" + key + ")",
		`{"body":"\u003ctoken\u003e` + key + `\u003c/token\u003e"}`, `b'key\x3d` + key + `'`, "?next=%252F%253Fapi_key%253D" + key, "key=3D" + key + "=20",
		"token \x1b[1;32m" + key + "\x1b[0m", "\x1b[01;31m\x1b[K" + key + "\x1b[m\x1b[K", `{"log":"\u001b[32m` + key + `\u001b[0m"}`,
	}
}

// nearMisses are no keys of keytail.
func nearMisses(key string) []string {
	return []string{
		key[:len(key)-1], key + "0", "x" + key, "a_" + key, key + "_b", key[:20] + "-" + key[21:], key[:20] + "é" + key[21:],
		"KT_" + key[3:], "kt-" + key[3:], "kx_" + key[3:], "kt_" + strings.Repeat("0", 49), "kt_" + strings.Repeat("0123456789", 5)[:49],
	}
}

// TestRulesMatchTheFormat compares the rules in the files with what Generate makes.
// trufflehog itself is not run: it cannot be had as a Go module.
func TestRulesMatchTheFormat(t *testing.T) {
	t.Parallel()
	keys := newKeys(t, 1000)
	for name, r := range map[string]rule{"gitleaks": gitleaksRule(t), "trufflehog": trufflehogRule(t)} {
		for _, key := range keys {
			if found := r.find(key); !slices.Equal(found, []string{key}) {
				t.Fatalf("%s: found %q in the key %s (entropy %.2f)", name, found, key, entropy(key))
			}
		}
		for _, text := range places(keys[0]) {
			if found := r.find(text); !slices.Equal(found, keys[:1]) {
				t.Errorf("%s: found %q in %s", name, found, text)
			}
		}
		for _, text := range nearMisses(keys[0]) {
			if found := r.find(text); found != nil {
				t.Errorf("%s: found %q in %s, which is no key", name, found, text)
			}
		}
	}
}

// gitleaks scans a file or directory of the repository, and returns the secrets that
// it finds, each once, in alphabetical order.
func gitleaks(t *testing.T, config, target string) []string {
	t.Helper()
	path, err := testprogram.Find(testprogram.Program{
		Name: "gitleaks", Variable: "KEYTAIL_TEST_GITLEAKS", Places: []string{testprogram.InVenv("gitleaks")},
		Install: "go build -C tools/gitleaks -o DIR/gitleaks github.com/zricethezav/gitleaks/v8, and set KEYTAIL_TEST_GITLEAKS=DIR/gitleaks",
	})
	testprogram.SkipIfMissing(t, "gitleaks", err)
	var stdout, stderr bytes.Buffer
	cmd := exec.CommandContext(t.Context(), path, "dir", "--no-banner", "--config", config, "--exit-code", "0", "--report-format", "json", "--report-path", "-", target)
	cmd.Dir, cmd.Stdout, cmd.Stderr = "..", &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("gitleaks: %v\n%s", err, &stderr)
	}
	var findings []struct{ RuleID, Secret string }
	if err := json.Unmarshal(stdout.Bytes(), &findings); err != nil {
		t.Fatalf("gitleaks: %v\n%s%s", err, &stdout, &stderr)
	}
	var secrets []string
	for _, f := range findings {
		if f.RuleID != "keytail-api-key" {
			t.Errorf("got a finding of the rule %q", f.RuleID)
		}
		secrets = append(secrets, f.Secret)
	}
	slices.Sort(secrets)
	return slices.Compact(secrets)
}

const (
	shipped = "deploy/gitleaks.toml"
	ours    = ".gitleaks.toml" // with an exception for the sample keys
)

// TestGitleaksFindsKeys runs gitleaks over keys and near misses.
func TestGitleaksFindsKeys(t *testing.T) {
	t.Parallel()
	keys := newKeys(t, 200)
	var leaks, misses strings.Builder
	for i, key := range keys {
		all := places(key)
		leaks.WriteString(all[i%len(all)] + "\n")
		misses.WriteString(strings.Join(nearMisses(key), "\n") + "\n")
	}
	for name, test := range map[string]struct {
		content string
		want    []string
	}{
		"leaks":  {leaks.String(), slices.Sorted(slices.Values(keys))},
		"misses": {misses.String(), nil},
	} {
		file := filepath.Join(t.TempDir(), name)
		if err := os.WriteFile(file, []byte(test.content), 0o600); err != nil {
			t.Fatal(err)
		}
		if got := gitleaks(t, shipped, file); !slices.Equal(got, test.want) {
			t.Errorf("%s: found %d of %d: %q", name, len(got), len(test.want), got)
		}
	}
}

// TestThisRepositoryHasOnlySampleKeys: the rule finds the keys in the documents, and
// the exception covers these and no more.
func TestThisRepositoryHasOnlySampleKeys(t *testing.T) {
	t.Parallel()
	examples, err := seed.Examples()
	if err != nil {
		t.Fatal(err)
	}
	var samples []string
	for _, e := range examples {
		if strings.HasPrefix(e.Key, "kt_") {
			samples = append(samples, e.Key)
		}
	}
	slices.Sort(samples)
	if got := gitleaks(t, shipped, "testdata"); !slices.Equal(got, samples) {
		t.Errorf("testdata: found %q, want the sample keys %q", got, samples)
	}
	entries, err := os.ReadDir("..")
	if err != nil {
		t.Fatal(err)
	}
	for _, entry := range entries {
		if strings.HasPrefix(entry.Name(), ".") { // of git, and the packages of .ci/run
			continue
		}
		for _, key := range gitleaks(t, ours, entry.Name()) {
			t.Errorf("%s has the key %s, which is no sample key", entry.Name(), key)
		}
	}
}
