package history

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
)

// Writer writes records, one line each. It is not safe for concurrent use.
type Writer struct {
	to   io.Writer
	line bytes.Buffer
	made *json.Encoder
	// fields are those of the line, which are searched for the text of a key.
	fields []field
}

// NewWriter writes the header. Each record is one call of to.Write: buffer it.
func NewWriter(to io.Writer, header Header) (*Writer, error) {
	w := &Writer{to: to}
	w.made = json.NewEncoder(&w.line)
	w.made.SetEscapeHTML(false)
	return w, w.Add(&header)
}

// Add writes a record. It refuses one that a Reader would refuse.
func (w *Writer) Add(r Record) error {
	if err := check(r); err != nil {
		return fmt.Errorf("history: a record of type %s: %w", r.record(), err)
	}
	w.line.Reset()
	if err := w.made.Encode(r); err != nil {
		return fmt.Errorf("history: %w", err)
	}
	begin := start(r.record())
	if _, ok := r.(*Header); ok {
		begin += fmt.Sprintf(`"format":%q,"version":%d,`, Format, Version)
	}
	var err error
	if w.fields, err = fields(w.fields[:0], w.line.Bytes()); err == nil {
		err = secrets(w.fields)
	}
	if err != nil {
		return fmt.Errorf("history: a record of type %s: %w", r.record(), err)
	}
	_, err = w.to.Write(append([]byte(begin), w.line.Bytes()[1:]...))
	return err
}

// start is how the line of a record begins.
func start(name string) string { return `{"type":"` + name + `",` }
