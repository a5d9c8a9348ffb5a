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

// machineFacts are what a figure depends on, without names or paths.
type machineFacts struct {
	CPU    string
	Cores  int
	OS, Go string
	Commit string
	// Changed says that the tree was not that of the commit.
	Changed bool
	Modules map[string]string
	// Server is what stood for MongoDB, "" where nothing did.
	Server string
}

// repository is keytail's root directory, from bench/, where this program runs.
const repository = ".."

// inRepository makes a command run in the root directory: git looks at the working
// directory and below.
func inRepository(command *exec.Cmd) *exec.Cmd {
	command.Dir = repository
	return command
}

// machine describes the machine and the code that were measured.
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

// cpu is the processor's name on Linux, "" elsewhere.
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
