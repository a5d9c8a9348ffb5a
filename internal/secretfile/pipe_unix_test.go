//go:build unix

package secretfile

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"
)

// TestAPipeIsNotWaitedForForever: a pipe without a writer is empty, and one whose
// writer is silent is an error.
func TestAPipeIsNotWaitedForForever(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(path, 0o600); err != nil {
		t.Fatal(err)
	}
	if content, err := ReadSecret(path); err != nil || len(content) != 0 {
		t.Errorf("without a writer: %q, %v", content, err)
	}
	// Read and write, so that opening it does not wait for a reader.
	writer, err := os.OpenFile(path, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, _, err := readWithin(path, time.Millisecond); !errors.Is(err, os.ErrDeadlineExceeded) {
		t.Errorf("with a silent writer: %v", err)
	}
	if err := writer.Close(); err != nil {
		t.Error(err)
	}
}
