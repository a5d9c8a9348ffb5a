package testprogram

import (
	"cmp"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
)

// PythonVariable is the environment variable that names the path of a Python.
const PythonVariable = "KEYTAIL_TEST_PYTHON"

// Python returns the absolute path of a Python that can import modules: the one that
// PythonVariable names, or that of .ci/run. Without one it skips t, or fails it if name
// is required; the message says to install the packages of the file requirements.
func Python(t testing.TB, name, requirements string, modules ...string) string {
	t.Helper()
	python := cmp.Or(os.Getenv(PythonVariable), InVenv("python"))
	out, err := exec.CommandContext(t.Context(), python, "-c", "import "+strings.Join(modules, ", ")).CombinedOutput()
	if err != nil {
		SkipIfMissing(t, name, fmt.Errorf("%w: a Python with %s: pip install -r %s, and set %s to the path of the Python: %w %s",
			ErrMissing, strings.Join(modules, ", "), requirements, PythonVariable, err, out))
	}
	path, err := exec.LookPath(python)
	if err == nil {
		path, err = filepath.Abs(path)
	}
	if err != nil {
		t.Fatal(err)
	}
	return path
}
