package decisionlog

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
)

// fileMode: lines name users. Its group can read it, for a program that ships logs.
const fileMode = 0o640

// open opens the file for the first time, or again.
func (l *Log) open() error {
	if l.config.Path == Stdout {
		l.out = l.config.Stdout
		return nil
	}
	file, err := openFile(l.config.Path)
	if err != nil {
		return err
	}
	if l.file != nil {
		_ = l.file.Close() // everything has been written
	}
	l.file, l.out = file, file
	l.torn = endsWithinLine(l.config.Path)
	return nil
}

// endsWithinLine reports whether a file ends within a line, as after a crash. A file that
// may be written and not read counts as complete.
func endsWithinLine(path string) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer func() { _ = file.Close() }()
	last := []byte("\n")
	if size, err := file.Seek(0, io.SeekEnd); err == nil && size > 0 {
		_, _ = file.ReadAt(last, size-1)
	}
	return last[0] != '\n'
}

// CheckPath reports what is wrong with a Path, without creating the file. It refuses what
// is not a file: to open a pipe without a reader would block the start, and one that is
// not read would block each write.
func CheckPath(path string) error {
	if path == "" || path == Stdout {
		return nil
	}
	info, err := os.Stat(path)
	switch {
	case err == nil && !info.Mode().IsRegular():
		return fmt.Errorf("--decision-log: %s is not a file: name a file, or %s for standard output", path, Stdout)
	case errors.Is(err, fs.ErrNotExist):
		if _, err := os.Stat(filepath.Dir(path)); err != nil {
			return fmt.Errorf("--decision-log: create the directory of %s: %w", path, err)
		}
	case err != nil:
		return fmt.Errorf("--decision-log: %w", err)
	}
	return nil
}

func openFile(path string) (*os.File, error) {
	if err := CheckPath(path); err != nil {
		return nil, err
	}
	file, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, fileMode)
	if err != nil {
		return nil, fmt.Errorf("--decision-log: %w", err)
	}
	return file, nil
}
