package config

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the configuration table in README.md anew")

const (
	readme     = "../../README.md"
	tableBegin = "<!-- config:begin -->\n"
	tableEnd   = "<!-- config:end -->"
)

// TestREADMETableIsMadeFromTheFlags compares the table between the markers of
// README.md with the flags; with -update it writes it.
func TestREADMETableIsMadeFromTheFlags(t *testing.T) {
	content, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(content), tableBegin)
	have, tail, closed := strings.Cut(rest, tableEnd)
	if !found || !closed {
		t.Fatalf("README.md lacks the markers %q and %q", tableBegin, tableEnd)
	}
	if have == Table() {
		return
	}
	if !*update {
		t.Fatalf("the configuration table in README.md differs from the flags; write it anew with\n\n\tgo test ./internal/config -run README -update\n\nWant:\n%s\nHave:\n%s", Table(), have)
	}
	if err := os.WriteFile(readme, []byte(head+tableBegin+Table()+tableEnd+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestTableHasTheDocumentedNames: names on which others rely.
func TestTableHasTheDocumentedNames(t *testing.T) {
	table := Table()
	for _, row := range []string{
		"| `--mongodb-uri` | `KEYTAIL_MONGODB_URI` | `mongodb_uri` |  |",
		"| `--database` | `KEYTAIL_DATABASE` | `database` |  |",
		"| `--collection` | `KEYTAIL_COLLECTION` | `collection` | `api_keys` |",
		"| `--ensure-schema` | `KEYTAIL_ENSURE_SCHEMA` | `ensure_schema` | off |",
		"| `--addr` | `KEYTAIL_ADDR` | `addr` | `127.0.0.1:8080` |",
		"| `--ops-addr` | `KEYTAIL_OPS_ADDR` | `ops_addr` | `127.0.0.1:9090` |",
		"| `--max-stale` | `KEYTAIL_MAX_STALE` | `max_stale` | `15s` |",
		"| `--heartbeat-interval` | `KEYTAIL_HEARTBEAT_INTERVAL` | `heartbeat_interval` | `1s` |",
		"| `--cache-size` | `KEYTAIL_CACHE_SIZE` | `cache_size` | `512` |",
		"| `--key-sources` | `KEYTAIL_KEY_SOURCES` | `key_sources` | `bearer,x-api-key` |",
		"| `--trusted-proxies` | `KEYTAIL_TRUSTED_PROXIES` | `trusted_proxies` |  |",
		"| `--drain-delay` | `KEYTAIL_DRAIN_DELAY` | `drain_delay` | `5s` |",
		"| `--track-usage` | `KEYTAIL_TRACK_USAGE` | `track_usage` | on |",
		"| `--dev` | `KEYTAIL_DEV` | `dev` | off |",
		"| `--dev-mongodb-addr` | `KEYTAIL_DEV_MONGODB_ADDR` | `dev_mongodb_addr` | `127.0.0.1:27127` |",
		"| `--config` | `KEYTAIL_CONFIG` |  |  |",
	} {
		if !strings.Contains(table, row) {
			t.Errorf("the table lacks %s:\n%s", row, table)
		}
	}
}

// upper is a flag's name as the end of its environment variable's.
func upper(flag string) string { return strings.ToUpper(Key(flag)) }

// TestREADMEMappingIsOne: the example of "Your collection" can be pasted.
func TestREADMEMappingIsOne(t *testing.T) {
	content, err := os.ReadFile(readme)
	if err != nil {
		t.Fatal(err)
	}
	_, rest, _ := strings.Cut(string(content), "## Your collection\n")
	_, rest, found := strings.Cut(rest, "```yaml\n")
	example, _, closed := strings.Cut(rest, "```\n")
	if !found || !closed {
		t.Fatal("README.md has no example")
	}
	c, _ := mustLoad(t, "--config", yamlFile(t, example))
	if c.Collection != "customerKeys" || c.Map.Hash != "keyHash" || c.Map.HashAfter != "sk_live_" || c.Map.ActiveForm != "no-date" || c.Map.OrgID != "" || c.Map.Name != "name" {
		t.Errorf("read as %+v", c.Map)
	}
}
