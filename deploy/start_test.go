package deploy

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/keytail/keytail/internal/cli"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/mongotest"
	"github.com/keytail/keytail/internal/routes"
)

func TestMain(m *testing.M) {
	routes.UseReleaseMode()
	goleak.VerifyTestMain(mongotest.Main(m))
}

// secretFile is the path of a file in a configuration whose content is a secret.
var secretFile = regexp.MustCompile(`(?m)^(\w+_file): (\S+)$`)

// startUntilService runs keytail with this environment and these files, by their
// absolute paths, until all settings and files have been read and checked, and
// returns the configuration of the daemon. It makes the secrets that the files name.
func startUntilService(t *testing.T, args []string, environment, files map[string]string) daemon.Config {
	t.Helper()
	root := t.TempDir()
	write := func(path, content string) {
		t.Helper()
		path = filepath.Join(root, path)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o440); err != nil {
			t.Fatal(err)
		}
	}
	for path, content := range files {
		for _, m := range secretFile.FindAllStringSubmatch(content, -1) {
			write(m[2], "orders="+strings.Repeat("t", 40))
		}
		write(path, secretFile.ReplaceAllString(content, "$1: "+root+"$2"))
	}
	for i := range args {
		for path := range files {
			args[i] = strings.ReplaceAll(args[i], path, filepath.Join(root, path))
		}
	}
	for name, value := range environment {
		t.Setenv(name, value)
	}
	var got daemon.Config
	enough := errors.New("the service is not needed")
	var out, wrong bytes.Buffer
	code := cli.Main(args, &out, &wrong, cli.Deps{NewService: func(_ context.Context, cfg daemon.Config) (cli.Service, error) {
		got = cfg
		return nil, enough
	}})
	if code != 1 || !strings.HasSuffix(strings.TrimSpace(wrong.String()), enough.Error()) {
		t.Fatalf("%q ends with %d before it has a service:\n%s", args, code, &wrong)
	}
	return got
}
