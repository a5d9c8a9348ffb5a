package historycheck

import (
	"fmt"
	"strings"
	"time"

	"github.com/keytail/keytail/internal/history"
)

// clock is the time of day, to the microsecond.
func clock(at instant) string {
	switch at {
	case always:
		return "the beginning"
	case never:
		return "the end"
	}
	return at.time().Format("15:04:05.000000")
}

func milliseconds(d time.Duration) string {
	return strings.TrimSuffix(fmt.Sprintf("%.3f", history.Milliseconds(d)), ".000") + " ms"
}

// lineOf names a line of a record that is no answer.
func (j *judge) lineOf(line int) string { return lineIn(line, j.writesFile) }

func lineIn(line int, file string) string {
	if file == "" {
		return fmt.Sprint("line ", line)
	}
	return fmt.Sprintf("line %d of %s", line, file)
}
