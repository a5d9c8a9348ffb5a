package config

import (
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
)

func TestDefaults(t *testing.T) {
	got, given := mustLoad(t)
	want := &Config{
		Collection: "api_keys", Addr: "127.0.0.1:8080", OpsAddr: "127.0.0.1:9090",
		MaxStale: 15 * time.Second, CacheSize: 512, Preload: "auto", AuditInterval: time.Hour, ExpiryNotice: 14 * 24 * time.Hour, KeyPrefix: "kt", KeySources: []string{"bearer", "x-api-key"}, UnixSocketMode: "0660",
		ForwardAuth: true,
		DrainDelay:  5 * time.Second, DevMongoDBAddr: "127.0.0.1:27127", LogLevel: "info", LogFormat: "json", DecisionLogAccepts: 0.01,
		StreamScope: "database", ReadPreference: "primary", AdminAddr: "127.0.0.1:9091", AdminAuditReads: true, TrackUsage: true,
		Map: Mapping{
			Hash: "key_hash", HashAlgorithm: "sha256", HashEncoding: "hex", Active: "is_active", UserID: "user_id", OrgID: "org_id",
			ProjectID: "project_id", Name: "name", Scopes: "scopes", ScopesForm: "array", AllowedIPs: "allowed_ips",
			ExpiresAt: "expires_at", Metadata: "metadata", KeyPrefix: "key_prefix", CreatedAt: "created_at",
			LastUsed: "last_used", UsageCount: "usage_count", UserIDForm: "string", OrgIDForm: "string", ProjectIDForm: "string",
		},
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("defaults (-want +got):\n%s", diff)
	}
	if len(given) != 0 {
		t.Errorf("given without anything: %v", given.Names())
	}
}

// TestPrecedence: a flag overrides the environment, the environment the file, and
// the file the default, for each kind of value.
func TestPrecedence(t *testing.T) {
	for name, test := range map[string]struct {
		flag, env, file string
		read            func(*Config) any
		def             any
		fromFile        any
		fromEnv         any
		fromFlag        any
	}{
		"max-stale": {
			"--max-stale=4s", "3s", "max_stale: 2s",
			func(c *Config) any { return c.MaxStale }, 15 * time.Second, 2 * time.Second, 3 * time.Second, 4 * time.Second,
		},
		"cache-size":    {"--cache-size=4", "3", "cache_size: 2", func(c *Config) any { return c.CacheSize }, 512, 2, 3, 4},
		"ensure-schema": {"--ensure-schema=true", "false", "ensure_schema: true", func(c *Config) any { return c.EnsureSchema }, false, true, false, true},
		"decision-log-accepts": {
			"--decision-log-accepts=0.75", "0.5", "decision_log_accepts: 1",
			func(c *Config) any { return c.DecisionLogAccepts }, 0.01, 1.0, 0.5, 0.75,
		},
		"collection": {"--collection=d", "c", "collection: b", func(c *Config) any { return c.Collection }, "api_keys", "b", "c", "d"},
		"key-sources": {
			"--key-sources=query:d,bearer", "query:c", "key_sources: [query:b, cookie:b]",
			func(c *Config) any { return c.KeySources },
			[]string{"bearer", "x-api-key"},
			[]string{"query:b", "cookie:b"},
			[]string{"query:c"},
			[]string{"query:d", "bearer"},
		},
	} {
		t.Run(name, func(t *testing.T) {
			expect := func(want any, args ...string) {
				t.Helper()
				c, _ := mustLoad(t, args...)
				if diff := cmp.Diff(want, test.read(c)); diff != "" {
					t.Errorf("with %q (-want +got):\n%s", args, diff)
				}
			}
			path := yamlFile(t, test.file)
			expect(test.def)
			expect(test.fromFile, "--config", path)
			expect(test.fromFlag, "--config", path, test.flag)
			t.Setenv("KEYTAIL_CONFIG", path)
			expect(test.fromFile)
			t.Setenv("KEYTAIL_"+upper(name), test.env)
			expect(test.fromEnv)
			expect(test.fromEnv, "--config", path)
			expect(test.fromFlag, test.flag)
		})
	}
}

func TestGivenKnowsEverySource(t *testing.T) {
	t.Setenv("KEYTAIL_ADDR", "127.0.0.1:1")
	_, given := mustLoad(t, "--config", yamlFile(t, "ops_addr: 127.0.0.1:2"), "--max-stale=1s")
	if diff := cmp.Diff([]string{"addr", "config", "max-stale", "ops-addr"}, given.Names()); diff != "" {
		t.Errorf("given (-want +got):\n%s", diff)
	}
}

func TestDevChangesOnlyDefaults(t *testing.T) {
	plain, _ := mustLoad(t, "--dev")
	if !plain.EnsureSchema || plain.DrainDelay != 0 || plain.LogFormat != "console" || plain.Database != "keytail" {
		t.Errorf("--dev alone: %+v", plain)
	}
	c, _ := mustLoad(t, "--dev", "--ensure-schema=false", "--drain-delay=1s", "--log-format=json", "--database=mine")
	if c.EnsureSchema || c.DrainDelay != time.Second || c.LogFormat != "json" || c.Database != "mine" {
		t.Errorf("--dev with its defaults overridden: %+v", c)
	}
}

// TestActiveFormAlwaysHasNoField: it removes the default name of the field, but
// not one that is given.
func TestActiveFormAlwaysHasNoField(t *testing.T) {
	for _, test := range []struct {
		args []string
		want string
	}{
		{nil, "is_active"},
		{[]string{"--map-active-form=negated"}, "is_active"},
		{[]string{"--map-active-form=always"}, ""},
		{[]string{"--map-active-form=always", "--map-active=on"}, "on"},
		{[]string{"--config", yamlFile(t, "map_active_form: always")}, ""},
		{[]string{"--config", yamlFile(t, "map_active_form: always\nmap_active: 'on'")}, "on"},
	} {
		if c, _ := mustLoad(t, test.args...); c.Map.Active != test.want {
			t.Errorf("%v: the switch is %q, want %q", test.args, c.Map.Active, test.want)
		}
	}
}

// TestFormsAreEmptyUnlessGiven: the store trusts a form that the operator gave, even
// if it is the default.
func TestFormsAreEmptyUnlessGiven(t *testing.T) {
	expect := func(source, active, expires string, args ...string) {
		t.Helper()
		if c, _ := mustLoad(t, args...); c.Map.ActiveForm != active || c.Map.ExpiresForm != expires {
			t.Errorf("%s: got %q and %q, want %q and %q", source, c.Map.ActiveForm, c.Map.ExpiresForm, active, expires)
		}
	}
	expect("nothing", "", "")
	expect("flags", "boolean", "date", "--map-active-form=boolean", "--map-expires-form=date")
	expect("file", "boolean", "date", "--config="+yamlFile(t, "map_active_form: boolean", "map_expires_form: date"))
	t.Setenv("KEYTAIL_MAP_ACTIVE_FORM", "boolean")
	expect("environment", "boolean", "")
}

// TestARoleCanBeEmptyInEverySource: an empty name differs from no name.
func TestARoleCanBeEmptyInEverySource(t *testing.T) {
	t.Setenv("KEYTAIL_MAP_ORG_ID", "")
	c, _ := mustLoad(t, "--config", yamlFile(t, `map_project_id: ""`), "--map-name=")
	if c.Map.OrgID != "" || c.Map.ProjectID != "" || c.Map.Name != "" {
		t.Errorf("got %+v", c.Map)
	}
}

func TestDatabaseOfTheURI(t *testing.T) {
	for uri, want := range map[string]string{
		"mongodb://a:1,b:2/keys?replicaSet=rs0": "keys",
		"mongodb+srv://u:p@a.example.org/keys":  "keys",
		"mongodb://a/":                          "",
		"mongodb://a":                           "",
		"mongodb://%2Ftmp%2Fmongodb.sock/k%65y": "key",
	} {
		if c, _ := mustLoad(t, "--mongodb-uri", uri); c.Database != want {
			t.Errorf("database of %s: %q, want %q", uri, c.Database, want)
		}
		if c, _ := mustLoad(t, "--mongodb-uri", uri, "--database=other"); c.Database != "other" {
			t.Errorf("--database does not win over %s: %q", uri, c.Database)
		}
	}
}

// TestEveryMistakeIsReported: several together, from every source.
func TestEveryMistakeIsReported(t *testing.T) {
	t.Setenv("KEYTAIL_DRAIN_DELAY", "soon")
	path := yamlFile(t, "# comment", "max_stale: 15", "bogus: 1")
	c, _, err := load(t, "--config", path, "--cache-size=big", "--unknown", "value", "--otherwise=1", "--dev=perhaps", "--addr=nowhere")
	wantAll(t, err,
		"unknown flag --unknown",
		"unknown flag --otherwise",
		path+`, line 2: max_stale must be a duration with its unit, such as 15s; put it in quotes`,
		path+`, line 3: unknown key "bogus"`,
		`--drain-delay (KEYTAIL_DRAIN_DELAY) must be a duration with its unit, such as 500ms, 15s or 2m, not "soon"`,
		`--cache-size (KEYTAIL_CACHE_SIZE) must be a whole number, not "big"`,
		`--dev (KEYTAIL_DEV) must be true or false, not "perhaps"`,
	)
	// What could not be read is its default, so that Check adds nothing to it.
	wantAll(t, c.Check(), "give --mongodb-uri", "--addr must be host:port")
}

// TestOtherCommandsIgnoreMistakesInServe: `keytail version` works in a container
// with an invalid environment.
func TestOtherCommandsIgnoreMistakesInServe(t *testing.T) {
	t.Setenv("KEYTAIL_MAX_STALE", "soon")
	if _, _, err := load(t, "other"); err != nil {
		t.Error(err)
	}
	if _, _, err := load(t, "serve"); err == nil {
		t.Error("serve takes the wrong environment")
	}
}

func TestOtherCommandsReadTheFile(t *testing.T) {
	var g grammar
	parser, err := NewParser(&g)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := parser.Parse([]string{"other", "--config", yamlFile(t, "max_stale: 1s", "ops_addr: 127.0.0.1:7")}); err != nil {
		t.Fatal(err)
	}
	if g.Other.OpsAddr != "127.0.0.1:7" {
		t.Errorf("ops_addr of the file: %q", g.Other.OpsAddr)
	}
}

func TestUnexpectedArgument(t *testing.T) {
	_, _, err := load(t, "mongodb://root:hunter2@db/keys")
	wantAll(t, err, "unexpected argument mongodb://…@db/keys")
}
