package main

import (
	"bufio"
	"context"
	"os"
	"os/exec"
	"runtime"
	"runtime/debug"
	"strings"
)

// machineFacts are the facts that figures depend on, without host names and paths.
type machineFacts struct {
	CPU    string
	Cores  int
	OS, Go string
	Commit string
	// Changed reports whether the working tree differed from the commit.
	Changed bool
	Modules map[string]string
	// Server describes the MongoDB server, or its replacement. It is empty for rows that
	// use none.
	Server string
}

// repository is keytail's root directory, relative to bench/, where this program runs.
const repository = ".."

// inRepository makes a command run in the root directory, because git looks only at the
// working directory and below.
func inRepository(command *exec.Cmd) *exec.Cmd {
	command.Dir = repository
	return command
}

// machine describes the machine and the measured code.
func machine(ctx context.Context) machineFacts {
	m := machineFacts{
		CPU: cpu(), Cores: runtime.NumCPU(), OS: runtime.GOOS + "/" + runtime.GOARCH, Go: runtime.Version(),
		Modules: map[string]string{},
	}
	if out, err := inRepository(exec.CommandContext(ctx, "git", "rev-parse", "--short", "HEAD")).Output(); err == nil {
		m.Commit = strings.TrimSpace(string(out))
		changes, err := inRepository(exec.CommandContext(ctx, "git", "status", "--porcelain", "--", "*.go", "go.mod")).Output()
		m.Changed = err != nil || len(changes) > 0
	}
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return m
	}
	for _, d := range info.Deps {
		switch d.Path {
		case "go.mongodb.org/mongo-driver/v2", "github.com/gin-gonic/gin", "github.com/allegro/bigcache/v3", "go.uber.org/zap":
			m.Modules[d.Path] = d.Version
		}
	}
	return m
}

// cpu returns the name of the processor on Linux, and "" on other systems.
func cpu() string {
	file, err := os.Open("/proc/cpuinfo")
	if err != nil {
		return ""
	}
	defer func() { _ = file.Close() }()
	for lines := bufio.NewScanner(file); lines.Scan(); {
		if name, value, found := strings.Cut(lines.Text(), ":"); found && strings.TrimSpace(name) == "model name" {
			return strings.TrimSpace(value)
		}
	}
	return ""
}
