// Package cli is the command line of the keytail binary. It reads the configuration,
// builds a service, and manages the process: listeners, signals, the order of start
// and stop.
package cli

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/signal"
	"strings"
	"syscall"

	"github.com/alecthomas/kong"
	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/config"
	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/extauthz"
	"github.com/keytail/keytail/internal/reload"
)

// Exit codes of the binary (docs/cli.md).
const (
	exitOK      = 0 // a clean stop
	exitFailure = 1 // something failed at run time
	exitUsage   = 2 // the command line or the configuration is wrong
)

// Service is what serve runs: a daemon.Daemon, or a fake in tests.
type Service interface {
	// Run works until ctx ends, and returns when all of it has stopped.
	Run(ctx context.Context) error
	// Public, Operations and Admin are the handlers of the three HTTP listeners.
	// Admin is nil without an admin token file.
	Public() http.Handler
	Operations() http.Handler
	Admin() http.Handler
	// ExtAuthz is the server of the gRPC listener.
	ExtAuthz() *extauthz.Server
	// Files are the token files, which Run reads again when they change.
	Files() []*reload.Files
	// ReopenLogs opens the files of logs again, and returns whether there are any.
	ReopenLogs() bool
	// Live is closed once keytail can validate keys.
	Live() <-chan struct{}
	// Drain makes readyz answer 503 from now on.
	Drain()
}

// DevServer is the in-memory MongoDB of --dev.
type DevServer interface {
	// Run serves until ctx ends and returns when all of it has stopped.
	Run(ctx context.Context) error
	// URI is its connection string.
	URI() string
	// Freeze delays every reply to clients with this application name until Heal, and
	// BlackHole drops what they send and the replies to them. Empty: all clients. The
	// playground uses them.
	Freeze(appName string)
	BlackHole(appName string)
	Heal()
}

// Deps are what main passes in.
type Deps struct {
	// Version and Commit are set by the linker. Empty: what Go has recorded in the
	// binary.
	Version, Commit string
	// NewService builds the service. Nil: daemon.New.
	NewService func(ctx context.Context, cfg daemon.Config) (Service, error)
	// NewDev starts the in-memory MongoDB, so that this package does not depend
	// on it. The error wraps syscall.EADDRINUSE if the address is in use. Nil:
	// --dev is refused.
	NewDev func(addr string, logger *zap.Logger) (DevServer, error)
	// Stdin is where verify reads a key. Nil: os.Stdin.
	Stdin io.Reader
}

// grammar is the command line, for kong.
type grammar struct {
	Serve       serveCommand       `cmd:"" default:"withargs" help:"Validate API keys (the default command)."`
	Doctor      doctorCommand      `cmd:"" help:"Check whether keytail can run with the collection and the replica set, and print what to do. Exit code 0 or 1. Takes the settings of serve."`
	Keys        keysCommands       `cmd:"" help:"Create, list, change and revoke keys, through the admin listener of a running keytail."`
	Verify      verifyCommand      `cmd:"" help:"Validate a key with a running keytail. Reads the key from standard input. Exit code 0 if it is valid, else 1."`
	Explain     explainCommand     `cmd:"" help:"Say what a running keytail would answer to a request with a key, and why. Takes the key's id. Exit code 0 if the key is valid, else 1."`
	Sync        syncCommand        `cmd:"" help:"Wait until the fleet has applied a write. Exit code 0 or 1."`
	Instances   instancesCommand   `cmd:"" help:"List the live instances."`
	Audit       auditCommand       `cmd:"" help:"List who did what to which key, newest first."`
	Events      eventsCommand      `cmd:"" help:"Show changes of keys as they happen, until Ctrl-C."`
	Check       checkCommand       `cmd:"" help:"Check whether recorded answers keep keytail's promises: a history, or decision logs and writes. Exit code 0 if they do, 1 if one does not, 2 if something cannot be read."`
	Completion  completionCommand  `cmd:"" help:"Print a shell script for completion of commands and flags."`
	Version     versionCommand     `cmd:"" help:"Print the version."`
	Healthcheck healthcheckCommand `cmd:"" help:"Check whether a running keytail is alive. Exit code 0 or 1. For HEALTHCHECK in a container."`
}

const description = `keytail validates API keys from memory, with a maximum staleness.

To try it: keytail --dev. For all settings: keytail serve --help.

Every setting of serve has an environment variable and a key in the YAML file of --config; the other commands read the variables that their help names. A flag overrides the environment, and the environment overrides the file.

Exit codes: 0 clean stop, 1 failure at run time, 2 invalid usage or configuration.`

// Main runs the command line and returns the exit code. The first SIGINT or
// SIGTERM starts a clean stop; the second ends the process immediately. serve
// handles SIGHUP (hangup.go).
func Main(args []string, stdout, stderr io.Writer, deps Deps) int {
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, os.Interrupt, syscall.SIGTERM)
	defer signal.Stop(signals)
	return run(args, signals, stdout, stderr, deps)
}

func run(args []string, signals <-chan os.Signal, stdout, stderr io.Writer, deps Deps) int {
	ctx, stop := context.WithCancel(context.Background())
	defer stop()
	done := make(chan int, 1)
	go func() { done <- execute(ctx, args, stdout, stderr, deps) }()
	select {
	case code := <-done:
		return code
	case <-signals:
		stop()
	}
	select {
	case code := <-done:
		return code
	case <-signals:
		return exitFailure
	}
}

// execute reads the command line and runs the command in it.
func execute(ctx context.Context, args []string, stdout, stderr io.Writer, deps Deps) int {
	var g grammar
	exited := false
	parser, err := config.NewParser(&g, kong.Name("keytail"), kong.Description(description),
		kong.Writers(stdout, stderr), kong.Exit(func(int) { exited = true }),
		kong.ConfigureHelp(kong.HelpOptions{Compact: true}))
	if err != nil {
		return fail(stderr, exitFailure, err)
	}
	if config.Completing() {
		parser.Complete()
		return exitOK
	}
	parsed, given, err := parser.Parse(args)
	if exited { // --help has been printed
		return exitOK
	}
	if parsed == nil {
		return usage(stderr, err)
	}
	switch parsed.Command() {
	case "version":
		return g.Version.run(stdout, stderr, deps, err)
	case "healthcheck":
		return g.Healthcheck.run(ctx, stderr, err)
	}
	g.Serve.Policies = parser.Policies()
	var chosen command = &g.Serve
	if c, ok := parsed.Selected().Target.Addr().Interface().(command); ok {
		chosen = c
	}
	return chosen.run(ctx, process{stdout: stdout, stderr: stderr, deps: deps, given: given}, err)
}

// command is implemented by most commands. wrong is what the parser found; run
// returns the exit code.
type command interface {
	run(ctx context.Context, p process, wrong error) int
}

// usage reports every mistake in a command line or configuration.
func usage(stderr io.Writer, err error) int {
	code := fail(stderr, exitUsage, err)
	_, _ = fmt.Fprintln(stderr, "keytail: see keytail --help")
	return code
}

// fail prints each line of an error with the program's name. The parser quotes what
// it does not expect, which may be a key.
func fail(stderr io.Writer, code int, err error) int {
	for line := range strings.SplitSeq(hideKeys(config.Redact(err.Error())), "\n") {
		_, _ = fmt.Fprintf(stderr, "keytail: %s\n", line)
	}
	return code
}

// stopped reports whether an error only means that the process was requested to stop.
func stopped(ctx context.Context, err error) bool {
	return ctx.Err() != nil && errors.Is(err, context.Canceled)
}
