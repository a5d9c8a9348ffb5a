package apitest

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

// leakyModule makes a module whose root package has internal names in its API the
// working directory.
func leakyModule(t *testing.T) {
	t.Helper()
	dir := t.TempDir()
	for path, from := range map[string]string{"leaky.go": "leaky.txt", "internal/hidden/hidden.go": "hidden.txt"} {
		content, err := os.ReadFile(filepath.Join("testdata", from))
		if err != nil {
			t.Fatal(err)
		}
		write(t, filepath.Join(dir, path), content)
	}
	write(t, filepath.Join(dir, "go.mod"), []byte("module example.com/leaky\n\ngo 1.26\n"))
	t.Chdir(dir)
}

func write(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, content, 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestInternalNamesAreFound(t *testing.T) {
	leakyModule(t)
	found, err := internalNames(t, ".")
	if err != nil {
		t.Fatal(err)
	}
	var got []string
	for _, line := range found {
		got = append(got, strings.ReplaceAll(line, "example.com/leaky/internal/", ""))
	}
	var want []string
	for _, line := range []string{
		"Alias has the internal type hidden.Type",
		"Embedded.Method has the internal type hidden.Type",
		"Field.Exported has the internal type hidden.Type",
		"Func has the internal type hidden.Type",
		"Function has the internal type hidden.Type",
		"Interface.Method has the internal type hidden.Type",
		"Private.Method has the internal type hidden.Pair",
		"Variable has the internal type hidden.Type",
		"the constant Constant is the internal hidden.Name",
	} {
		want = append(want, "example.com/leaky: "+line)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}

func TestUnknownPackageIsAnError(t *testing.T) {
	if _, err := internalNames(t, "./none"); err == nil || !strings.Contains(err.Error(), "go list ./none") {
		t.Error(err)
	}
}
