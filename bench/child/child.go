// Package child starts keytail binaries as child processes, for commands that measure
// them from outside.
package child

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"syscall"
	"time"

	"github.com/keytail/keytail/internal/testprogram"
)

const (
	// startTimeout is for a busy machine; a start takes less than a second.
	startTimeout = time.Minute
	// stopTimeout is more than the 15 s that keytail allows requests in flight.
	stopTimeout = 30 * time.Second
)

// ErrExited means that the process ended before it served.
var ErrExited = testprogram.ErrExited

// Config describes one process.
type Config struct {
	// Binary is the path of the program.
	Binary string
	// Dir is an existing directory for the log and the token files.
	Dir string
	// URI is the connection string, and Database the database with the keys.
	URI, Database string
	// OpenFiles is the limit of open files (ulimit -n). Zero: that of this process.
	OpenFiles int
	// Args are added to the command line.
	Args []string
}

// Daemon is a keytail process with all four listeners.
type Daemon struct {
	*testprogram.Process
	// Public, Operations, Admin and GRPC are host:port.
	Public, Operations, Admin, GRPC string
	// CallerToken, OtherToken and AdminToken are valid bearer tokens: of two callers, and of
	// an administrator.
	CallerToken, OtherToken, AdminToken string
	// Dir is that of Config. The file log in it has the output of the process.
	Dir string
}

// Build builds the daemon of the repository into dir, and returns its path.
func Build(ctx context.Context, repository, dir string) (string, error) {
	path := filepath.Join(dir, "keytail")
	build := exec.CommandContext(ctx, "go", "build", "-o", path, "./cmd/server")
	build.Dir = repository
	if out, err := build.CombinedOutput(); err != nil {
		return "", fmt.Errorf("go build: %w\n%s", err, out)
	}
	return path, nil
}

// Start starts a process and returns when it serves.
func Start(ctx context.Context, c Config) (*Daemon, error) {
	// Binaries before admin tokens had roles refuse a role, later ones refuse a line
	// without one.
	var failures []error
	for _, role := range []string{"", " role=admin"} {
		d, err := start(ctx, c, role)
		if err == nil {
			return d, nil
		}
		if failures = append(failures, err); !errors.Is(err, ErrExited) {
			break
		}
	}
	return nil, errors.Join(failures...)
}

func start(ctx context.Context, c Config, role string) (*Daemon, error) {
	d := &Daemon{Dir: c.Dir, CallerToken: rand.Text(), OtherToken: rand.Text(), AdminToken: rand.Text()}
	args := []string{
		"serve", "--mongodb-uri=" + c.URI, "--database=" + c.Database, "--ensure-schema", "--drain-delay=0",
		"--addr=127.0.0.1:0", "--ops-addr=127.0.0.1:0", "--admin-addr=127.0.0.1:0", "--grpc-addr=127.0.0.1:0",
		"--caller-token-file=" + d.callers(), "--admin-token-file=" + filepath.Join(c.Dir, "admins"),
	}
	err := errors.Join(
		d.WriteCallers(),
		os.WriteFile(filepath.Join(c.Dir, "admins"), []byte("outside="+d.AdminToken+role+"\n"), 0o600),
		os.RemoveAll(filepath.Join(c.Dir, "log")))
	if err != nil {
		return nil, err
	}
	program, args := c.Binary, append(args, c.Args...)
	if c.OpenFiles > 0 {
		program, args = "/bin/sh", append([]string{"-c", "ulimit -n " + strconv.Itoa(c.OpenFiles) + ` && exec "$0" "$@"`, program}, args...)
	}
	if d.Process, err = testprogram.Start(program, args, c.Dir); err != nil {
		return nil, err
	}
	if err := d.awaitServing(ctx); err != nil {
		d.Kill()
		return nil, fmt.Errorf("%s: %w; its log ends with:\n%s", c.Binary, err, d.LogTail())
	}
	return d, nil
}

// serving is the log's line with the addresses.
var serving = regexp.MustCompile(`(\{[^\n]*"serving"[^\n]*\})\n`)

func (d *Daemon) awaitServing(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, startTimeout)
	defer cancel()
	line, err := d.AwaitLog(ctx, serving)
	if err != nil {
		return err
	}
	var fields map[string]any
	if err := json.Unmarshal([]byte(line), &fields); err != nil {
		return err
	}
	for key, to := range map[string]*string{"addr": &d.Public, "ops_addr": &d.Operations, "admin_addr": &d.Admin, "grpc_addr": &d.GRPC} {
		if *to, _ = fields[key].(string); *to == "" {
			return fmt.Errorf("the line %s has no %s", line, key)
		}
	}
	return nil
}

func (d *Daemon) callers() string { return filepath.Join(d.Dir, "callers") }

// WriteCallers writes the file of caller tokens, with one more, new token each time.
func (d *Daemon) WriteCallers() error {
	lines := "outside=" + d.CallerToken + "\nother=" + d.OtherToken + "\nnew=" + rand.Text() + "\n"
	next := d.callers() + ".new"
	if err := os.WriteFile(next, []byte(lines), 0o600); err != nil {
		return err
	}
	return os.Rename(next, d.callers())
}

// Stop ends the process as an orchestrator does. It fails if the process does not stop
// cleanly.
func (d *Daemon) Stop() error {
	if err := d.Signal(syscall.SIGTERM); err != nil {
		return fmt.Errorf("the daemon has exited before it was stopped: %w; its log ends with:\n%s", err, d.LogTail())
	}
	select {
	case <-d.Done():
	case <-time.After(stopTimeout):
		d.Kill()
		return fmt.Errorf("the daemon does not stop within %v of SIGTERM", stopTimeout)
	}
	if code := d.ExitCode(); code != 0 {
		return fmt.Errorf("the daemon exited with code %d after SIGTERM; its log ends with:\n%s", code, d.LogTail())
	}
	return nil
}
