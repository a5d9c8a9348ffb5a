package reload

import (
	"bytes"
	"errors"
	"testing"

	"go.uber.org/zap"
	"go.uber.org/zap/zapcore"
	"go.uber.org/zap/zaptest/observer"
)

// TestReload covers what a signal asks for; the tests of tokens and certificates
// cover Run.
func TestReload(t *testing.T) {
	t.Parallel()
	content, used := "one", ""
	var readErr error
	core, logs := observer.New(zapcore.DebugLevel)
	files, err := New(Config{
		Read: func() ([][]byte, error) { return [][]byte{[]byte(content)}, readErr },
		Use: func(contents [][]byte) error {
			if bytes.HasPrefix(contents[0], []byte("bad")) {
				return errors.New("it is bad")
			}
			used = string(contents[0])
			return nil
		},
		What: "the file", Logger: zap.New(core),
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
	}
}
