package config

import (
	"flag"
	"os"
	"strings"
	"testing"
)

var update = flag.Bool("update", false, "write the tables in docs/configuration.md anew")

const (
	configurationPage = "../../docs/configuration.md"
	adoptPage         = "../../docs/adopt-your-collection.md"
	tableBegin        = "<!-- config:begin -->\n"
	tableEnd          = "<!-- config:end -->"
)

// TestDocsTablesAreMadeFromTheFlags compares the tables between the markers of
// docs/configuration.md with the flags; with -update it writes them.
func TestDocsTablesAreMadeFromTheFlags(t *testing.T) {
	content, err := os.ReadFile(configurationPage)
	if err != nil {
		t.Fatal(err)
	}
	head, rest, found := strings.Cut(string(content), tableBegin)
	have, tail, closed := strings.Cut(rest, tableEnd)
	if !found || !closed {
		t.Fatalf("%s lacks the markers %q and %q", configurationPage, tableBegin, tableEnd)
	}
	if have == Markdown() {
		return
	}
	if !*update {
		t.Fatalf("the tables in %s differ from the flags; write them anew with\n\n\tgo test ./internal/config -run Docs -update", configurationPage)
	}
	if err := os.WriteFile(configurationPage, []byte(head+tableBegin+Markdown()+tableEnd+tail), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestEachFlagIsInOneSection: a new flag has to be given a place on the page.
func TestEachFlagIsInOneSection(t *testing.T) {
	for _, flag := range modelFlags() {
		var in []string
		for i := range sections {
			if sections[i].has(flag.Name) {
				in = append(in, sections[i].title)
			}
		}
		if len(in) != 1 {
			t.Errorf("--%s is in the sections %q: list it in exactly one (table.go)", flag.Name, in)
		}
	}
}

// TestNamesThatOthersRelyOn: flags, variables, keys and defaults that must not
// change within a major version.
func TestNamesThatOthersRelyOn(t *testing.T) {
	table := Markdown()
	for _, row := range []string{
		"| `--mongodb-uri` | `KEYTAIL_MONGODB_URI` | `mongodb_uri` |  |",
		"| `--database` | `KEYTAIL_DATABASE` | `database` |  |",
		"| `--collection` | `KEYTAIL_COLLECTION` | `collection` | `api_keys` |",
		"| `--ensure-schema` | `KEYTAIL_ENSURE_SCHEMA` | `ensure_schema` | off |",
		"| `--addr` | `KEYTAIL_ADDR` | `addr` | `127.0.0.1:8080` |",
		"| `--ops-addr` | `KEYTAIL_OPS_ADDR` | `ops_addr` | `127.0.0.1:9090` |",
		"| `--admin-addr` | `KEYTAIL_ADMIN_ADDR` | `admin_addr` | `127.0.0.1:9091` |",
		"| `--max-stale` | `KEYTAIL_MAX_STALE` | `max_stale` | `15s` |",
		"| `--heartbeat-interval` | `KEYTAIL_HEARTBEAT_INTERVAL` | `heartbeat_interval` | `0s` |",
		"| `--stream-scope` | `KEYTAIL_STREAM_SCOPE` | `stream_scope` | `database` |",
		"| `--preload` | `KEYTAIL_PRELOAD` | `preload` | `auto` |",
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
			t.Errorf("the tables lack %s:\n%s", row, table)
		}
	}
}

// upper is a flag's name as the end of its environment variable's.
func upper(flag string) string { return strings.ToUpper(Key(flag)) }

// TestDocsMappingsCanBePasted loads the examples of docs/adopt-your-collection.md. One of them
// shows every kind of setting.
func TestDocsMappingsCanBePasted(t *testing.T) {
	content, err := os.ReadFile(adoptPage)
	if err != nil {
		t.Fatal(err)
	}
	whole := false
	for _, part := range strings.Split(string(content), "```yaml\n")[1:] {
		example, _, closed := strings.Cut(part, "```\n")
		if !closed {
			t.Fatalf("%s has an example without an end", adoptPage)
		}
		c, _ := mustLoad(t, "--config", yamlFile(t, example))
		whole = whole || c.Collection == "customerKeys" && c.Map.Hash == "keyHash" && c.Map.HashAfter == "sk_live_" &&
			c.Map.ActiveForm == "no-date" && c.Map.OrgID == "" && c.Map.Name == "name"
	}
	if !whole {
		t.Errorf("no example of %s is read as the mapping of customerKeys", adoptPage)
	}
}
