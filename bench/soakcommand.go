package main

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/mattn/go-isatty"

	"github.com/keytail/keytail/bench/child"
	"github.com/keytail/keytail/bench/soak"
)

type soakCommand struct {
	For     time.Duration `default:"30m" help:"How long the load lasts."`
	Rate    int           `default:"2000" help:"Requests per second."`
	Keys    int           `default:"20000" help:"Number of keys that nobody changes."`
	Seed    uint64        `default:"1" help:"Decides the load and the faults: the same seed makes the same faults."`
	Binary  string        `placeholder:"FILE" help:"The daemon to run. Default: it is built from this repository."`
	Samples string        `placeholder:"FILE" help:"Write each second's figures to this file, as CSV."`
	Save    bool          `help:"Write the result to docs/soak.md and the plots to docs/soak."`
}

// errSoak is what the command ends with when it has printed what is wrong.
var errSoak = errors.New("the soak has failed; the reasons are above")

// Run runs the daemon at load, prints the outcome, and fails unless everything is flat and
// no answer broke the guarantee.
func (c *soakCommand) Run(ctx context.Context, o *options) error {
	if c.For < soak.ShortestRun || c.Rate < 1 || c.Keys < 1 {
		return fmt.Errorf("--for must be at least %v, --rate and --keys at least 1", soak.ShortestRun)
	}
	e, err := newEnv(o, soakRow)
	if err != nil {
		return err
	}
	defer e.close()
	began, facts := time.Now(), machine(ctx)
	outcome, err := c.run(ctx, e)
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	if err != nil {
		return errors.Join(err, e.keepLog())
	}
	r := soakResult(outcome)
	r.At, r.Took, r.Machine = began.UTC().Truncate(time.Second), c.For, facts
	r.Machine.Server = e.serverName(ctx)
	r.note(fmt.Sprintf("%v at %d requests a second, %d keys, seed %d.", c.For, c.Rate, c.Keys, c.Seed))
	err = errors.Join(c.write(outcome, r, o.Docs), printOutcome(os.Stdout, outcome, r))
	if err != nil {
		return errors.Join(err, e.keepLog())
	}
	return nil
}

// daemonDir is the directory of the daemon's files.
func (e *env) daemonDir() string { return filepath.Join(e.dir, "daemon") }

// keepLog keeps the daemon's log, which says more about a failure, and prints where it is. A
// daemon that was never started has none.
func (e *env) keepLog() error {
	text, err := os.ReadFile(filepath.Join(e.daemonDir(), "log"))
	if errors.Is(err, os.ErrNotExist) {
		return nil
	}
	if err != nil {
		return err
	}
	file, err := os.CreateTemp("", "keytail-bench-*.log")
	if err != nil {
		return err
	}
	_, err = file.Write(text)
	e.progress("the daemon's log is in %s", file.Name())
	return errors.Join(err, file.Close())
}

func (c *soakCommand) run(ctx context.Context, e *env) (*soak.Outcome, error) {
	uri, err := e.mongoURI()
	if err != nil {
		return nil, err
	}
	binary, err := daemonBinary(ctx, e, c.Binary)
	if err != nil {
		return nil, err
	}
	if err := os.Mkdir(e.daemonDir(), 0o700); err != nil {
		return nil, err
	}
	config := soak.Config{For: c.For, Rate: c.Rate, Keys: c.Keys, Seed: c.Seed, URI: uri, Binary: binary, Dir: e.daemonDir()}
	if e.server != nil {
		config.Server = e.server
	}
	if isatty.IsTerminal(os.Stderr.Fd()) {
		config.Progress = c.progress
		defer fmt.Fprintln(os.Stderr)
	}
	return soak.Run(ctx, config)
}

// daemonBinary returns the absolute path of a binary, which it builds if none is named.
func daemonBinary(ctx context.Context, e *env, named string) (string, error) {
	if named == "" {
		return child.Build(ctx, repository, e.dir)
	}
	return filepath.Abs(named)
}

// progressWidth is that of a narrow terminal: a longer line would not be overwritten.
const progressWidth = 79

// progress shows the last sample on a line of a terminal.
func (c *soakCommand) progress(s soak.Sample, fault string) {
	line := fmt.Sprintf("%v/%v %s %.0f/s p99 %v %.0f MiB %.0f goroutines %.0f descriptors %s",
		s.At.Round(time.Second), c.For, s.State, s.Requests, s.P99.Round(time.Millisecond), s.RSS/(1<<20), s.Goroutines, s.Descriptors, fault)
	fmt.Fprintf(os.Stderr, "\r\x1b[K%.*s", progressWidth, line)
}

// write writes the files that the flags ask for.
func (c *soakCommand) write(outcome *soak.Outcome, r *result, docs string) error {
	if c.Samples != "" {
		var text bytes.Buffer
		if err := errors.Join(outcome.WriteSamples(&text), os.WriteFile(c.Samples, text.Bytes(), 0o644)); err != nil {
			return err
		}
	}
	if !c.Save {
		return nil
	}
	return errors.Join(r.save(filepath.Join(docs, soakRow)), writeSoakPage(docs, r))
}

// printOutcome prints the outcome and what is wrong with it.
func printOutcome(w io.Writer, outcome *soak.Outcome, r *result) error {
	var text bytes.Buffer
	writeSoak(&text, r)
	failures := outcome.Failures()
	if len(failures) == 0 {
		fmt.Fprintln(&text, "\nEverything is flat, and no answer broke the guarantee.")
		_, err := text.WriteTo(w)
		return err
	}
	fmt.Fprintln(&text, "\n"+strings.Join(failures, "\n"))
	_, err := text.WriteTo(w)
	return errors.Join(errSoak, err)
}
