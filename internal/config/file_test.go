package config

import (
	"fmt"
	"reflect"
	"strings"
	"testing"
)

// TestFileHasEveryFlag: the file can set each flag, by its key.
func TestFileHasEveryFlag(t *testing.T) {
	values := map[string]string{
		"mongodb_uri": "mongodb://a/b", "database": "d", "collection": "c", "ensure_schema": "true", "addr": "a:1", "ops_addr": "a:2",
		"max_stale": "7s", "heartbeat_interval": "2s", "cache_size": "7", "preload": "off", "audit_interval": "7m", "expiry_notice": "7h", "key_prefix": "p", "key_sources": "[query:k]", "trusted_proxies": "[10.0.0.0/8]",
		"drain_delay": "7s", "dev": "true", "dev_mongodb_addr": "a:3", "log_level": "warn", "log_format": "console", "decision_log_accepts": "0.5", "decision_log_mask": "[user_id]", "default_scopes": "[a:read]", "track_usage": "false", "usage_interval": "2m", "admin_audit_reads": "false", "require_binding": "true", "hide_credentials": "true", "grpc_reflection": "true", "max_connections": "500", "unix_socket_mode": "'0600'", "forward_auth": "false", "auth_caller_networks": "[10.0.0.0/8]", "auth_headers": "[X-Auth-User-Id]", "trace_caller_networks": "[10.0.0.0/8]",
	}
	var lines []string
	for _, flag := range modelFlags() {
		if flag.Name == "config" {
			continue
		}
		value, known := values[Key(flag.Name)]
		switch {
		case !known && flag.Target.Kind() == reflect.String:
			value = "another-" + flag.Name
		case !known:
			t.Fatalf("add %s to this test", flag.Name)
		}
		lines = append(lines, fmt.Sprintf("%s: %s", Key(flag.Name), value))
	}
	lines = append(lines, "policies: {a: {}}")
	before, _ := mustLoad(t)
	after, given := mustLoad(t, "--config", yamlFile(t, lines...))
	for i := range reflect.TypeFor[Config]().NumField() {
		if reflect.DeepEqual(reflect.ValueOf(*before).Field(i).Interface(), reflect.ValueOf(*after).Field(i).Interface()) {
			t.Errorf("the file does not change %s", reflect.TypeFor[Config]().Field(i).Name)
		}
	}
	if len(given) != len(lines) { // with --config and without policies, which are no flag
		t.Errorf("given %v by %d lines", given.Names(), len(lines))
	}
}

func TestFileIsStrict(t *testing.T) {
	for name, test := range map[string]struct {
		lines []string
		want  []string
	}{
		"unknown":       {[]string{"max_stale: 1s", "max_stail: 2s"}, []string{`line 2: unknown key "max_stail"`}},
		"like the flag": {[]string{"max-stale: 1s"}, []string{`line 1: unknown key "max-stale"; the key is "max_stale"`}},
		"like the env":  {[]string{"KEYTAIL_MAX_STALE: 1s"}, []string{`the key is "max_stale"`}},
		"config itself": {[]string{"config: other.yaml"}, []string{`line 1: unknown key "config"`}},
		"twice": {
			[]string{"max_stale: 1s", "addr: a:1", "max_stale: 2s"},
			[]string{`line 3: the key "max_stale" is repeated; it is already in line 1`},
		},
		"two mistakes": {
			[]string{"cache_size: lots", "", "ensure_schema: 7"},
			[]string{"line 1: cache_size must be a whole number", "line 3: ensure_schema must be true or false"},
		},
		"number for duration":  {[]string{"max_stale: 15"}, []string{"line 1: max_stale must be a duration with its unit"}},
		"bad duration":         {[]string{"max_stale: fifteen"}, []string{`line 1: max_stale must be a duration with its unit, such as 500ms, 15s or 2m, not "fifteen"`}},
		"text for number":      {[]string{"decision_log_accepts: half"}, []string{"line 1: decision_log_accepts must be a number, such as 0.01"}},
		"fraction":             {[]string{"cache_size: 1.5"}, []string{"line 1: cache_size must be a whole number"}},
		"huge":                 {[]string{"cache_size: 99999999999999999999"}, []string{"line 1: cache_size must be a whole number"}},
		"quoted bool":          {[]string{`dev: "true"`}, []string{"line 1: dev must be true or false"}},
		"number for text":      {[]string{"database: 2026"}, []string{"line 1: database must be a string; put it in quotes"}},
		"no value":             {[]string{"addr:"}, []string{"line 1: addr must be a string; it has no value"}},
		"list for text":        {[]string{"addr: [a, b]"}, []string{"line 1: addr must be a string, not a list"}},
		"text for list":        {[]string{"key_sources: bearer"}, []string{"line 1: key_sources must be a list of strings"}},
		"number in list":       {[]string{"key_sources: [bearer, 7]"}, []string{"line 1: key_sources must be a list of strings without commas; item 2 is not"}},
		"comma in list":        {[]string{"key_sources: ['bearer,x']"}, []string{"item 1 is not"}},
		"mapping":              {[]string{"addr: {host: a}"}, []string{"line 1: addr must be a string, not a list"}},
		"alias":                {[]string{"addr: &a x:1", "ops_addr: *a"}, []string{"line 2: ops_addr must be a string, not a list, mapping or alias"}},
		"merge":                {[]string{"<<: {addr: x}"}, []string{`line 1: unknown key "<<"`}},
		"list at the root":     {[]string{"- addr: x"}, []string{"line 1: the file must be a mapping"}},
		"text at the root":     {[]string{"max_stale=15s"}, []string{"line 1: the file must be a mapping"}},
		"second document":      {[]string{"addr: a:1", "---", "addr: a:2"}, []string{"a second YAML document begins"}},
		"complex key":          {[]string{"? [a]", ": b"}, []string{"line 1: a key must be plain text"}},
		"not YAML":             {[]string{"addr: a:1", "ops_addr: [a"}, []string{"this is not YAML: line"}},
		"secret as a key":      {[]string{"mongodb://root:hunter2@db: 1"}, []string{"unknown key \"mongodb://…@db\""}},
		"secret at the root":   {[]string{"mongodb://root:hunter2@db"}, []string{"the file must be a mapping"}},
		"secret in wrong type": {[]string{"max_stale: mongodb://root:hunter2@db/keys"}, []string{"not a text of 30 bytes"}},
	} {
		t.Run(name, func(t *testing.T) {
			path := yamlFile(t, test.lines...)
			_, _, err := load(t, "--config", path)
			wantAll(t, err, test.want...)
			if !strings.HasPrefix(err.Error(), path) {
				t.Errorf("the error does not begin with the file's name: %v", err)
			}
			if strings.Contains(err.Error(), "hunter2") {
				t.Errorf("the error shows a secret: %v", err)
			}
		})
	}
}

func TestEmptyFiles(t *testing.T) {
	for _, content := range []string{"", "# nothing yet", "---", "~"} {
		if _, _, err := load(t, "--config", yamlFile(t, content)); err != nil {
			t.Errorf("a file with %q: %v", content, err)
		}
	}
}

func TestMissingFile(t *testing.T) {
	_, _, err := load(t, "--config", t.TempDir()+"/none.yaml", "--cache-size=x")
	wantAll(t, err, "the file of --config cannot be read", "--cache-size")
}
