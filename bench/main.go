package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"path/filepath"
	"syscall"
	"time"

	"github.com/alecthomas/kong"
	"github.com/gin-gonic/gin"
)

// options are the options that all commands have.
type options struct {
	Quick bool   `help:"Use tiny sizes, to check that each row still runs. Results are not saved."`
	URI   string `help:"Connection string of the MongoDB replica set to measure with. Empty: start secantusd-py."`
	Peers string `placeholder:"DIR" help:"The directory of the programs that the row peers builds once. Empty: keytail-bench in the user's cache directory."`
	Docs  string `default:"../docs" help:"The directory of BENCHMARKS.md and of the results (bench/*.json)."`
}

type command struct {
	options
	List listCommand `cmd:"" help:"List the rows."`
	Run  runCommand  `cmd:"" default:"withargs" help:"Measure rows, print the results, and save them."`

	Soak soakCommand `cmd:"" help:"Run a daemon at load with faults, and check that its memory, goroutines and descriptors stay flat (docs/soak.md)."`

	Delays delaysCommand `cmd:"" help:"Measure how soon revoked keys are refused while one thing at a time fails, and write docs/delays.md."`

	Bulk bulkCommand `cmd:"" help:"Change all keys with one command, and print how many need a read afterwards, with and without scans that follow dropped refreshes."`

	Attacks attacksCommand `cmd:"" help:"Attack daemons from outside, and print what came of it."`

	Report reportCommand `cmd:"" help:"Write BENCHMARKS.md and delays.md from the saved results, without measuring."`

	Serve serveCommand `cmd:"" hidden:"" help:"Serve a handler that the row peers measures in a process of its own."`
}

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	defer stop()
	gin.SetMode(gin.ReleaseMode)
	var c command
	k := kong.Parse(&c, kong.Description("Compares keytail with the code that it replaces and with the smallest program that could do the work."),
		kong.BindTo(ctx, (*context.Context)(nil)), kong.Bind(&c.options))
	k.FatalIfErrorf(k.Run())
}

type listCommand struct{}

// Run prints one line for each row.
func (listCommand) Run() error {
	for _, r := range rows {
		fmt.Printf("%-14s %s\n", r.name, r.title)
	}
	return nil
}

type runCommand struct {
	Names []string `arg:"" help:"Names of rows, as list prints them, or all."`
}

// Run measures the named rows.
func (c *runCommand) Run(ctx context.Context, o *options) error {
	chosen, err := choose(c.Names)
	if err != nil {
		return err
	}
	var failures []error
	for _, r := range chosen {
		if ctx.Err() != nil {
			break
		}
		result, err := measure(ctx, r, o)
		if err != nil {
			failures = append(failures, fmt.Errorf("%s: %w", r.name, err))
			continue
		}
		var text bytes.Buffer
		if err := writeMarkdown(&text, result, ""); err != nil {
			return err
		}
		fmt.Print(text.String())
	}
	return errors.Join(failures...)
}

// measure runs one row and saves its result.
func measure(ctx context.Context, r row, o *options) (*result, error) {
	if err := r.canRun(o); err != nil {
		return nil, err
	}
	e, err := newEnv(o, r.name)
	if err != nil {
		return nil, err
	}
	defer e.close()
	began := time.Now()
	e.progress("started")
	got := &result{Row: r.name, Said: r.description(), At: began.UTC().Truncate(time.Second), Machine: machine(ctx)}
	if err := r.run(ctx, e, got); err != nil {
		return nil, err
	}
	if r.server {
		got.Machine.Server = e.serverName(ctx)
	}
	got.Took = time.Since(began).Round(time.Second)
	e.progress("took %v", got.Took)
	if o.Quick {
		return got, nil
	}
	return got, got.save(filepath.Join(o.Docs, "bench"))
}

type reportCommand struct {
	Missing bool `help:"Measure the rows without a saved result first."`
	Fresh   bool `help:"Measure every row again first."`
}

// Run writes the report.
func (c *reportCommand) Run(ctx context.Context, o *options) error {
	if o.Quick {
		return errors.New("--quick measures with tiny sizes and cannot be used for a report: omit --quick")
	}
	saved := filepath.Join(o.Docs, "bench")
	for _, r := range rows {
		_, err := os.Stat(resultFile(saved, r.name))
		if (!c.Fresh && (!c.Missing || err == nil)) || r.canRun(o) != nil {
			continue
		}
		if _, err := measure(ctx, r, o); err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
	}
	all, err := loadResults(saved)
	if err != nil {
		return err
	}
	return errors.Join(report(o.Docs, all), writeDelaysPage(o.Docs))
}
