package fastapi_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/keytail/keytail/internal/testprogram"
)

// nameFastAPI stands in KEYTAIL_TEST_REQUIRE for a Python with the packages of this
// example.
const nameFastAPI = "fastapi"

// startTimeout is how long uvicorn may take until it serves.
const startTimeout = 60 * time.Second

// findPython returns the path of a Python that has the packages of this example.
func findPython(t testing.TB) string {
	t.Helper()
	return testprogram.Python(t, nameFastAPI, "examples/fastapi/requirements.txt", "fastapi", "uvicorn", "httpx", "pymongo")
}

// listeningLine is the line of uvicorn's log that has its address.
var listeningLine = regexp.MustCompile(`Uvicorn running on (http://[0-9.:]+)`)

// startUvicorn serves an application (file:variable) of the directory dir with
// additional environment variables (NAME=value), and returns its address when it
// answers. The process ends when t ends.
func startUvicorn(t testing.TB, python, dir, app string, env ...string) string {
	t.Helper()
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	file, _, _ := strings.Cut(app, ":")
	readSource(t, filepath.Join(dir, file+".py"))
	// env(1) executes the program in its own process, so Kill reaches it.
	args := append([]string{"PYTHONDONTWRITEBYTECODE=1"}, env...)
	args = append(args, python, "-m", "uvicorn", app, "--app-dir", dir, "--host", "127.0.0.1", "--port", "0")
	p, err := testprogram.Start("/usr/bin/env", args, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Kill)
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	address, err := p.AwaitLog(ctx, listeningLine)
	if err != nil {
		t.Fatalf("%s: %v; its log ends with:\n%s", app, err, p.LogTail())
	}
	return address
}

// runScript runs a Python file with its arguments, and returns its output.
func runScript(ctx context.Context, t testing.TB, python, file string, args ...string) (string, error) {
	t.Helper()
	readSource(t, file)
	out, err := exec.CommandContext(ctx, python, append([]string{file}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", file, err, out)
	}
	return string(out), nil
}

// readSource reads a file that another process will read, so that go test does not
// reuse a cached result after the file has changed.
func readSource(t testing.TB, file string) {
	t.Helper()
	if _, err := os.ReadFile(file); err != nil {
		t.Error(err)
	}
}
