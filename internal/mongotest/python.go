package mongotest

import (
	"cmp"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"
	"time"
)

// NameFastAPI is no server of MongoDB's either: it stands for a Python with the
// packages of examples/fastapi, on which KEYTAIL_TEST_REQUIRE can insist.
const NameFastAPI = "fastapi"

// pythonVariable is the path of a Python.
const pythonVariable = "KEYTAIL_TEST_PYTHON"

// FastAPI is the path of a Python that has the packages of examples/fastapi: the
// one of KEYTAIL_TEST_PYTHON, else that of .ci/run. It skips t when there is none,
// unless it is required.
func FastAPI(t testing.TB) string {
	t.Helper()
	python := cmp.Or(os.Getenv(pythonVariable), inVenv("python"))
	out, err := exec.CommandContext(t.Context(), python, "-c", "import fastapi, uvicorn, httpx, pymongo").CombinedOutput()
	if err != nil {
		skipIfMissing(t, NameFastAPI, fmt.Errorf("%w: there is no Python with FastAPI: pip install -r examples/fastapi/requirements.txt, and name the Python by %s: %w %s",
			errMissing, pythonVariable, err, out))
	}
	return python
}

// uvicornSays is the line of its log that has its address.
var uvicornSays = regexp.MustCompile(`Uvicorn running on (http://[0-9.:]+)`)

// Uvicorn serves an application (file:variable) of the directory dir in a process
// of its own, with more environment (NAME=value), and returns its address when it
// answers. It ends with t.
func Uvicorn(t testing.TB, python, dir, app string, env ...string) string {
	t.Helper()
	dir, err := filepath.Abs(dir)
	if err != nil {
		t.Fatal(err)
	}
	file, _, _ := strings.Cut(app, ":")
	source(t, filepath.Join(dir, file+".py"))
	// env becomes the program that it starts, so this is one process all the same.
	args := append([]string{"PYTHONDONTWRITEBYTECODE=1"}, env...)
	args = append(args, python, "-m", "uvicorn", app, "--app-dir", dir, "--host", "127.0.0.1", "--port", "0")
	p, err := startProcess("/usr/bin/env", args, t.TempDir())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.kill)
	ctx, cancel := context.WithTimeout(t.Context(), startTimeout)
	defer cancel()
	address, err := p.awaitLog(ctx, uvicornSays)
	if err != nil {
		t.Fatalf("%s: %v; its log ends in:\n%s", app, err, p.logTail())
	}
	return address
}

// PythonScript runs a file with its arguments, and returns what it prints.
func PythonScript(ctx context.Context, t testing.TB, python, file string, args ...string) (string, error) {
	t.Helper()
	source(t, file)
	out, err := exec.CommandContext(ctx, python, append([]string{file}, args...)...).CombinedOutput()
	if err != nil {
		return "", fmt.Errorf("%s: %w: %s", file, err, out)
	}
	return string(out), nil
}

// source reads a file that another process will read, so that go test does not
// answer from its cache after the file was changed.
func source(t testing.TB, file string) {
	t.Helper()
	if _, err := os.ReadFile(file); err != nil {
		t.Error(err)
	}
}

// awaitLog returns what the expression's first group matches in the log.
func (p *process) awaitLog(ctx context.Context, expression *regexp.Regexp) (string, error) {
	ticker := time.NewTicker(pollInterval)
	defer ticker.Stop()
	for {
		text, err := os.ReadFile(p.log)
		if err != nil {
			return "", err
		}
		if match := expression.FindSubmatch(text); match != nil {
			return string(match[1]), nil
		}
		select {
		case <-p.done:
			return "", errExited
		case <-ctx.Done():
			return "", fmt.Errorf("it does not say %q: %w", expression, context.Cause(ctx))
		case <-ticker.C:
		}
	}
}
