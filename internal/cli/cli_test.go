package cli

import (
	"errors"
	"os"
	"path/filepath"
	"runtime/debug"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/keycache"
)

func TestExitCodes(t *testing.T) {
	t.Setenv("KEYTAIL_TEST_UNRELATED", "x")
	for name, test := range map[string]struct {
		args   []string
		code   int
		stderr []string // in this order
	}{
		"neither server nor dev": {nil, exitUsage, []string{"--mongodb-uri (KEYTAIL_MONGODB_URI)", "--dev", "keytail --help"}},
		"serve by name":          {[]string{"serve"}, exitUsage, []string{"--mongodb-uri"}},
		"unknown flag":           {[]string{unreachable, "--max-stail=1s"}, exitUsage, []string{"unknown flag --max-stail", "--max-stale"}},
		"unknown command":        {[]string{"sevre"}, exitUsage, []string{"unexpected argument sevre"}},
		"parser and check":       {[]string{unreachable, "--cache-size=big", "--addr=x"}, exitUsage, []string{"--cache-size", "--addr"}},
		"check and routes": {
			[]string{unreachable, "--max-stale=2h", "--key-sources=nowhere,bearer", "--trusted-proxies=10.0.0.0/99", "--auth-headers=X-Auth-User"},
			exitUsage,
			[]string{"--max-stale", `"nowhere"`, `"10.0.0.0/99"`, `identity header "X-Auth-User": it must be one of X-Auth-Key-Id, `},
		},
		"mapping": {
			[]string{unreachable, "--map-hash-encoding=md5", "--map-org-id=org.id", "--map-name=user_id", "--map-expires-form=iso", "--default-scopes=a b", "--map-hash="},
			exitUsage,
			[]string{
				"--map-hash-encoding must be one of hex, ", "--map-expires-form must be one of date, unix, unix-ms", "has no name (--map-hash)",
				"(--map-org-id)", "(--map-user-id, --map-name)", "--default-scopes, scope 1: ",
			},
		},
		"switch and always":    {[]string{unreachable, "--map-active-form=always", "--map-active=on"}, exitUsage, []string{"make its name empty (--map-active)"}},
		"driver":               {[]string{"--mongodb-uri=mongodb://127.0.0.1/keys?maxPoolSize=many"}, exitUsage, []string{"--mongodb-uri cannot be used", "maxPoolSize"}},
		"dev without a server": {[]string{"--dev"}, exitUsage, []string{"built without the in-memory MongoDB"}},
		"version":              {[]string{"version"}, exitOK, nil},
		"version, wrongly":     {[]string{"version", "--loud"}, exitUsage, []string{"unknown flag --loud"}},
		"help":                 {[]string{"--help"}, exitOK, nil},
		"help after a mistake": {[]string{"serve", "--nonsense", "--help"}, exitOK, nil},
	} {
		t.Run(name, func(t *testing.T) {
			code, _, stderr := finish(t, newFake().deps(), test.args...)
			if code != test.code {
				t.Errorf("got exit code %d, want %d; stderr:\n%s", code, test.code, stderr)
			}
			if len(test.stderr) == 0 && stderr != "" {
				t.Errorf("stderr: got %q, want nothing", stderr)
			}
			rest := stderr
			for _, text := range test.stderr {
				_, after, found := strings.Cut(rest, text)
				if !found {
					t.Errorf("stderr lacks %q after the other texts:\n%s", text, stderr)
				}
				rest = after
			}
		})
	}
}

func TestHelp(t *testing.T) {
	for command, texts := range map[string][]string{
		"":      {"keytail --dev", "Exit codes: 0 clean stop", "healthcheck"},
		"serve": {"--max-stale=15s", "$KEYTAIL_MAX_STALE", "--dev", "$KEYTAIL_CONFIG"},
	} {
		_, stdout, _ := finish(t, newFake().deps(), strings.Fields(command+" --help")...)
		for _, text := range texts {
			if !strings.Contains(stdout, text) {
				t.Errorf("the help of %q lacks %q:\n%s", command, text, stdout)
			}
		}
	}
}

func TestVersion(t *testing.T) {
	_, stdout, _ := finish(t, Deps{Version: "v1.2.3", Commit: "0123abc"}, "version")
	if !strings.HasPrefix(stdout, "keytail v1.2.3 commit 0123abc go1.") {
		t.Errorf("version: got %q", stdout)
	}
}

// TestVersionFallsBackOnTheBuild: without a version from the linker, version prints what Go
// read from git.
func TestVersionFallsBackOnTheBuild(t *testing.T) {
	clean := &debug.BuildInfo{
		GoVersion: "go1.26.10", Main: debug.Module{Version: "v1.2.3"},
		Settings: []debug.BuildSetting{{Key: "vcs.revision", Value: "0123abc"}, {Key: "vcs.modified", Value: "false"}},
	}
	modified := &debug.BuildInfo{Settings: []debug.BuildSetting{{Key: "vcs.modified", Value: "true"}, {Key: "vcs.revision", Value: "0123abc"}}}
	for _, test := range []struct {
		version, commit string
		info            *debug.BuildInfo
		want            string
	}{
		{"", "", nil, "(devel)"},
		{"", "", clean, "v1.2.3 commit 0123abc go1.26.10"},
		{"", "", modified, "(devel) commit 0123abc (modified)"},
		{"v2.0.0", "", clean, "v2.0.0 commit 0123abc go1.26.10"},
		{"v2.0.0", "fedc987", clean, "v2.0.0 commit fedc987 go1.26.10"},
	} {
		if got := versionText(test.version, test.commit, test.info); got != test.want {
			t.Errorf("versionText(%q, %q) = %q, want %q", test.version, test.commit, got, test.want)
		}
	}
}

// TestMistakesInTheFileAreReportedWithOthers: all mistakes at once, those of the file with
// their line.
func TestMistakesInTheFileAreReportedWithOthers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "keytail.yaml")
	if err := os.WriteFile(path, []byte("addr: nowhere\nbogus: 1\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	code, _, stderr := finish(t, newFake().deps(), unreachable, "--config", path)
	if code != exitUsage {
		t.Errorf("got exit code %d", code)
	}
	for _, text := range []string{path + `, line 2: unknown key "bogus"`, "--addr must be host:port"} {
		if !strings.Contains(stderr, "keytail: "+text) {
			t.Errorf("stderr lacks %q:\n%s", text, stderr)
		}
	}
}

// TestCacheSizesAreRefusedBeforeTheStart: exactly the sizes that the cache refuses are
// usage errors.
func TestCacheSizesAreRefusedBeforeTheStart(t *testing.T) {
	for size := range 6 {
		c := serveCommand{Config: config.Config{
			MongoDBURI: "mongodb://127.0.0.1:1", Database: "keys", Collection: "api_keys", Addr: "127.0.0.1:0", OpsAddr: "127.0.0.1:0", UnixSocketMode: "0660",
			MaxStale: time.Second, HeartbeatInterval: 100 * time.Millisecond, ReadPreference: "primary", CacheSize: size, Preload: "auto", AuditInterval: time.Hour, ExpiryNotice: time.Hour, KeyPrefix: "kt", LogLevel: "info", LogFormat: "json",
			Map: config.Mapping{Hash: "key_hash", Active: "is_active", UserID: "user_id"},
		}}
		_, refused := keycache.New(keycache.Config{SizeMiB: size, MaxStale: time.Second})
		if size == 0 {
			refused = errors.New("0 is the default of keycache, not of the flag")
		}
		if err := c.check(process{}); (err == nil) != (refused == nil) {
			t.Errorf("--cache-size=%d: got %v, want the cache's %v", size, err, refused)
		}
	}
}

// TestSecretsAreNeverPrinted covers the errors of keytail, kong and the driver about
// invalid URIs.
func TestSecretsAreNeverPrinted(t *testing.T) {
	for _, args := range [][]string{
		{"--mongodb-uri=mongodb://root:hunter2@127.0.0.1/keys?maxPoolSize=hunter2"},
		{"--mongodb-uri=mongodb://root:hunter2@127.0.0.1/keys?authMechanism=hunter2"},
		{"--mongodb-uri=mongodb://root:hunter2@127.0.0.1:hunter2/keys"},
		{"--mongodb-uri=mongodb://root:hunter2@127.0.0.1:99999/keys"},
		{"--mongodb-uri=mongodb://root:hunter2@/keys"},
		{"--mongodb-uri=mongodb://root:hunter2@127.0.0.1/keys?tls=true&tlsCertificateKeyFile=/none&tlsCertificateKeyFilePassword=hunter2"},
		{"--mongodb-uri=mongodb://hunter2:@127.0.0.1/keys?authMechanism=MONGODB-OIDC"},
		{"--mongodb-uri", "mongodb://root:hunter2%2@127.0.0.1/keys"},
		{"mongodb://root:hunter2@127.0.0.1/keys"},
		{"--max-stale", "mongodb://root:hunter2@127.0.0.1/keys"},
		{"--mongodb-url=mongodb://root:hunter2@127.0.0.1/keys"},
		{"healthcheck", "--url=mongodb://root:hunter2@127.0.0.1/keys"},
	} {
		code, stdout, stderr := finish(t, newFake().deps(), args...)
		if code == exitOK || stderr == "" {
			t.Errorf("%q: got exit code %d, stderr %q", args, code, stderr)
		}
		if strings.Contains(stdout+stderr, "hunter2") {
			t.Errorf("%q shows the secret:\n%s%s", args, stdout, stderr)
		}
	}
}
