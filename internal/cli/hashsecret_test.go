package cli

import (
	"fmt"
	"path/filepath"
	"strings"
	"testing"

	"github.com/keytail/keytail/internal/config"
)

// pepper is the secret of these tests.
const pepper = "pepper-of-the-cli-tests"

// TestAWrongSecretIsRefusedAtStart, by serve and by doctor, in one sentence that names the
// flag and shows nothing of the file.
func TestAWrongSecretIsRefusedAtStart(t *testing.T) {
	const flag, keyed = "--map-hash-secret-file=", "--map-hash-algorithm=hmac-sha256"
	good := flag + writeSecret(t, pepper+"\n", 0o600)
	for name, test := range map[string]struct {
		args []string
		want string
	}{
		"no secret":       {[]string{keyed}, "--map-hash-algorithm hmac-sha256 needs the secret under which the hashes were made: set --map-hash-secret-file"},
		"no algorithm":    {[]string{good}, "--map-hash-secret-file is set, but --map-hash-algorithm sha256 uses no secret"},
		"sha256":          {[]string{good, "--map-hash-algorithm=sha256"}, "uses no secret"},
		"no file":         {[]string{keyed, flag + filepath.Join(t.TempDir(), "none")}, "--map-hash-secret-file: open "},
		"a directory":     {[]string{keyed, flag + t.TempDir()}, "cannot be read"},
		"empty":           {[]string{keyed, flag + writeSecret(t, "", 0o600)}, "is empty: it must hold the secret"},
		"a newline alone": {[]string{keyed, flag + writeSecret(t, "\n", 0o600)}, "is empty: it must hold the secret"},
		"for all":         {[]string{keyed, flag + writeSecret(t, pepper, 0o644)}, "every user of this machine has access to"},
		"algorithm":       {[]string{"--map-hash-algorithm=bcrypt"}, `--map-hash-algorithm must be one of sha256, hmac-sha256, not "bcrypt"`},
		"with --dev":      {[]string{"--dev", keyed, good}, "--dev and --map-hash-algorithm hmac-sha256 exclude each other"},
	} {
		for _, command := range []string{"serve", "doctor"} {
			args := append([]string{command}, test.args...)
			if name != "with --dev" {
				args = append(args, unreachable)
			}
			code, stdout, stderr := finish(t, newFake().deps(), args...)
			if code != exitUsage || !strings.Contains(stderr, test.want) {
				t.Errorf("%s, %s: got exit code %d, want %q; stderr:\n%s", command, name, code, test.want, stderr)
			}
			if strings.Contains(stdout+stderr, pepper) || strings.Count(stderr, test.want) > 1 {
				t.Errorf("%s, %s: prints the secret, or twice:\n%s%s", command, name, stdout, stderr)
			}
		}
	}
}

// TestTheSecretReachesTheService, and nothing that is written.
func TestTheSecretReachesTheService(t *testing.T) {
	f := newFake()
	r, _, _ := startServe(t, f.deps(), "--drain-delay=0", "--log-level=debug", "--map-hash-algorithm=hmac-sha256",
		"--map-hash-secret-file="+writeSecret(t, pepper+"\n", 0o600))
	if got := string(f.cfg.HashSecret); got != pepper {
		t.Errorf("the service got %q", got)
	}
	r.signal(t)
	r.wait(t)
	if log := r.stderr.String() + r.stdout.String(); strings.Contains(log, pepper) || !strings.Contains(log, "map-hash-secret-file") {
		t.Errorf("the log shows the secret, or does not name the setting:\n%s", log)
	}
	cfg := config.Config{Map: config.Mapping{HashSecretFile: writeSecret(t, pepper, 0o600)}}
	if text := fmt.Sprintf("%+v %+v", cfg, schemaOf(&cfg)); strings.Contains(text, pepper) {
		t.Errorf("a configuration shows the secret: %s", text)
	}
}
