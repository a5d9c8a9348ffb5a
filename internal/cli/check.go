package cli

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"time"

	"github.com/keytail/keytail/internal/historycheck"
)

type checkCommand struct {
	File             string         `arg:"" optional:"" help:"A recorded history (docs/history-format.md)."`
	Decisions        []string       `env:"-" placeholder:"FILE" help:"Instead of a history: the decision logs of the instances, separated by commas."`
	Writes           string         `env:"-" placeholder:"FILE" help:"With --decisions: the writes of the keys, in the same format as in a history."`
	MaxStale         *time.Duration `env:"-" placeholder:"15s" help:"With --decisions: the instances' --max-stale. Default: 15s."`
	ClockUncertainty *time.Duration `env:"-" placeholder:"1s" help:"With --decisions: the largest difference between the clocks of the machines. Default: 1s."`
	Output           string         `env:"-" enum:"table,json" default:"table" help:"table, or json for scripts."`
	Plot             string         `env:"-" placeholder:"FILE" help:"Write a timeline of the first violation, as SVG."`
	PlotLine         int            `env:"-" placeholder:"LINE" help:"With --plot: the violation of the answer on this line, instead of the first."`
}

const (
	// defaultMaxStale is that of serve.
	defaultMaxStale = 15 * time.Second
	// defaultClockUncertainty is far more than machines whose clocks are synchronized need.
	defaultClockUncertainty = time.Second
)

// valueOr is the value, or another one for nil.
func valueOr(given *time.Duration, otherwise time.Duration) time.Duration {
	if given == nil {
		return otherwise
	}
	return *given
}

// run judges a history. The exit code is 0 if no answer breaks a promise, 1 if one does,
// and 2 if something failed: a file cannot be read or written, or the check was interrupted.
func (c *checkCommand) run(ctx context.Context, p process, wrong error) int {
	if err := errors.Join(wrong, c.check()); err != nil {
		return usage(p.stderr, err)
	}
	if name := c.overwritten(); name != "" {
		return usage(p.stderr, fmt.Errorf("--plot would overwrite %s, which is to be checked: name another file", name))
	}
	in := historycheck.Input{
		History: c.File, Decisions: c.Decisions, Writes: c.Writes,
		MaxStale: valueOr(c.MaxStale, defaultMaxStale), ClockUncertainty: valueOr(c.ClockUncertainty, defaultClockUncertainty),
	}
	report, err := historycheck.Check(ctx, in)
	switch {
	case stopped(ctx, err):
		return fail(p.stderr, exitUsage, errors.New("interrupted: nothing was judged"))
	case err != nil:
		return fail(p.stderr, exitUsage, err)
	}
	if err := c.print(p, report); err != nil {
		return fail(p.stderr, exitUsage, err)
	}
	if err := c.plot(ctx, p, in, report); err != nil {
		return fail(p.stderr, exitUsage, fmt.Errorf("--plot: %w", err))
	}
	if !report.OK {
		return exitFailure
	}
	return exitOK
}

// check reports what is wrong with the flags together.
func (c *checkCommand) check() error {
	switch decisions := len(c.Decisions) > 0; {
	case c.File == "" && !decisions:
		return errors.New("name a history, or --decisions and --writes")
	case c.File != "" && (decisions || c.Writes != ""):
		return errors.New("a history has its own answers and writes: give either a file, or --decisions and --writes")
	case decisions && c.Writes == "":
		return errors.New("--decisions needs --writes: without the writes no answer can be judged")
	case !decisions && (c.MaxStale != nil || c.ClockUncertainty != nil):
		return errors.New("--max-stale belongs to --decisions, and so does --clock-uncertainty: a history has both in its header")
	case valueOr(c.MaxStale, 0) < 0 || valueOr(c.ClockUncertainty, 0) < 0:
		return errors.New("--max-stale and --clock-uncertainty must not be negative")
	case c.PlotLine != 0 && c.Plot == "":
		return errors.New("--plot-line belongs to --plot")
	}
	return nil
}

// overwritten is the file among those that are read which the picture would replace, or "".
func (c *checkCommand) overwritten() string {
	picture, err := os.Stat(c.Plot)
	if err != nil {
		return "" // a new file
	}
	for _, name := range append([]string{c.File, c.Writes}, c.Decisions...) {
		if read, err := os.Stat(name); err == nil && os.SameFile(read, picture) {
			return name
		}
	}
	return ""
}

func (c *checkCommand) print(p process, report *historycheck.Report) error {
	if c.Output != outputJSON {
		return report.Print(p.stdout)
	}
	text, err := json.MarshalIndent(report, "", "  ")
	if err != nil {
		return err
	}
	_, err = fmt.Fprintf(p.stdout, "%s\n", text)
	return err
}

// plot draws a violation, and says if there is none to draw.
func (c *checkCommand) plot(ctx context.Context, p process, in historycheck.Input, report *historycheck.Report) error {
	if c.Plot == "" {
		return nil
	}
	for i := range report.Violations {
		v := &report.Violations[i]
		if c.PlotLine != 0 && c.PlotLine != v.Line {
			continue
		}
		var picture bytes.Buffer
		if err := historycheck.Plot(ctx, in, v, &picture); err != nil {
			return err
		}
		return os.WriteFile(c.Plot, picture.Bytes(), 0o644) //nolint:gosec // a picture that others may look at
	}
	if c.PlotLine != 0 && !report.OK {
		return fmt.Errorf("no answer on line %d is among the violations that are kept", c.PlotLine)
	}
	_, err := fmt.Fprintf(p.stderr, "keytail: there is no violation, so %s is not written\n", c.Plot)
	return err
}
