package testprogram

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Program describes where to look for a program.
type Program struct {
	// Name is used in messages.
	Name string
	// Variable is an environment variable that names the path. If it is set, no other
	// place is searched. May be empty.
	Variable string
	// Places are paths, or names to look up on PATH, in the order of preference.
	// An empty place is ignored.
	Places []string
	// Install describes how to install the program.
	Install string
}

// Find returns the path of the program, or ErrMissing.
func Find(p Program) (string, error) {
	if path := os.Getenv(p.Variable); p.Variable != "" && path != "" {
		if _, err := exec.LookPath(path); err != nil {
			return "", fmt.Errorf("%s: %w", p.Variable, err)
		}
		return path, nil
	}
	for _, place := range p.Places {
		if path, err := exec.LookPath(place); place != "" && err == nil {
			return path, nil
		}
	}
	return "", fmt.Errorf("%w: %s, searched in %q: %s", ErrMissing, p.Name, p.Places, p.Install)
}

// InVenv is the path of a program in .ci/venv/bin, the virtual environment that
// .ci/run creates, or "" when there is none. The directory is searched from the
// working directory upwards, so that tests of nested modules find it, too.
func InVenv(program string) string {
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for {
		path := filepath.Join(dir, ".ci", "venv", "bin", program)
		if _, err := os.Stat(path); err == nil {
			return path
		}
		parent := filepath.Dir(dir)
		if parent == dir {
			return ""
		}
		dir = parent
	}
}
