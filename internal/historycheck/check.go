package historycheck

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/keytail/keytail/internal/history"
)

// Input says what to judge: a History, or Decisions and Writes.
type Input struct {
	// History is the name of a file in the format of package history. Empty: Decisions and
	// Writes are judged, which are ignored otherwise.
	History string
	// Decisions are the decision logs of keytail's instances, and Writes is a file of writes
	// in the format of package history, with or without a header. Keys are named by key_id.
	Decisions []string
	Writes    string
	// MaxStale and ClockUncertainty are used if Writes has no header. MaxStale zero: bounded
	// staleness is not judged. ClockUncertainty zero: all times are from one clock.
	MaxStale, ClockUncertainty time.Duration
}

// Check judges a history. It returns an error if a file cannot be read (a *history.LineError
// within a *FileError if a line is wrong), if the writes have changed meanwhile, if there is
// no answer to judge or no promise to judge it by, and if ctx ends. A broken promise is no
// error: it is in the report.
func Check(ctx context.Context, in Input) (*Report, error) {
	began, size := time.Now(), sizeOf(in.writesFile())
	c, err := load(ctx, in)
	if err != nil {
		return nil, err
	}
	if err := c.each(ctx, c.judgeOne); err != nil {
		return nil, err
	}
	if sizeOf(in.writesFile()) != size {
		return nil, inFile(in.writesFile(), errChanged)
	}
	if c.totals.Answers == 0 {
		return nil, inFile(c.answersFile(), errNoAnswers)
	}
	if len(c.judged) == 0 && c.totals.Answers > c.totals.Unavailable {
		return nil, inFile(c.answersFile(), errNoRule)
	}
	c.report.finish(c.loader)
	c.report.Took = time.Since(began)
	return c.report, nil
}

// errNoAnswers keeps an empty history from passing.
var errNoAnswers = errors.New("it has no answer about a key, so there is nothing to judge: record answers, of all codes")

// errNoRule keeps a history from passing of which nothing can be said.
var errNoRule = errors.New("no promise can be applied to its answers: give max_stale_ms in the header, or record as_of or staleness_ms of the answers")

// errChanged: what was read after the writes may be an answer about a write that was not
// recorded yet.
var errChanged = errors.New("it has changed while it was read: check a history when its recording has ended")

// writesFile is the file with the writes, which is read first.
func (in *Input) writesFile() string { return cmp.Or(in.History, in.Writes) }

// sizeOf is the size of a file, or -1.
func sizeOf(name string) int64 {
	info, err := os.Stat(name)
	if err != nil {
		return -1
	}
	return info.Size()
}

// openFile opens what can be read twice.
func openFile(name string) (*os.File, error) {
	info, err := os.Stat(name)
	switch {
	case name == "-" || err == nil && !info.Mode().IsRegular():
		return nil, errors.New("it is not a file: it is read twice, so write what a pipe has into a file first")
	case err != nil:
		return nil, err
	}
	return os.Open(name)
}

// answersFile is the first file with answers.
func (c *checker) answersFile() string {
	if len(c.in.Decisions) > 0 {
		return c.in.Decisions[0]
	}
	return c.in.History
}

// FileError says which file an error is about.
type FileError struct {
	File string
	Err  error
}

func (e *FileError) Error() string { return e.File + ": " + e.Err.Error() }

// Unwrap returns the error without the file's name.
func (e *FileError) Unwrap() error { return e.Err }

// checker judges an Input.
type checker struct {
	*loader
	in     Input
	report *Report
}

// load reads everything but the answers.
func load(ctx context.Context, in Input) (*checker, error) {
	report := &Report{Violations: []Violation{}}
	c := &checker{
		in: in, report: report,
		loader: &loader{
			judge:  &judge{keys: map[string]*timeline{}, instances: map[string]*acknowledgements{}, judged: map[Rule]int{}, violated: map[Rule]int{}},
			totals: &report.Totals,
		},
	}
	name, options := in.History, history.Options{}
	if in.History == "" {
		name, options = in.Writes, history.Options{Headless: true}
		c.writesFile = in.Writes
		c.header = decisionsHeader(in)
	}
	if err := c.loader.load(ctx, name, options); err != nil {
		return nil, inFile(name, err)
	}
	return c, nil
}

// inFile adds the name of a file, unless the error has it.
func inFile(name string, err error) error {
	var path *os.PathError
	if err == nil || errors.As(err, &path) {
		return err
	}
	return &FileError{name, err}
}

// each calls use for each answer.
func (c *checker) each(ctx context.Context, use func(*answer)) error {
	if c.in.History != "" {
		return inFile(c.in.History, c.answersOf(ctx, c.in.History, use))
	}
	for _, name := range c.in.Decisions {
		if err := c.decisionsOf(ctx, name, use); err != nil {
			return inFile(name, err)
		}
	}
	return nil
}

// notAnswers are the records that the second pass passes over.
var notAnswers = []string{"header", "write", "acknowledgement", "fault", "outage", "initial", "clock"}

func (c *checker) answersOf(ctx context.Context, name string, use func(*answer)) error {
	lines, err := eachRecord(ctx, name, history.Options{Skip: notAnswers}, func(record history.Record, line int) error {
		a, ok := record.(*history.Answer)
		if !ok {
			return fmt.Errorf("line %d: a record of another type than before", line)
		}
		use(answerOf(a, "", line))
		return nil
	})
	if err == nil {
		c.report.Lines += lines
	}
	return err
}

// eachRecord reads a file, and returns how many lines it has.
func eachRecord(ctx context.Context, name string, options history.Options, use func(history.Record, int) error) (lines int, err error) {
	file, err := openFile(name)
	if err != nil {
		return 0, err
	}
	defer func() { _ = file.Close() }()
	r := history.NewReader(file, options)
	for {
		record, err := r.Next()
		if err == nil {
			err = interrupted(ctx, r.Line())
		}
		switch {
		case errors.Is(err, io.EOF):
			return r.Line(), nil
		case err != nil:
			return r.Line(), err
		}
		if err := use(record, r.Line()); err != nil {
			return r.Line(), err
		}
	}
}

// interrupted returns the error of a context, once in a while.
func interrupted(ctx context.Context, line int) error {
	if line%4096 != 0 {
		return nil
	}
	return ctx.Err()
}

func answerOf(a *history.Answer, file string, line int) *answer {
	to := &answer{
		Answer: a, file: file, line: line,
		asked: instantOf(a.Asked, always), given: instantOf(a.Given, never), asOf: instantOf(a.AsOf, always),
	}
	if a.StalenessMS != nil {
		to.staleness, to.hasStaleness = history.Duration(*a.StalenessMS), true
	}
	return to
}

// judgeOne judges an answer, and reports what is wrong with it.
func (c *checker) judgeOne(a *answer) {
	c.totals.Answers++
	if a.Code == history.Unavailable {
		c.totals.Unavailable++
	}
	if found := c.judge.judge(a); len(found) > 0 {
		c.report.add(c.judge, a, found)
	}
}
