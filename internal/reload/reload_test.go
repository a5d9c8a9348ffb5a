package reload

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestReload covers what a signal asks for; the tests of tokens and certificates
// cover Run.
func TestReload(t *testing.T) {
	t.Parallel()
	content, used, failures := "one", "", 0
	var readErr error
	core, logs := observer.New(zapcore.DebugLevel)
	registry := prometheus.NewRegistry()
	files, err := New(Config{
		Read: func() ([][]byte, error) { return [][]byte{[]byte(content)}, readErr },
		Use: func(contents [][]byte) error {
			if bytes.HasPrefix(contents[0], []byte("bad")) {
				return errors.New("it is bad")
			}
			used = string(contents[0])
			return nil
		},
		What: "the file", Logger: zap.New(core), Setting: "token-file", Registerer: registry,
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, step := range []struct {
		content string
		readErr error
		want    Outcome
		used    string
		logged  int
	}{
		{"one", nil, Unchanged, "one", 0},
		{"two", nil, Changed, "two", 1},
		{"bad", nil, Refused, "two", 1},
		{"bad", nil, Refused, "two", 1}, // it is logged each time
		{"two", errors.New("gone"), Refused, "two", 1},
		{"two", errors.New("gone"), Refused, "two", 1},
		{"three", nil, Changed, "three", 1},
		{"three", nil, Unchanged, "three", 0},
	} {
		content, readErr = step.content, step.readErr
		if got := files.Reload(); got != step.want || used != step.used || logs.Len() != step.logged {
			t.Errorf("%q, %v: got %s with %q in use and %d log lines, want %+v", step.content, step.readErr, got, used, logs.Len(), step)
		}
		logs.TakeAll()
		refused := 0
		if step.want == Refused {
			refused = 1
		}
		failures += refused
		if diff := testutil.GatherAndCompare(registry, exposition(failures, refused)); diff != nil {
			t.Errorf("%q, %v: %v", step.content, step.readErr, diff)
		}
	}
}

// TestAWrongFileStaysRefused until it is repaired, and is counted once: the counter is
// that of wrong contents, and not that of checks.
func TestAWrongFileStaysRefused(t *testing.T) {
	t.Parallel()
	wrong, allowed := false, false
	registry := prometheus.NewRegistry()
	files, err := New(Config{
		Read: func() ([][]byte, error) { return [][]byte{[]byte(strconv.FormatBool(wrong))}, nil },
		Use: func(contents [][]byte) error {
			if string(contents[0]) == "true" && !allowed {
				return errors.New("it is wrong")
			}
			return nil
		},
		What: "the file", Setting: "token-file", Registerer: registry,
	})
	if err != nil {
		t.Fatal(err)
	}
	check := func(failures, refused int) {
		t.Helper()
		files.check()
		if diff := testutil.GatherAndCompare(registry, exposition(failures, refused)); diff != nil {
			t.Error(diff)
		}
	}
	check(0, 0)
	wrong = true
	check(1, 1)
	check(1, 1)
	wrong = false
	check(1, 0)
	wrong = true
	check(2, 1)
	allowed = true // what it did not agree with has changed
	check(2, 0)
	check(2, 0)
}

// exposition is what both metrics must be.
func exposition(failures, refused int) io.Reader {
	return strings.NewReader(fmt.Sprintf(`# HELP keytail_file_refused %s
# TYPE keytail_file_refused gauge
keytail_file_refused{file="token-file"} %d
# HELP keytail_file_reload_failures_total %s
# TYPE keytail_file_reload_failures_total counter
keytail_file_reload_failures_total{file="token-file"} %d
`, refusedHelp, refused, failuresHelp, failures))
}
