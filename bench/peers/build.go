package peers

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
)

// Module is a program that is built from the Go module proxy.
type Module struct {
	// Name is that of the program, Path and Version those of its module, whose root
	// directory is the main package.
	Name, Path, Version string
}

// The measured versions.
var (
	OAuth2Proxy = Module{"oauth2-proxy", "github.com/oauth2-proxy/oauth2-proxy/v7", "v7.15.6"}
	Oathkeeper  = Module{"oathkeeper", "github.com/ory/oathkeeper", "v0.40.9"}
	Authorino   = Module{"authorino", "github.com/kuadrant/authorino", "v0.22.0"}
)

// Build returns the path of the program in the directory cache. It builds the program
// unless the directory has it: that takes minutes and some gigabytes in Go's own caches.
//
// The build runs in the module's own directory: go install refuses modules with replace
// directives, and asks the proxy for versions that it was not told.
func (m Module) Build(ctx context.Context, cache string) (string, error) {
	program := filepath.Join(cache, m.Name+"-"+m.Version)
	if _, err := os.Stat(program); err == nil {
		return program, nil
	}
	if err := os.MkdirAll(cache, 0o755); err != nil {
		return "", err
	}
	download := goCommand(ctx, os.TempDir(), "mod", "download", "-json", m.Path+"@"+m.Version)
	text, err := download.Output()
	var module struct{ Dir, Error string }
	if decoding := json.Unmarshal(text, &module); decoding != nil {
		return "", fmt.Errorf("go mod download %s@%s: %w", m.Path, m.Version, errors.Join(err, decoding))
	}
	if module.Error != "" {
		return "", fmt.Errorf("go mod download: %s", module.Error)
	}
	// A build that is interrupted must leave no program.
	unfinished := program + ".unfinished"
	if out, err := goCommand(ctx, module.Dir, "build", "-mod=readonly", "-trimpath", "-o", unfinished, ".").CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build %s: %w\n%s", m.Path, err, tail(out))
	}
	return program, os.Rename(unfinished, program)
}

// goCommand runs go with the toolchain that the module asks for, and without the workspace
// or the flags of the caller.
func goCommand(ctx context.Context, dir string, args ...string) *exec.Cmd {
	command := exec.CommandContext(ctx, "go", args...)
	command.Dir = dir
	command.Env = append(os.Environ(), "GOTOOLCHAIN=auto", "GOWORK=off", "GOFLAGS=")
	return command
}

// tail returns the end of an output.
func tail(text []byte) []byte {
	const limit = 2000
	return text[max(0, len(text)-limit):]
}
