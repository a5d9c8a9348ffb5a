package history

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"slices"
)

// maxLine bounds the memory for a line. The records of a history have some hundred bytes.
const maxLine = 64 << 10

// LineError is what is wrong with a line.
type LineError struct {
	Line    int
	Problem error
}

func (e *LineError) Error() string { return fmt.Sprintf("line %d: %v", e.Line, e.Problem) }

// Unwrap returns the problem.
func (e *LineError) Unwrap() error { return e.Problem }

// Options say what a Reader accepts besides a whole history.
type Options struct {
	// Headless: the file has no header, or one on its first line.
	Headless bool
	// Skip are types of records that Next passes over. A line that begins as a Writer begins
	// one of them is not parsed, so its mistakes are not found.
	Skip []string
}

// Reader reads records. It refuses what it does not understand, so that no mistake makes
// a record count for nothing: unknown and repeated fields, other types, missing values.
// Only the field note, with any value, is left to who writes the file.
type Reader struct {
	from    *bufio.Reader
	options Options
	// starts are how a Writer begins the records that are skipped.
	starts [][]byte
	line   int
	fields []field
	known  map[string]string
	// What Next returns.
	header          Header
	write           Write
	answer          Answer
	staleness       float64
	acknowledgement Acknowledgement
	fault           Fault
	outage          Outage
	initial         Initial
	clock           Clock
}

// NewReader reads from a history.
func NewReader(from io.Reader, options Options) *Reader {
	r := &Reader{from: bufio.NewReaderSize(from, maxLine), options: options, known: map[string]string{}}
	for _, name := range options.Skip {
		r.starts = append(r.starts, []byte(start(name)))
	}
	return r
}

var errNoHeader = errors.New(`the first line must be the header: {"type":"header","format":"` + Format + `","version":1,"max_stale_ms":15000}`)

// Line is the number of the line that Next has returned, from 1.
func (r *Reader) Line() int { return r.line }

// Next returns the next record, which is valid until the next call: io.EOF at the end, a
// *LineError for a line that is not a record, or an error of the underlying reader.
func (r *Reader) Next() (Record, error) {
	for {
		line, err := r.read()
		if err != nil {
			return nil, err
		}
		if len(bytes.TrimSpace(line)) == 0 || r.skips(line) {
			continue
		}
		record, err := r.parse(line)
		if err != nil {
			return nil, &LineError{r.line, err}
		}
		if record != nil {
			return record, nil
		}
	}
}

// read returns a line without its end.
func (r *Reader) read() ([]byte, error) {
	line, err := r.from.ReadSlice('\n')
	switch {
	case len(line) > 0:
		r.line++
		if errors.Is(err, bufio.ErrBufferFull) {
			return nil, &LineError{r.line, fmt.Errorf("it is longer than %d bytes: write one record on each line", maxLine)}
		}
		if err != nil && !errors.Is(err, io.EOF) {
			return nil, err
		}
		return line, nil
	case errors.Is(err, io.EOF) && r.line == 0 && !r.options.Headless:
		return nil, &LineError{1, errors.New("the file is empty: the first line must be a header")}
	}
	return nil, err
}

func (r *Reader) skips(line []byte) bool {
	return r.line > 1 && slices.ContainsFunc(r.starts, func(start []byte) bool { return bytes.HasPrefix(line, start) })
}

// parse returns nil for a record that is skipped.
func (r *Reader) parse(line []byte) (Record, error) {
	var err error
	if r.fields, err = fields(r.fields[:0], line); err != nil {
		return nil, err
	}
	if err := secrets(r.fields); err != nil {
		return nil, err
	}
	name, err := r.typeOf()
	switch isHeader := name == "header"; {
	case r.line == 1 && !isHeader && !r.options.Headless:
		return nil, errNoHeader
	case err != nil:
		return nil, err
	case r.line > 1 && isHeader:
		return nil, errors.New("a header is the first line alone: when you join histories, keep one header")
	}
	if slices.Contains(r.options.Skip, name) {
		return nil, nil
	}
	record, err := r.fill(name)
	if err != nil {
		return nil, err
	}
	return record, check(record)
}

func (r *Reader) has(name string) bool {
	return slices.ContainsFunc(r.fields, func(f field) bool { return string(f.name) == name && !f.isNull() })
}

func (r *Reader) typeOf() (string, error) {
	for i := range r.fields {
		if f := &r.fields[i]; string(f.name) == "type" {
			return r.text(f)
		}
	}
	return "", errors.New(`it has no field type, such as "answer" or "write"`)
}

// knownTexts bounds the texts that are kept to be used again: codes, instances and keys.
const knownTexts = 1 << 16

// text is the text of a field. Texts that come again share one string.
func (r *Reader) text(f *field) (string, error) {
	if f.kind != text {
		return f.string()
	}
	if s, found := r.known[string(f.raw)]; found {
		return s, nil
	}
	s := string(f.raw)
	if len(r.known) < knownTexts {
		r.known[s] = s
	}
	return s, nil
}
