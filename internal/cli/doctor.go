package cli

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"go.uber.org/zap"

	"github.com/keytail/keytail/internal/daemon"
	"github.com/keytail/keytail/internal/doctor"
)

// doctorTimeout bounds all checks together, because a person waits for them.
const doctorTimeout = 30 * time.Second

// The values of --output.
const (
	outputTable = "table"
	outputJSON  = "json"
)

var errDevDoctor = errors.New("--dev has its own MongoDB, which needs no check: give --mongodb-uri instead")

type doctorCommand struct {
	serveCommand
	Output  string `env:"-" enum:"table,json" default:"table" help:"table, or json for scripts."`
	Propose bool   `env:"-" help:"Read documents of the collection and print a file for --config: a mapping with a comment on each guess. Exit code 0 if nothing is left to decide, else 1."`
	KeyFile string `env:"-" placeholder:"FILE" help:"With --propose: file with one known key, or - for standard input. keytail finds where its hash stands and how it was made. A terminal is prompted for it."`
	Expect  string `env:"-" placeholder:"CODE" help:"With --propose: the verdict that the known key should get. Default: VALID."`
}

// run makes the checks, and prints each as soon as it is known.
func (c *doctorCommand) run(ctx context.Context, p process, wrong error) int {
	c.Complete(p.given)
	if c.Propose {
		return c.propose(ctx, p, wrong)
	}
	if c.KeyFile != "" || c.Expect != "" {
		wrong = errors.Join(wrong, errors.New("--key-file and --expect belong to --propose"))
	}
	mistakes := errors.Join(wrong, c.check(p))
	if c.Dev {
		mistakes = errors.Join(mistakes, errDevDoctor)
	}
	if mistakes != nil {
		return usage(p.stderr, mistakes)
	}
	uri, err := databaseURI(&c.Config)
	if err != nil {
		return usage(p.stderr, err)
	}
	ctx, cancel := context.WithTimeout(ctx, doctorTimeout)
	defer cancel()
	to, err := connect(ctx, uri, c.ReadPreference, nil, zap.NewNop())
	if err != nil {
		return fail(p.stderr, exitFailure, err)
	}
	defer disconnect(to.client, zap.NewNop())
	out := printer{p.stdout, isTerminal(p.stdout)}
	onCheck := out.check
	if c.Output == outputJSON {
		onCheck = func(doctor.Check) {}
	}
	report, err := c.examine(ctx, p, to, onCheck)
	if err != nil {
		return usage(p.stderr, err)
	}
	if c.Output == outputJSON {
		out.json(report)
	} else {
		out.verdict(report)
	}
	if !report.OK {
		return exitFailure
	}
	return exitOK
}

// examine adds checks of the connection string.
func (c *doctorCommand) examine(ctx context.Context, p process, to database, onCheck func(doctor.Check)) (doctor.Report, error) {
	var checks []doctor.Check
	collect := func(check doctor.Check) {
		if check.Name == "deployment" && check.Status == doctor.ToDo {
			check.Detail = to.Explain(errors.New(check.Detail)).Error()
		}
		checks = append(checks, check)
		onCheck(check)
	}
	for _, note := range to.Notes {
		collect(doctor.Check{Name: "uri", Status: doctor.Warning, Detail: note})
	}
	for _, exposed := range exposures(&c.Config) {
		collect(doctor.Check{Name: "listeners", Status: doctor.Warning, Detail: "--" + exposed.flag + " " + exposed.addr + ": " + exposed.text})
	}
	cfg, err := daemonConfig(&c.Config, to, serviceVersion(p.deps))
	if err != nil {
		return doctor.Report{}, err
	}
	report, err := daemon.Examine(ctx, cfg, collect)
	report.Checks = checks
	return report, err
}

// printer writes for people or for scripts.
type printer struct {
	io.Writer
	colour bool
}

// colours are the ANSI codes of the statuses.
var colours = map[doctor.Status]string{doctor.OK: "32", doctor.Warning: "33", doctor.ToDo: "31", doctor.NotTried: "33"}

// check prints a check, with its further lines.
func (p printer) check(c doctor.Check) {
	status := fmt.Sprintf("%-9s", c.Status)
	if p.colour {
		status = "\x1b[" + colours[c.Status] + "m" + status + "\x1b[0m"
	}
	p.line("%s  %-12s  %s", status, c.Name, c.Detail)
	for _, more := range c.More {
		p.line("%-9s  %-12s    %s", "", "", more)
	}
}

// verdict prints the last line. A check that was not tried has not failed, but
// until it is tried nobody knows whether keytail can run.
func (p printer) verdict(r doctor.Report) {
	n := map[doctor.Status]int{}
	for _, c := range r.Checks {
		n[c.Status]++
	}
	notTried := ""
	if n[doctor.NotTried] > 0 {
		notTried = fmt.Sprintf(", %d not tried", n[doctor.NotTried])
	}
	switch {
	case n[doctor.ToDo] > 0:
		p.line("keytail %s cannot run here yet: %d of %d checks failed%s", r.Version, n[doctor.ToDo], len(r.Checks), notTried)
	case notTried != "":
		p.line("it is not known whether keytail %s can run here: of %d checks none failed%s", r.Version, len(r.Checks), notTried)
	case n[doctor.Warning] > 0:
		p.line("keytail %s can run here, with warnings from %d of %d checks", r.Version, n[doctor.Warning], len(r.Checks))
	default:
		p.line("keytail %s can run here", r.Version)
	}
}

func (p printer) json(r doctor.Report) {
	text, _ := json.MarshalIndent(r, "", "  ") // strings and a bool always marshal
	p.line("%s", text)
}

func (p printer) line(format string, args ...any) {
	_, _ = fmt.Fprintln(p, strings.TrimRight(fmt.Sprintf(format, args...), " "))
}

// isTerminal reports whether the output is shown in colour
// (https://no-color.org).
func isTerminal(w io.Writer) bool {
	return os.Getenv("NO_COLOR") == "" && isTTY(w)
}
