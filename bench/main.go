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
	Docs  string `default:"../docs" help:"The directory of performance.md and of the results (bench/*.json)."`
}

type command struct {
	options
	List listCommand `cmd:"" help:"List the rows."`
	Run  runCommand  `cmd:"" default:"withargs" help:"Measure rows, print the results, and save them."`

	Soak soakCommand `cmd:"" help:"Run a daemon at load with faults, and check that its memory, goroutines and descriptors stay flat (docs/soak.md)."`

	Attacks attacksCommand `cmd:"" help:"Attack daemons from outside, and print what came of it."`

	Report reportCommand `cmd:"" help:"Write performance.md from the saved results; measure rows without a result."`
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
	e, err := newEnv(o, r.name)
	if err != nil {
		return nil, err
	}
	defer e.close()
	began := time.Now()
	e.progress("started")
	got := &result{Row: r.name, At: began.UTC().Truncate(time.Second), Machine: machine(ctx)}
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
	Fresh bool `help:"Measure every row again."`
}

// Run writes the report.
func (c *reportCommand) Run(ctx context.Context, o *options) error {
	if o.Quick {
		return errors.New("--quick measures with tiny sizes and cannot be used for a report: omit --quick")
	}
	var all []*result
	for _, r := range rows {
		got, err := loadResult(filepath.Join(o.Docs, "bench"), r.name)
		if c.Fresh || errors.Is(err, os.ErrNotExist) {
			got, err = measure(ctx, r, o)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", r.name, err)
		}
		all = append(all, got)
	}
	return report(o.Docs, all)
}
