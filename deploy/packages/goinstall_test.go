package packages

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

const module = "github.com/keytail/keytail"

// TestGoInstall does what `go install …/cmd/keytail@v1.2.3` does, with a module proxy
// that has the committed files as that version. It needs a repository.
func TestGoInstall(t *testing.T) {
	t.Parallel()
	built(t) // compiled, so that Go's build cache has the packages of other modules
	const version = "v0.0.0-test"
	dir := t.TempDir()
	publish(t, filepath.Join(dir, "proxy"), version)
	cache := strings.TrimSpace(output(t, "go", "env", "GOMODCACHE"))
	cmd := exec.CommandContext(t.Context(), "go", "install", "-trimpath", "-tags=nomsgpack", module+"/cmd/keytail@"+version)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(),
		"CGO_ENABLED=0", "GOBIN="+dir, "GOFLAGS=-modcacherw", "GOMODCACHE="+filepath.Join(dir, "modules"), "GONOSUMDB="+module,
		// What was downloaded for the tests is a proxy, too.
		"GOPROXY=file://"+filepath.Join(dir, "proxy")+",file://"+filepath.Join(cache, "cache", "download"), "GOSUMDB=off",
	)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("go install: %v\n%s", err, out)
	}
	if got := output(t, filepath.Join(dir, "keytail"), "version"); !strings.HasPrefix(got, "keytail "+version+" go") {
		t.Errorf("version is %q", got)
	}
}

// publish writes a version of the module into the directory of a module proxy.
func publish(t *testing.T, proxy, version string) {
	t.Helper()
	versions := filepath.Join(proxy, module, "@v")
	if err := os.MkdirAll(versions, 0o755); err != nil {
		t.Fatal(err)
	}
	base := filepath.Join(versions, version)
	root := "../.."
	gomod, err := os.ReadFile(filepath.Join(root, "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for path, content := range map[string]string{base + ".mod": string(gomod), base + ".info": `{"Version":"` + version + `"}`, filepath.Join(versions, "list"): version} {
		if err := os.WriteFile(path, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	args := []string{"-C", root, "archive", "--format=zip", "--prefix=" + module + "@" + version + "/", "--output=" + base + ".zip", "HEAD", "."}
	for nested := range strings.Lines(output(t, "git", "-C", root, "ls-files", "*/go.mod")) {
		args = append(args, ":(exclude)"+filepath.Dir(strings.TrimSpace(nested)))
	}
	output(t, "git", args...)
}
