package cli

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/keytail/keytail/api"
)

// screen is standard output. It shows nothing of a server's text that could
// control a terminal.
type screen struct {
	io.Writer
	// failed is the first error: a secret that could not be written is lost.
	failed error
}

func (p *screen) write(text string) {
	if _, err := io.WriteString(p.Writer, text); err != nil && p.failed == nil {
		p.failed = fmt.Errorf("writing the output: %w", err)
	}
}

// line prints a line without trailing spaces.
func (p *screen) line(format string, args ...any) {
	p.write(strings.TrimRight(fmt.Sprintf(format, args...), " ") + "\n")
}

// object prints a server's JSON as it was received, with indentation.
func (p *screen) object(raw []byte) {
	var b bytes.Buffer
	if err := json.Indent(&b, bytes.TrimSpace(raw), "", "  "); err != nil {
		p.failed = err
		return
	}
	p.line("%s", b.Bytes())
}

// table prints rows, with or without a header. An empty cell is a dash, so that
// scripts can split columns.
func (p *screen) table(header []string, rows [][]string) {
	if header != nil {
		rows = append([][]string{header}, rows...)
	}
	var b bytes.Buffer
	w := tabwriter.NewWriter(&b, 0, 0, 2, ' ', 0)
	for _, row := range rows {
		for i, cell := range row {
			if cell = plain(cell); cell == "" {
				cell = "-"
			}
			if i > 0 {
				_, _ = io.WriteString(w, "\t")
			}
			_, _ = io.WriteString(w, cell)
		}
		_, _ = io.WriteString(w, "\n")
	}
	_ = w.Flush() // into memory
	for line := range strings.Lines(b.String()) {
		p.line("%s", strings.TrimSuffix(line, "\n"))
	}
}

// record prints the fields of one object that have a value, one on each line.
func (p *screen) record(fields ...[2]string) {
	var rows [][]string
	for _, field := range fields {
		if field[1] != "" {
			rows = append(rows, field[:])
		}
	}
	p.table(nil, rows)
}

// plain replaces characters that would control a terminal or break a column.
func plain(text string) string {
	return strings.Map(func(r rune) rune {
		if r < ' ' || r >= 0x7f && r < 0xa0 || r == '\u2028' || r == '\u2029' || r >= '\u202a' && r <= '\u202e' || r >= '\u2066' && r <= '\u2069' {
			return '?'
		}
		return r
	}, strings.ToValidUTF8(text, "?"))
}

// instant formats a time for a table.
func instant(at time.Time) string { return at.UTC().Format("2006-01-02T15:04:05Z") }

// instantOrNone is instant, or "" for nil.
func instantOrNone(at *api.Time) string {
	if at == nil {
		return ""
	}
	return instant(at.Time)
}

// value is what p points to, or "" for nil.
func value[T any](p *T) string {
	if p == nil {
		return ""
	}
	return fmt.Sprint(*p)
}

// took formats a duration for people.
func took(d time.Duration) string {
	if d < time.Second {
		return fmt.Sprintf("%d ms", max(d.Milliseconds(), 1))
	}
	return fmt.Sprintf("%.1f s", d.Seconds())
}
